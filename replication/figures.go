package replication

import (
	"time"

	"quipu/internal/histogram"
)

// figures are what a Batcher measures. Each is counted once an entry, under the Batcher's lock, with a reading of the clock that is taken
// for the batch that gathers in any case: what it costs is shared by all commands of the entry.
type figures struct {
	commits  *histogram.Histogram // ns from the proposal of an entry of this node until it is applied here
	forwards *histogram.Histogram // ns from sending a batch to the leader until its answer that it is applied
	entries  *histogram.Histogram // bytes of the entries among commits
}

const (
	commitUnit = 32 * time.Microsecond // a node alone on a fast device needs about twice as long
	entryUnit  = 64                    // bytes: hardly more than the header
)

func newFigures() figures {
	return figures{histogram.New(int64(commitUnit)), histogram.New(int64(commitUnit)), histogram.New(entryUnit)}
}

// applied counts an entry, or a batch that was forwarded.
func (f *figures) applied(p *proposal, now time.Duration) {
	if p.shipped {
		f.forwards.Observe(int64(now - p.proposed))
		return
	}
	f.commits.Observe(int64(now - p.proposed))
	f.entries.Observe(int64(len(p.buf)))
}

// Figures is what a Batcher has measured since the start.
type Figures struct {
	Commits  histogram.Values // ns from the proposal of an entry of this node until it is applied here
	Forwards histogram.Values // ns from sending a batch to the leader until its answer that it is applied
	Entries  histogram.Values // bytes of the entries among Commits
}

// Figures returns what was measured. It takes no locks.
func (b *Batcher) Figures() Figures {
	f := &b.figures
	return Figures{f.commits.Read(), f.forwards.Read(), f.entries.Read()}
}
