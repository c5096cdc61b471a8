package replication

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// manualTime is a pair of clocks a test sets.
type manualTime struct {
	mu         sync.Mutex
	mono, wall int64
}

func (m *manualTime) source() *TimeSource {
	return &TimeSource{
		Mono: func() int64 { m.mu.Lock(); defer m.mu.Unlock(); return m.mono },
		Wall: func() int64 { m.mu.Lock(); defer m.mu.Unlock(); return m.wall },
	}
}

// pass lets both clocks run, calling Now every 100 ms.
func (m *manualTime) pass(c *Clock, d time.Duration) {
	for ; d > 0; d -= 100 * time.Millisecond {
		m.mu.Lock()
		m.mono += int64(min(d, 100*time.Millisecond))
		m.wall += int64(min(d, 100*time.Millisecond))
		m.mu.Unlock()
		c.Now()
	}
}

func (m *manualTime) set(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall += int64(d)
}

const clockEpoch = int64(1_700_000_000_000) // ms

func newManualClock() (*manualTime, *Clock) {
	m := &manualTime{mono: 5, wall: clockEpoch * 1e6}
	return m, NewClock(m.source())
}

func TestClockSlewsDrift(t *testing.T) {
	for _, d := range []time.Duration{5 * time.Millisecond, 500 * time.Millisecond, 30 * time.Second, -5 * time.Millisecond, -500 * time.Millisecond, -30 * time.Second} {
		m, c := newManualClock()
		m.pass(c, time.Second)
		m.set(d)
		before := c.Now()
		m.pass(c, 10*time.Second)
		if rate := float64(c.Now()-before) / 10_000; rate < 0.989 || rate > 1.011 {
			t.Errorf("wall set by %v: log time runs at %v of real time", d, rate)
		}
		if st := c.Status(); st.Jump != 0 {
			t.Errorf("wall set by %v: reported as a jump", d)
		}
		m.pass(c, max(d, -d)*100+time.Minute)
		if off := c.Status().Offset; off > 2*time.Millisecond || off < -2*time.Millisecond {
			t.Errorf("wall set by %v: still off by %v", d, off)
		}
	}
}

func TestClockDoesNotFollowAJump(t *testing.T) {
	for _, d := range []time.Duration{61 * time.Second, 24 * time.Hour, -61 * time.Second, -time.Hour} {
		m, c := newManualClock()
		m.pass(c, time.Second)
		before := c.Now()
		m.set(d)
		m.pass(c, 10*time.Minute)
		if got := c.Now() - before; got != 600_000 {
			t.Errorf("wall set by %v: log time ran %d ms in ten minutes", d, got)
		}
		if jump := c.Status().Jump; jump != d {
			t.Errorf("jump %v reported as %v", d, jump)
		}
		c.AcceptJump()
		if d > 0 {
			if off := c.Status().Offset; off > time.Millisecond || off < 0 {
				t.Errorf("accepted jump %v: off by %v", d, off)
			}
			continue
		}
		before = c.Now()
		m.pass(c, -2*d+10*time.Minute)
		if off := c.Status().Offset; off > 2*time.Millisecond || off < -2*time.Millisecond {
			t.Errorf("accepted jump %v: off by %v when it should be worked off", d, off)
		}
		if c.Now() < before {
			t.Errorf("accepted jump %v: log time went back", d)
		}
	}
}

func TestClockJumpThatIsTakenBack(t *testing.T) {
	m, c := newManualClock()
	m.set(time.Hour)
	m.pass(c, 5*time.Second)
	m.set(-time.Hour)
	m.pass(c, 5*time.Second)
	if st := c.Status(); st.Jump != 0 || st.Offset > time.Millisecond || st.Offset < -time.Millisecond {
		t.Errorf("%+v", st)
	}
}

func TestClockContinuesFromLastStamp(t *testing.T) {
	m, c := newManualClock()
	last := clockEpoch + 5_000 // the clock of this machine is behind what the log has seen
	c.Observe(last)
	if got := c.Now(); got != last {
		t.Fatalf("Now() = %d after stamp %d", got, last)
	}
	m.pass(c, time.Second)
	if got := c.Now(); got < last+980 || got > last+1000 {
		t.Errorf("log time ran from %d to %d in a second", last, got)
	}
	c.Observe(last - 1)
	m.pass(c, 20*time.Minute)
	if off := c.Status().Offset; off < -2*time.Millisecond {
		t.Errorf("still off by %v", off)
	}
}

func TestClockIdleForLong(t *testing.T) {
	m, c := newManualClock()
	m.set(300 * time.Millisecond)
	m.pass(c, 2*time.Second) // begins to slew
	m.mu.Lock()
	m.mono += int64(30 * 24 * time.Hour)
	m.wall += int64(30 * 24 * time.Hour)
	m.mu.Unlock()
	if st := c.Status(); st.Offset < -2*time.Millisecond || st.Offset > 300*time.Millisecond || st.Jump != 0 {
		t.Errorf("after a month without a call: %+v", st)
	}
}

// TestClockNeverGoesBack drives the clock with everything at once.
func TestClockNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, c := newManualClock()
		last := c.Now()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				m.pass(c, time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pass")))
			case 1:
				m.set(time.Duration(rapid.Int64Range(-int64(3*time.Minute), int64(3*time.Minute)).Draw(t, "set")))
			case 2:
				c.AcceptJump()
			case 3:
				s := last + rapid.Int64Range(-1000, 100_000).Draw(t, "stamp")
				c.Observe(s)
				if now := c.Now(); now < s {
					t.Fatalf("Now() = %d after Observe(%d)", now, s)
				}
			}
			now := c.Now()
			if now < last {
				t.Fatalf("log time went back from %d to %d", last, now)
			}
			last = now
		}
	})
}

func TestClockConcurrent(t *testing.T) {
	c := NewClock(nil)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			last := int64(0)
			for i := range 20_000 {
				if g == 0 && i%1000 == 0 {
					c.Observe(c.Now() + 3)
				}
				now := c.Now()
				if now < last {
					t.Errorf("log time went back from %d to %d", last, now)
					return
				}
				last = now
			}
		})
	}
	wg.Wait()
}
