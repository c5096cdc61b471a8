package testbed

import (
	"os"
	"testing"

	"quipu/connect/internal/ports"
)

// Long reports whether tests are to run in their long form (`make test-long`).
func Long() bool { return os.Getenv("QUIPU_TEST_LONG") == "1" && !testing.Short() }

// Size chooses how much a test does: with -short (the race detector makes everything slow), every day, or in the long form.
func Size(short, everyday, long int) int {
	switch {
	case testing.Short():
		return short
	case Long():
		return long
	}
	return everyday
}

// FreePort is a port of 127.0.0.1 that is the test's until it ends.
func FreePort(tb testing.TB) int {
	tb.Helper()
	return freePorts(tb, 1)[0]
}

func freePorts(tb testing.TB, n int) (list []int) {
	tb.Helper()
	for range n {
		p, err := ports.Take()
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { p.Close() })
		list = append(list, p.Number)
	}
	return list
}
