package produce

import (
	"context"
	"sync"
	"time"
)

// RateMax is the most likes a second of the firehose.
const RateMax = 50_000

// Firehose likes random posts on behalf of random users.
type Firehose struct {
	to *Producer

	mu    sync.Mutex
	on    bool
	rate  int // likes a second
	holds int // while it is above 0 the firehose waits, though it is on
}

// NewFirehose is one that is off.
func NewFirehose(to *Producer) *Firehose { return &Firehose{to: to, rate: 500} }

// Set turns it on or off, and says how much comes; from 1 to RateMax.
func (f *Firehose) Set(on bool, rate int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on, f.rate = on, min(max(rate, 1), RateMax)
}

// Hold stops it until release is called; calls nest.
func (f *Firehose) Hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds++
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.holds--
	})
}

// State is whether it is on, how much comes then, and whether it is held.
func (f *Firehose) State() (on bool, rate int, held bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.on, f.rate, f.holds > 0
}

const (
	tickTime = 10 * time.Millisecond
	tickMax  = 100 * time.Millisecond // what a late tick makes up for
)

// Run likes until ctx ends. What the producer has no room for is not liked later: the firehose waits with it.
func (f *Firehose) Run(ctx context.Context) {
	people := newCrowd()
	tick := time.NewTicker(tickTime)
	defer tick.Stop()
	last, owed := time.Now(), 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		passed := min(now.Sub(last), tickMax)
		last = now
		on, rate, held := f.State()
		if !on || held {
			owed = 0
			continue
		}
		owed += passed.Seconds() * float64(rate)
		n := int(owed)
		owed -= float64(n)
		likes := make([]Like, n)
		for i := range likes {
			likes[i] = people.like(now.UnixMilli())
		}
		_ = f.to.Offer(false, likes...) // full: the broker is away, or slower
	}
}
