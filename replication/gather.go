package replication

import "time"

// With several voters a commit takes a round trip, and who is in the entry that is under way cannot be in the next one: those
// who wait for it, and those who come meanwhile, take turns, and each entry has half of the clients. So a batch waits after
// a commit until as much has come as was in the last entry: its clients, most of whom send the next command as soon as they
// are answered. It waits for a quarter of the last commit's time at most. With 50 clients, one command at a time, and 5 ms of
// round trip an entry has 46 commands instead of 25 (bench: nodes). A single voter commits too fast for that to pay.
type gathering struct {
	expected int           // bytes that were in the last entry
	base     int           // bytes that waited already when it was decided
	at       time.Duration // when it was decided, as Batcher.now
	limit    time.Duration // how long to wait from then on
	timer    *time.Timer
}

const (
	gatherShare = 4 // of the time of a commit
	gatherMost  = 10 * time.Millisecond
)

// decided notes that an entry, or a batch that was forwarded, is through now. mu held.
func (g *gathering) decided(b *Batcher, p *proposal, now time.Duration) {
	g.expected, g.base, g.at, g.limit = int(p.bytes), b.filling.batch.Size(), now, min(gatherMost, (now-p.proposed)/gatherShare)
	if p.state.Load() != stateClaimed {
		g.expected = 0 // its clients were told something else, and may do something else
	}
}

// waitsForMore reports whether a batch is to wait for those whose commands were in the last entry. mu held.
func (b *Batcher) waitsForMore(w *waiting) bool {
	g := &b.gather
	if g.expected == 0 || b.group.SoleVoter() || w != &b.filling || w.batch.Size()-g.base >= g.expected {
		return false
	}
	left := g.at + g.limit - b.now()
	if left <= 0 || b.closed {
		return false
	}
	if g.timer == nil {
		g.timer = time.AfterFunc(left, b.Flush)
	} else {
		g.timer.Reset(left)
	}
	return true
}
