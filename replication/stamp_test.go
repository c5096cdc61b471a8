package replication

import (
	"testing"
	"testing/synctest"
	"time"
)

// lateSource answers something ahead while it is being sealed, as event loops do: at a log time that only the clock knows.
type lateSource struct {
	testSource
	clock    *Clock
	answered int64
}

func (s *lateSource) Ahead(buf []byte) ([]byte, bool) {
	time.Sleep(5 * time.Millisecond)
	s.answered = s.clock.Now()
	return s.testSource.Ahead(buf)
}

// TestStampCoversAhead has time pass while an entry is sealed. What goes ahead of the batches was answered until then: an
// entry with an earlier stamp would apply an increment to a counter that had expired when it was answered.
func TestStampCoversAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFakeGroup()
		src := &lateSource{testSource: testSource{ahead: []uint64{1}}, clock: g.clock}
		b := NewBatcher(g, g.clock, src, BatcherOptions{})
		defer b.Close()
		b.Tick()
		p := g.take()
		if p.header.stamp < src.answered {
			t.Errorf("the entry's stamp is %d ms before what it holds was answered", src.answered-p.header.stamp)
		}
		g.commit(p, nil)
	})
}
