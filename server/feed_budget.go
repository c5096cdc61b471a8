package server

import (
	"sync"
	"time"
)

// feedBudget bounds what all readers of the feed together take from those who count: each alone may be slow and polite, and two
// hundred of them read each change two hundred times. They may spend a part of one processor's time, and burst at once; then the next
// pass through the ring waits, of whoever asks. Streams of /feed have a budget of their own, which is smaller: what they show is
// looked at by people, and two hundred that begin at once spent two seconds of a processor before the first of them waited.
type feedBudget struct {
	share time.Duration // in so much time, a unit of it may be spent
	burst time.Duration // most that is left
	mu    sync.Mutex
	left  time.Duration // that may be spent; negative: readers wait
	at    time.Time     // when that was

	turns chan struct{} // has as many places as pages may be made at a time for streams
}

// readerBudget and streamBudget are what FEED READ and /feed may spend.
func readerBudget() *feedBudget { return newFeedBudget(5, 2*time.Second) }
func streamBudget() *feedBudget { return newFeedBudget(20, 100*time.Millisecond) }

func newFeedBudget(share, burst time.Duration) *feedBudget {
	return &feedBudget{share: share, burst: burst, turns: make(chan struct{}, 2)}
}

func (b *feedBudget) fill(now time.Time) {
	b.left = min(b.left+now.Sub(b.at)/b.share, b.burst)
	b.at = now
}

// rest is for how long a reader waits before its next pass, at most feedRestLong.
func (b *feedBudget) rest(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	return min(max(0, -b.left*b.share), feedRestLong)
}

// turn waits until a stream may begin a pass, and returns a function that is to be called when its page has been made; nil: gone is
// closed. Two make theirs at a time: if all that have waited did, they would spend all at once.
func (b *feedBudget) turn(gone <-chan struct{}) (done func()) {
	for {
		select {
		case b.turns <- struct{}{}:
		case <-gone:
			return nil
		}
		rest := b.rest(time.Now())
		if rest == 0 {
			return func() { <-b.turns }
		}
		<-b.turns
		select {
		case <-time.After(rest):
		case <-gone:
			return nil
		}
	}
}

// spend notes a page. Time in which others had the processor is not the reader's: a row takes no more than feedRowMost.
func (b *feedBudget) spend(now time.Time, took time.Duration, rows int) {
	const feedRowMost, feedPageMost = 3 * time.Microsecond, 100 * time.Microsecond
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	b.left -= min(took, feedPageMost+time.Duration(rows)*feedRowMost)
}
