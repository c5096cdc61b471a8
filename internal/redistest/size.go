package redistest

import (
	"os"
	"testing"
)

// LongEnv asks for the long form of tests: `make test-long` sets it to 1.
const LongEnv = "QUIPU_TEST_LONG"

// Long reports whether tests are to run in their long form. -short wins.
func Long() bool { return os.Getenv(LongEnv) == "1" && !testing.Short() }

// Size chooses how much a test does: with -short (the race detector makes everything slow), every day (`make test` has
// to be quick enough to be run before each commit), or in the long form.
func Size(short, everyday, long int) int {
	switch {
	case testing.Short():
		return short
	case Long():
		return long
	}
	return everyday
}
