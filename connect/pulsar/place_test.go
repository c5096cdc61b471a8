package pulsar

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"quipu/connect/count"
)

func TestPlaceText(t *testing.T) {
	for text, want := range map[string]place{
		"-1:-1":           beginning,
		"12:-1":           {12, -1, whole, 0},
		"12:3456":         {12, 3456, whole, 0},
		"12:3456@77":      {12, 3456, whole, 77},
		"12:3456:0":       {12, 3456, 0, 0},
		"12:3456:789@77":  {12, 3456, 789, 77},
		"0:0:0@1":         {0, 0, 0, 1},
		longest.String():  longest,
		"7:8@2147483647":  {7, 8, whole, math.MaxInt32},
		"7:8:2147483647":  {7, 8, math.MaxInt32, 0},
		"9:1:2@123456789": {9, 1, 2, 123456789},
	} {
		if got, err := parse(text); err != nil || got != want {
			t.Errorf("%q is read as %+v, %v", text, got, err)
		}
		if got := want.String(); got != text {
			t.Errorf("%+v is written as %q, not %q", want, got, text)
		}
	}
	for _, text := range []string{
		"", "1", "1:", ":1", "1:2:", "1:2:3:4", "1:2:-1", "-2:0", "1:-2", "1:2@", "1:2@0", "1:2@-1", "1:2@2147483648", "1:2 c3", "a:b", "1:2:3@x",
		"9223372036854775808:0", "1:2:2147483648", "1:2@3@4",
	} {
		if got, err := parse(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
	if n := len((count.Position{At: longest.String()}).String()); n > 64 {
		t.Errorf("the longest place has %d bytes", n)
	}
}

var longest = place{math.MaxInt64, math.MaxInt64, math.MaxInt32, math.MaxInt32}

func TestPositionOfARecord(t *testing.T) {
	for _, c := range []struct {
		m    spot
		want string
	}{
		{spot{7, 8, 0, 1, 5}, "7:8@5"},   // alone in its entry
		{spot{7, 8, 0, 3, 5}, "7:8:0@5"}, // the first of three
		{spot{7, 8, 1, 3, 5}, "7:8:1@5"}, //
		{spot{7, 8, 2, 3, 5}, "7:8@5"},   // the last of three: the entry is done
		{spot{7, 8, 0, 1, 0}, "7:8"},     //
		{spot{7, 0, 0, 1, 1}, "7:0@1"},   //
		{spot{7, 8, 998, 1000, 0}, "7:8:998"},
	} {
		if got := placeOf(c.m.coord()); got != c.want {
			t.Errorf("behind %+v is %s, not %s", c.m, got, c.want)
		}
		if got, err := parse(c.want); err != nil || got != c.m.behind() {
			t.Errorf("%s is %+v, not %+v", c.want, got, c.m.behind())
		}
		if before := c.m.before(); before.judge(c.m) != follows {
			t.Errorf("%+v does not follow %s, which is before it", c.m, before)
		}
		if c.m.behind().judge(c.m) != duplicate {
			t.Errorf("%+v is not behind itself", c.m)
		}
	}
}

func TestIDs(t *testing.T) {
	sent := time.UnixMilli(1_795_948_459_123)
	m := spotOf(pulsar.NewMessageID(3, 4, -1, 0), sent)
	if want := (spot{3, 4, 0, 1, int32(1_795_948_459_123 & math.MaxInt32)}); m != want {
		t.Errorf("%+v, not %+v", m, want)
	}
	if m := spotOf(pulsar.EarliestMessageID(), time.Time{}); m.mark != 0 || m.entry != -1 {
		t.Errorf("%+v", m)
	}
	if mark(time.UnixMilli(1<<31)) != 1 {
		t.Error("a mark is 0, which says that there is none")
	}
	for p, want := range map[place]string{beginning: "0:0:0", {5, -1, whole, 0}: "5:0:0", {5, 6, whole, 1}: "5:6:0", {5, 6, 7, 1}: "5:6:0"} {
		if got := p.id(); got.String() != want {
			t.Errorf("%s is looked for at %s, not %s", p, got, want)
		}
	}
}

// TestOrder plays what a consumer hands out: what is counted, and what not. Each message is ledger, entry, index, size.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		from string
		in   [][4]int64
		want string // c: counted, -: a duplicate, ?: something is missing, n: the first of another ledger, counted
	}{
		{"in order", "4:-1", [][4]int64{{4, 0, 0, 1}, {4, 1, 0, 1}, {4, 2, 0, 1}}, "ccc"},
		{"batches", "4:-1", [][4]int64{{4, 0, 0, 2}, {4, 0, 1, 2}, {4, 1, 0, 1}, {4, 2, 0, 3}, {4, 2, 1, 3}, {4, 2, 2, 3}, {4, 3, 0, 1}}, "ccccccc"},
		{"from the beginning", "-1:-1", [][4]int64{{4, 0, 0, 1}, {4, 1, 0, 1}}, "nc"},
		{"from the beginning, which is gone", "-1:-1", [][4]int64{{4, 3, 0, 1}, {4, 4, 0, 1}}, "??"},
		{"an entry is left out, and comes again", "4:353", [][4]int64{{4, 355, 0, 1}, {4, 354, 0, 1}, {4, 355, 0, 1}}, "?cc"},
		{"the queue was emptied", "4:353", [][4]int64{{4, 354, 0, 2}, {4, 355, 0, 2}, {4, 355, 1, 2}, {4, 354, 0, 2}, {4, 354, 1, 2}, {4, 355, 0, 2}}, "c??-cc"},
		{"redelivery", "4:9", [][4]int64{{4, 7, 0, 1}, {4, 8, 0, 1}, {4, 9, 0, 1}, {4, 10, 0, 1}, {4, 8, 0, 1}, {3, 100, 0, 1}, {4, 11, 0, 1}}, "---c--c"},
		{"in the middle of a batch", "4:9:1", [][4]int64{{4, 9, 0, 4}, {4, 9, 1, 4}, {4, 9, 2, 4}, {4, 9, 3, 4}, {4, 10, 0, 1}}, "--ccc"},
		{"the rest of a batch is missing", "4:9", [][4]int64{{4, 10, 0, 3}, {4, 11, 0, 1}}, "c?"},
		{"the rest of a batch is missing, since the start", "4:9:1", [][4]int64{{4, 10, 0, 1}}, "?"},
		{"a batch begins in the middle", "4:9", [][4]int64{{4, 10, 1, 3}}, "?"},
		{"an index is left out", "4:9", [][4]int64{{4, 10, 0, 3}, {4, 10, 2, 3}}, "c?"},
		{"the next ledger", "4:9", [][4]int64{{7, 0, 0, 1}, {7, 1, 0, 1}}, "nc"},
		{"the next ledger, not from its first entry", "4:9", [][4]int64{{7, 1, 0, 1}}, "?"},
		{"the next ledger, not from its first record", "4:9", [][4]int64{{7, 0, 1, 2}}, "?"},
		{"the next ledger, in the middle of a batch", "4:9:0", [][4]int64{{7, 0, 0, 1}}, "?"},
		{"an older ledger", "4:9", [][4]int64{{3, 10, 0, 1}, {3, 0, 0, 1}}, "--"},
	} {
		at, err := parse(c.from)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, in := range c.in {
			m := spot{in[0], in[1], int32(in[2]), int32(in[3]), 1}
			v := at.judge(m)
			got.WriteByte(map[verdict]byte{follows: 'c', duplicate: '-', missing: '?', nextLedger: 'n'}[v])
			if v == follows || v == nextLedger {
				at = m.behind()
			}
		}
		if got.String() != c.want {
			t.Errorf("%s: %s, not %s", c.name, &got, c.want)
		}
	}
}

func TestLostAndAhead(t *testing.T) {
	for _, c := range []struct {
		from string
		m    spot
		want int64
	}{
		{"4:9", spot{4, 12, 0, 1, 0}, 2},
		{"4:9", spot{4, 12, 3, 5, 0}, 5}, // two entries, and three of the batch
		{"4:9:1", spot{4, 10, 0, 1, 0}, 1},
		{"4:9:1", spot{4, 9, 4, 6, 0}, 2},
		{"4:9", spot{4, 10, 2, 3, 0}, 2},
		{"4:9", spot{7, 3, 0, 1, 0}, 3},
		{"4:9:1", spot{7, 0, 0, 1, 0}, 1},
		{"-1:-1", spot{7, 3, 0, 1, 0}, 3},
	} {
		at, _ := parse(c.from)
		if at.judge(c.m) != missing {
			t.Errorf("nothing is missing between %s and %s", c.from, c.m)
		}
		if got := at.lost(c.m); got != c.want {
			t.Errorf("%d are lost between %s and %s, not %d", got, c.from, c.m, c.want)
		}
	}
	for _, c := range []struct {
		from string
		last spot
		want int64
	}{
		{"-1:-1", spot{-1, -1, 0, 1, 0}, 0},
		{"4:-1", spot{-1, -1, 0, 1, 0}, 0},
		{"4:9", spot{-1, -1, 0, 1, 0}, 0},
		{"4:9@5", spot{-1, -1, 0, 1, 0}, -1}, // the record that was counted last is gone
		{"-1:-1", spot{4, 9, 0, 1, 0}, 10},
		{"4:9@5", spot{4, 9, 0, 1, 0}, 0},
		{"4:9@5", spot{4, 9, 7, 1, 0}, 0},
		{"4:9:3@5", spot{4, 9, 7, 1, 0}, 4},
		{"4:9:3@5", spot{4, 9, 0, 1, 0}, 0},
		{"4:9@5", spot{4, 12, 7, 1, 0}, 3},
		{"4:9@5", spot{6, 2, 0, 1, 0}, 3},
		{"4:9@5", spot{4, 8, 0, 1, 0}, -1},
		{"4:9@5", spot{3, 80, 0, 1, 0}, -1},
		{"4:9", spot{3, 80, 0, 1, 0}, -1},
	} {
		at, _ := parse(c.from)
		if got := at.ahead(c.last); got != c.want {
			t.Errorf("%s is %d before %s, not %d", c.from, got, c.last, c.want)
		}
	}
}

func TestOrderOfCoords(t *testing.T) {
	list := []count.Coord{{A: 3, B: 9, C: whole}, {A: 4, B: 1, C: 0}, {A: 4, B: 1, C: 7}, {A: 4, B: 1, C: whole}, {A: 4, B: 2, C: 0}}
	for i := range list[1:] {
		if compare(list[i], list[i+1]) >= 0 || compare(list[i+1], list[i]) <= 0 || compare(list[i], list[i]) != 0 {
			t.Errorf("%v and %v are not in order", list[i], list[i+1])
		}
	}
}
