package linear

import (
	"strconv"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// TestCounter gives the checker histories whose verdict is known.
func TestCounter(t *testing.T) {
	type history = []porcupine.Operation
	op := func(call, end int64, input string, output any) porcupine.Operation {
		return porcupine.Operation{Call: call, Return: end, Input: input, Output: output}
	}
	hard := history{op(0, Open-1, "GET", "$none")} // 2^40 states to try
	for i := range 40 {
		hard = append(hard, op(0, Open, "SET "+strconv.Itoa(i), nil))
	}
	for _, c := range []struct {
		name string
		want porcupine.CheckResult
		ops  history
	}{
		{"in turn", porcupine.Ok, history{op(0, 1, "GET", "$"), op(2, 3, "DECR", ":-1"), op(4, 5, "SET 7", "+OK"), op(6, 7, "INCR", ":8"), op(8, 9, "GET", "$8")}},
		{"crossed in flight", porcupine.Ok, history{op(0, 9, "INCR", ":2"), op(1, 8, "INCR", ":1"), op(2, 7, "GET", "$1")}},
		{"open, took effect", porcupine.Ok, history{op(0, 1, "INCR", ":1"), op(2, Open, "INCR", nil), op(3, 4, "GET", "$2")}},
		{"open, took effect late", porcupine.Ok, history{op(0, Open, "INCR", nil), op(1, 2, "GET", "$"), op(3, 4, "GET", "$1")}},
		{"open, no effect", porcupine.Ok, history{op(0, 1, "INCR", ":1"), op(2, Open, "INCR", nil), op(3, 4, "GET", "$1")}},
		{"lost increment", porcupine.Illegal, history{op(0, 1, "INCR", ":1"), op(2, 3, "INCR", ":2"), op(4, 5, "GET", "$1")}},
		{"lost key", porcupine.Illegal, history{op(0, 1, "INCR", ":1"), op(2, 3, "GET", "$")}},
		{"duplicate reply", porcupine.Illegal, history{op(0, 5, "INCR", ":1"), op(1, 4, "INCR", ":1")}},
		{"counted twice", porcupine.Illegal, history{op(0, 1, "INCR", ":1"), op(2, 3, "GET", "$2")}},
		{"stale read", porcupine.Illegal, history{op(0, 1, "SET 5", "+OK"), op(2, 3, "SET 6", "+OK"), op(4, 5, "GET", "$5")}},
		{"read of the future", porcupine.Illegal, history{op(0, 1, "GET", "$1"), op(2, 3, "INCR", ":1")}},
		{"later one smaller", porcupine.Illegal, history{op(0, 1, "INCR", ":2"), op(2, 3, "INCR", ":1")}},
		{"open, seen and gone", porcupine.Illegal, history{op(0, Open, "INCR", nil), op(1, 2, "GET", "$1"), op(3, 4, "GET", "$")}},
		{"open, counted twice", porcupine.Illegal, history{op(0, Open, "INCR", nil), op(1, 2, "GET", "$1"), op(3, 4, "GET", "$2")}},
		{"error reply", porcupine.Illegal, history{op(0, 1, "GET", "-ERR x")}},
		{"no verdict in time", porcupine.Unknown, hard},
	} {
		if got := porcupine.CheckOperationsTimeout(Counter, c.ops, 200*time.Millisecond); got != c.want {
			t.Errorf("%s: verdict %q, expected %q", c.name, got, c.want)
		}
	}
}

// TestCheckIncrements gives it histories whose verdict is known.
func TestCheckIncrements(t *testing.T) {
	for _, c := range []struct {
		name           string
		wrong          bool
		unknown, final int64
		all            []Increment
	}{
		{"in turn", false, 0, 2, []Increment{{0, 1, 1}, {2, 3, 2}}},
		{"crossed in flight", false, 0, 2, []Increment{{0, 9, 2}, {1, 8, 1}}},
		{"unknown, took effect", false, 1, 2, []Increment{{0, 1, 2}}},
		{"unknown, no effect", false, 1, 1, []Increment{{0, 1, 1}}},
		{"lost", true, 0, 1, []Increment{{0, 1, 1}, {2, 3, 2}}},
		{"counted twice", true, 1, 3, []Increment{{0, 1, 1}}},
		{"duplicate reply", true, 0, 2, []Increment{{0, 5, 1}, {1, 4, 1}}},
		{"later one smaller", true, 0, 2, []Increment{{0, 1, 2}, {2, 3, 1}}},
	} {
		wrong := false
		CheckIncrements(c.all, c.unknown, c.final, func(string, ...any) { wrong = true })
		if wrong != c.wrong {
			t.Errorf("%s: wrong is %v", c.name, wrong)
		}
	}
}
