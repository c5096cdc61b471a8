package shared_test

import (
	"testing"

	"quipu/internal/regionmodel"
)

// TestModel plays random histories by the rules alone. To see what happens in one that fails: QUIPU_REGION_SEED=… QUIPU_REGION_SEEDS=1
// QUIPU_REGION_TRACE=1 go test -run TestModel ./engine/shared
func TestModel(t *testing.T) {
	cfg := regionmodel.Config{Least: 2, Most: 5}
	histories := 20_000 // some mutants show once in thousands
	if testing.Short() {
		histories = 2_000
	}
	for seed := range regionmodel.Seeds(t, histories, 1) {
		regionmodel.Play(t, cfg, seed)
	}
}
