package replication

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestClockCallerThatWasHeldUp has one caller read the monotonic clock, lose the processor, and go on only when another
// has been given a later time: what it returns is at least that time. "Later" includes a segment that began meanwhile.
func TestClockCallerThatWasHeldUp(t *testing.T) {
	for _, later := range []time.Duration{time.Millisecond, 300 * time.Millisecond, 3 * time.Second} {
		var mono atomic.Int64
		var holds atomic.Bool
		read, goOn := make(chan struct{}), make(chan struct{})
		c := NewClock(&TimeSource{
			Mono: func() int64 {
				now := mono.Load()
				if holds.CompareAndSwap(true, false) {
					close(read)
					<-goOn
				}
				return now
			},
			Wall: func() int64 { return clockEpoch*1e6 + mono.Load() },
		})
		holds.Store(true)
		first := make(chan int64)
		go func() { first <- c.Now() }()
		<-read
		mono.Add(int64(later))
		second := c.Now()
		if want := clockEpoch + later.Milliseconds(); second != want {
			t.Fatalf("Now() = %d, want %d", second, want)
		}
		close(goOn)
		if got := <-first; got < second {
			t.Errorf("log time went back from %d to %d", second, got)
		}
		if got := c.Now(); got < second {
			t.Errorf("afterwards log time went back from %d to %d", second, got)
		}
	}
}

// TestClockHighestOfAll has goroutines tell each other the time they got. A caller gets at least what any of them had got
// before it called, though they lose the processor behind every reading of the monotonic clock, and though the wall clock
// drifts, so that new segments begin with other rates all the time.
func TestClockHighestOfAll(t *testing.T) {
	var mono, highest atomic.Int64
	c := NewClock(&TimeSource{
		Mono: func() int64 {
			now := mono.Add(int64(time.Millisecond))
			runtime.Gosched()
			return now
		},
		Wall: func() int64 {
			now := mono.Load()
			drift := now % int64(7*time.Second) / 20 // of up to 350 ms, and back at once
			return clockEpoch*1e6 + now + drift
		},
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20_000 {
				before := highest.Load()
				now := c.Now()
				if now < before {
					t.Errorf("log time went back from %d to %d", before, now)
					return
				}
				for h := before; now > h && !highest.CompareAndSwap(h, now); h = highest.Load() {
				}
			}
		})
	}
	wg.Wait()
}
