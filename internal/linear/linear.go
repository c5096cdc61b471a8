// Package linear judges what the clients of one counter saw: whether there is an order of what they did that keeps to its
// times. (Herlihy and Wing, Linearizability: A Correctness Condition for Concurrent Objects, 1990.)
package linear

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Open is the end of an operation without an answer: it may take effect at any time after its call. That it never
// does looks the same as an effect behind everything else.
const Open = math.MaxInt64

// Counter is one key. Its state is the value, "" for a missing key. An input is a command without the key
// ("INCR", "SET 7"). An output is the reply with its type ("$" alone is null), or nil when there was none; no state
// explains an error.
var Counter = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (ok bool, next any) {
		value := state.(string)
		reply := "$" + value                    // to GET
		n, _ := strconv.ParseInt(value, 10, 64) // a missing key counts as 0
		switch name, arg, _ := strings.Cut(input.(string), " "); name {
		case "INCR":
			value = strconv.FormatInt(n+1, 10)
			reply = ":" + value
		case "DECR":
			value = strconv.FormatInt(n-1, 10)
			reply = ":" + value
		case "SET":
			value, reply = arg, "+OK"
		}
		return output == nil || output == reply, value
	},
}

// Increment is one that was answered: when it was sent and answered, and the reply.
type Increment struct {
	Began, Ended time.Duration
	Value        int64
}

// CheckIncrements judges all increments of a counter that nothing else writes and that is at final when they are over;
// unknown of them have no answer. It needs no search, so it serves for millions. It sorts all by their replies.
func CheckIncrements(all []Increment, unknown, final int64, errorf func(format string, args ...any)) {
	if acked := int64(len(all)); final < acked || final > acked+unknown {
		errorf("the counter is %d: %d were answered, %d are unknown", final, acked, unknown)
	}
	slices.SortFunc(all, func(a, b Increment) int { return int(a.Value - b.Value) })
	latest := Increment{} // the one that began last, of those with smaller replies
	for i, op := range all {
		if i > 0 && op.Value == all[i-1].Value {
			errorf("two replies are %d", op.Value)
		}
		if op.Ended < latest.Began {
			errorf("%d was answered at %v, before %d was sent at %v", op.Value, op.Ended, latest.Value, latest.Began)
		}
		if op.Began > latest.Began {
			latest = op
		}
	}
}
