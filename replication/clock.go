package replication

import (
	"sync"
	"sync/atomic"
	"time"
)

// Log time follows wall time without ever going backwards:
//
//	log time = segment.log + (monotonic − segment.mono) × (1 + rate)      while the slew lasts, rate 0 behind it
//
// Once a second the first caller compares it with the wall clock and starts a new segment at the same point, with a rate
// that removes the difference over about ten seconds, at most 1 %. A difference over a minute is not drift but somebody
// setting a clock: it is reported and ignored, log time goes on by the monotonic clock, until an operator accepts it.
//
// A deadline therefore never depends on a clock that was set, and a stamp is at least as high as every time a read has
// used: both come from Now, which returns the maximum of all it has returned before.

const (
	clockAdjustEvery = time.Second
	clockSlewOver    = 10 * time.Second
	clockSlewMaxPPM  = 10_000   // 1 %
	clockBackPPM     = -500_000 // half speed, for a backward jump that was accepted
	clockJump        = 60 * time.Second
)

// TimeSource is where a Clock takes time from. Mono never goes backwards; both are nanoseconds, Wall since the Unix epoch.
type TimeSource struct {
	Mono func() int64
	Wall func() int64
}

func systemTime() TimeSource {
	start := time.Now()
	return TimeSource{
		Mono: func() int64 { return int64(time.Since(start)) },
		Wall: func() int64 { return time.Now().UnixNano() },
	}
}

// ClockStatus says how log time stands to wall time.
type ClockStatus struct {
	Now    int64         // log time, ms
	Offset time.Duration // wall time − log time
	Jump   time.Duration // a wall clock jump that waits for AcceptJump; 0 if none
}

// Clock is log time. Its methods may be called from any goroutine.
type Clock struct {
	src     TimeSource
	high    atomic.Int64 // ms; highest time ever returned or observed
	segment atomic.Pointer[clockSegment]

	mu       sync.Mutex // serializes new segments
	jump     atomic.Int64
	backward bool // a backward jump was accepted and is being worked off; guarded by mu
}

// clockSegment is one straight piece of log time. Immutable.
type clockSegment struct {
	mono, log int64 // ns; where it begins
	ppm       int64 // rate of correction
	slew      int64 // ns of monotonic time that the correction lasts
}

func (s *clockSegment) at(mono int64) int64 {
	d := mono - s.mono
	// Microseconds keep the product inside 64 bits for 29 years of slewing.
	return s.log + d + min(d, s.slew)/1000*s.ppm/1000
}

// NewClock starts log time at wall time. A nil source is the system's.
func NewClock(src *TimeSource) *Clock {
	c := &Clock{}
	if src != nil {
		c.src = *src
	} else {
		c.src = systemTime()
	}
	c.segment.Store(&clockSegment{mono: c.src.Mono(), log: c.src.Wall()})
	return c
}

// Now is the log time in milliseconds since the Unix epoch. It never decreases, over all goroutines together.
func (c *Clock) Now() int64 {
	mono := c.src.Mono()
	s := c.segment.Load()
	if mono-s.mono >= int64(clockAdjustEvery) {
		s = c.adjust(mono, s)
	}
	return c.raise(s.at(mono) / int64(time.Millisecond))
}

func (c *Clock) raise(ms int64) int64 {
	for {
		high := c.high.Load()
		if ms <= high {
			return high
		}
		if c.high.CompareAndSwap(high, ms) {
			return ms
		}
	}
}

// Observe makes log time at least stamp (ms), from which it goes on: called for each entry applied.
func (c *Clock) Observe(stamp int64) {
	if stamp <= c.high.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	mono := c.src.Mono()
	if log := stamp * int64(time.Millisecond); log > c.segment.Load().at(mono) {
		c.begin(mono, log)
	}
	c.raise(stamp)
}

// adjust compares with the wall clock and returns the segment to use. One caller does it, others go on with what is there.
func (c *Clock) adjust(mono int64, s *clockSegment) *clockSegment {
	if !c.mu.TryLock() {
		return s
	}
	defer c.mu.Unlock()
	if mono = c.src.Mono(); mono-c.segment.Load().mono < int64(clockAdjustEvery) {
		return c.segment.Load()
	}
	c.begin(mono, c.segment.Load().at(mono))
	return c.segment.Load()
}

// begin starts a segment at log and chooses its slew. mu held.
func (c *Clock) begin(mono, log int64) {
	next := &clockSegment{mono: mono, log: log}
	diff := c.src.Wall() - log
	jump := int64(0)
	switch {
	case diff > int64(clockJump):
		jump = diff
	case diff < -int64(time.Second) && c.backward:
		next.ppm, next.slew = clockBackPPM, diff/clockBackPPM*1_000_000
	case diff < -int64(clockJump):
		jump = diff
	default:
		c.backward = false
		next.ppm = max(-clockSlewMaxPPM, min(clockSlewMaxPPM, diff*1000/int64(clockSlewOver/1000)))
		if next.ppm != 0 {
			next.slew = diff / next.ppm * 1_000_000
		}
	}
	c.jump.Store(jump)
	c.segment.Store(next)
}

// AcceptJump makes log time follow a reported jump of the wall clock: forward at once; backward, since log time cannot go
// back, by running at half speed until the wall clock has caught up. It does nothing when no jump is reported.
func (c *Clock) AcceptJump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	mono := c.src.Mono()
	log := c.segment.Load().at(mono)
	c.begin(mono, log)
	switch jump := c.jump.Load(); {
	case jump > 0:
		c.begin(mono, c.src.Wall())
	case jump < 0:
		c.backward = true
		c.begin(mono, log)
	}
}

// Status is for metrics and logs.
func (c *Clock) Status() ClockStatus {
	now := c.Now()
	return ClockStatus{
		Now:    now,
		Offset: time.Duration(c.src.Wall() - now*int64(time.Millisecond)),
		Jump:   time.Duration(c.jump.Load()),
	}
}
