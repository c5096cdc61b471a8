package engine_test

import (
	"runtime/debug"
	"testing"

	"quipu/internal/redistest"
	"quipu/internal/regionmodel"
	"quipu/internal/regionmodel/replicas"
)

// TestRegionsFollowRules plays the histories of the model to regions of two replicas each, which execute what a log would hold. Whatever comes,
// they show what the rules lead to and have equal checksums, and in the end the model's judge is content. To see what happens in one that
// fails: QUIPU_REGION_SEED=… QUIPU_REGION_SEEDS=1 QUIPU_REGION_TRACE=1.
func TestRegionsFollowRules(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1000)) // keyspaces are not on the heap, and GOGC goes by that
	cfg := regionmodel.Config{Least: 2, Most: 4, Histories: 32, Mirror: replicas.New, Place: replicas.Place}
	for seed := range regionmodel.Seeds(t, redistest.Size(500, 4000, 80_000), cfg.Histories) {
		regionmodel.Play(t, cfg, seed)
	}
}
