package regionlink

import (
	"testing"
	"time"
)

// TestNext: links of a node make frames at the same moments, and less often where that takes long.
func TestNext(t *testing.T) {
	c := &Config{Interval: 20 * time.Millisecond}
	at := func(ms int64) time.Time { return time.UnixMilli(1_000_000 + ms) } // a multiple of all periods
	for _, test := range []struct {
		now, spent, want int64 // ms
	}{
		{0, 0, 20}, {1, 0, 20}, {19, 2, 20}, {20, 0, 40}, {1, 3, 40}, {39, 5, 40}, {1, 6, 80}, {1, 9, 80}, {79, 1000, 80}, {80, 1000, 160},
	} {
		if got := c.next(at(test.now), time.Duration(test.spent)*time.Millisecond); !got.Equal(at(test.want)) {
			t.Errorf("at %d ms after %d ms: %v, want %v", test.now, test.spent, got.Sub(at(0)), at(test.want).Sub(at(0)))
		}
	}
}

// TestClock: the other region's clock is known to half a round trip, and a better comparison stays until it is old.
func TestClock(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	c := compared(1000, 5040, 1080, start)
	if c.Offset != 4000 || c.Within != 40 {
		t.Errorf("%+v", c)
	}
	for what, test := range map[string]struct {
		took   int64
		after  time.Duration
		better bool
	}{
		"a quicker answer":      {79, time.Second, true},
		"one as quick":          {80, time.Second, true},
		"a slower one":          {90, time.Second, false},
		"a slower one, later":   {90, time.Minute + 1, true},
		"a slower one, shortly": {90, time.Minute, false},
	} {
		d := compared(2000, 9000, 2000+test.took, start.Add(test.after))
		if d.better(&c) != test.better {
			t.Errorf("%s: %v", what, !test.better)
		}
	}
	if d := compared(1, 2, 3000, start); !d.better(&Clock{}) {
		t.Error("the first one is not taken")
	}
}
