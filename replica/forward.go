package replica

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"quipu/exec"
	"quipu/protocol"
	"quipu/replication"
)

// What this node does for other nodes, and has other nodes do for it. Batches that write go through the batcher, wherever the
// leader is. Sub-batches that only read come here:
//
//	on the leader:  SubmitReads ─► Group.Confirm, which no other leader may contradict ─► Owner.Complete, which executes them
//	elsewhere:      SubmitReads ─► waiting ─► Group.Send, one batch at a time ─► Owner.Complete, with the leader's replies
//
// Reads change nothing, so they are sent again until somebody answers, or the write timeout is over.
type readers struct {
	mu       sync.Mutex
	waiting  []*SubBatch
	due      []*SubBatch  // for the next entry, see awaitEntry
	entry    bool         // one is under way
	bytes    atomic.Int64 // in waiting, or sent
	sending  bool
	watching bool // a goroutine looks after what waits
}

const (
	readersLook = 10 * time.Millisecond
	keptRemote  = 256 << 10 // bytes that a sub-batch of another node may take to be used again
)

var errBadAnswer = errors.New("the leader's answer makes no sense")

// SubmitReads hands over a sub-batch that has only reads. They see everything that was answered before, by any node.
func (r *Replica) SubmitReads(s *SubBatch) {
	s.abandon() // reads hold nothing
	s.submitted = time.Now()
	r.askReads(s)
}

func (r *Replica) askReads(s *SubBatch) {
	s.readAt = r.Clock.Now()
	switch {
	case r.tooLate(s):
	case r.Group.Term() == 0:
		r.waitReads(s)
	case r.Keyspace.NextDue() <= s.readAt:
		r.awaitEntry(s)
	default:
		r.confirmReads(s)
	}
}

// tooLate refuses what another node has sent to the leader of another term than this one leads in, and reports whether it was
// that. That node has sent it to the next leader by then. Late reads would do no harm, but a late WATCH would: the key as it is
// now would be watched in place of what the client saw.
func (r *Replica) tooLate(s *SubBatch) bool {
	if s.forwarded == 0 || s.forwarded == r.Group.Term() {
		return false
	}
	s.refuse()
	return true
}

func (s *SubBatch) refuse() {
	s.Outcome, s.Reason = replication.NotApplied, replication.ErrNotLeader
	s.owner.Complete(s)
}

// waitReads has reads of this node's clients wait until they can be forwarded, or this node leads.
func (r *Replica) waitReads(s *SubBatch) {
	if s.forwarded != 0 {
		s.refuse()
		return
	}
	r.readers.mu.Lock()
	r.readers.waiting = append(r.readers.waiting, s)
	r.readers.mu.Unlock()
	r.readers.bytes.Add(int64(s.Size()))
	r.sendReads()
}

// confirmReads lets reads run here once it is certain that this node still leads.
func (r *Replica) confirmReads(s *SubBatch) {
	r.Group.Confirm(func(err error) {
		if err != nil {
			r.askReads(s) // another node leads
			return
		}
		if r.tooLate(s) {
			return
		}
		s.Outcome, s.mine = replication.Applied, true
		s.owner.Complete(s)
	})
}

// awaitEntry has reads wait for an entry: a key may be expired by the clock and not yet by the log, and a later leader with a
// slower clock would find it alive. All reads that come while one such entry is under way share the next.
func (r *Replica) awaitEntry(s *SubBatch) {
	q := &r.readers
	q.mu.Lock()
	q.due = append(q.due, s)
	first := !q.entry
	q.entry = true
	q.mu.Unlock()
	if first {
		r.makeEntry()
	}
}

// makeEntry submits a sub-batch that has nothing but its place in the log.
func (r *Replica) makeEntry() {
	q := &r.readers
	q.mu.Lock()
	reads := q.due
	q.due = nil
	q.entry = len(reads) > 0
	q.mu.Unlock()
	if len(reads) == 0 {
		return
	}
	m := r.NewSubBatch(afterEntry{r, reads})
	m.Open()
	m.Begin(nil, 0)
	m.Literal(nil, exec.As{RESP: 2})
	m.End()
	r.batcher.Submit(m)
	r.batcher.Flush()
}

// afterEntry owns such a sub-batch.
type afterEntry struct {
	r     *Replica
	reads []*SubBatch
}

// Complete implements Owner.
func (o afterEntry) Complete(m *SubBatch) {
	var full *replication.DiskFullError
	goOn := m.Outcome == replication.Applied || errors.As(m.Reason, &full) // with a full disk reads go on, by the log's time
	q := &o.r.readers
	if m.Outcome == replication.Applied {
		o.r.makeEntry()
	} else { // the log has refused this one and may refuse the next: whoever came meanwhile does as these
		q.mu.Lock()
		o.reads = append(o.reads, q.due...)
		q.due, q.entry = nil, false
		q.mu.Unlock()
	}
	for _, s := range o.reads {
		switch {
		case goOn:
			o.r.confirmReads(s)
		case time.Since(s.submitted) > o.r.opt.WriteTimeout || isDone(o.r.Group.Done()):
			o.r.failReads(s)
		default:
			o.r.waitReads(s)
		}
	}
}

// failReads ends reads that no leader has answered in time.
func (r *Replica) failReads(s *SubBatch) {
	s.Fail(protocol.ErrClusterDown, protocol.ErrClusterDownRead)
	s.Outcome = replication.NotApplied
	s.owner.Complete(s)
}

// sendReads forwards what waits, if that is possible now, and makes sure that somebody looks again otherwise.
func (r *Replica) sendReads() {
	q := &r.readers
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || q.sending {
		return
	}
	if !q.watching {
		q.watching = true
		go r.watchReads()
	}
	if !r.Group.MaySend(true) {
		return
	}
	n, size := 0, 0
	for n < len(q.waiting) && (n == 0 || size+q.waiting[n].Size() <= SoftLimit) {
		size += q.waiting[n].Size()
		n++
	}
	list := q.waiting[:n:n]
	body := make([]byte, 0, size+size/4)
	for _, s := range list {
		body = s.AppendForward(body)
	}
	q.sending = true
	if r.Group.Send(body, true, func(a *replication.Answer, _ bool) bool { return r.readsAnswered(list, a) }) {
		q.waiting = q.waiting[n:]
	} else {
		q.sending = false
	}
}

func (r *Replica) readsAnswered(list []*SubBatch, a *replication.Answer) (goOn bool) {
	q := &r.readers
	if a == nil || a.Outcome != replication.Applied {
		q.mu.Lock()
		q.waiting, q.sending = append(list, q.waiting...), false
		q.mu.Unlock()
		r.sendReads() // the courier may be gone for good: then somebody has to look after them
		return a != nil && a.Outcome == replication.Unknown
	}
	q.mu.Lock()
	q.sending = false
	q.mu.Unlock()
	rest, err := a.Replies, error(nil)
	for _, s := range list {
		if err == nil {
			rest, err = s.TakeReplies(rest)
		}
		if err != nil {
			s.Fail(protocol.ErrTryAgain, protocol.ErrTryAgainRead)
		}
		s.Outcome, s.Index = replication.Applied, a.Index
		q.bytes.Add(-int64(s.Size()))
		s.owner.Complete(s)
	}
	r.sendReads()
	return err == nil
}

// watchReads looks after reads that wait, until there are none: they fail when the write timeout is over, and this node may
// lead by now.
func (r *Replica) watchReads() {
	q := &r.readers
	ticker := time.NewTicker(readersLook)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-r.Group.Done():
		}
		q.mu.Lock()
		ended := isDone(r.Group.Done())
		var again, failed []*SubBatch
		kept := q.waiting[:0:0]
		for _, s := range q.waiting {
			switch {
			case ended || time.Since(s.submitted) > r.opt.WriteTimeout:
				failed = append(failed, s)
			case r.Group.Term() != 0:
				again = append(again, s)
			default:
				kept = append(kept, s)
			}
		}
		q.waiting = kept
		more := len(kept) > 0 || len(again) > 0 || q.sending
		q.watching = more && !ended
		stop := !q.watching
		q.mu.Unlock()
		for _, s := range failed {
			q.bytes.Add(-int64(s.Size()))
			r.failReads(s)
		}
		for _, s := range again {
			q.bytes.Add(-int64(s.Size()))
			r.askReads(s)
		}
		if stop {
			return
		}
		r.sendReads()
	}
}

func isDone(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// remote is another node's batch on this one.
type remote struct{ done chan *SubBatch }

// Complete implements Owner.
func (o remote) Complete(s *SubBatch) { o.done <- s }

// absorber takes the batches that another node sends over one connection.
type absorber struct {
	*Replica
	from    string // its ID
	reads   bool
	watches Watches
}

// Absorbs implements replication.Remote.
func (r *Replica) Absorbs(from string, reads bool) replication.Absorber {
	return absorber{r, from, reads, r.opt.Watches(r)}
}

// Close implements replication.Absorber.
func (r absorber) Close() { r.watches.Close() }

// Absorb implements replication.Absorber.
func (r absorber) Absorb(body []byte, term uint64) (wait func() replication.Answer) {
	r.absorbing.RLock()
	defer r.absorbing.RUnlock()
	o := remote{make(chan *SubBatch, 1)}
	s, _ := r.remotes.Get().(*SubBatch)
	if s == nil {
		s = r.NewSubBatch(nil)
	}
	s.owner = o
	s.Open()
	s.UseWatches(r.watches)
	s.forwarded = term
	err := s.SubBatch.Absorb(body, r.from, r.opt.Databases, s.Hold)
	switch {
	case term == 0 || term != r.Group.Term():
		err = replication.ErrNotLeader
	case r.stopping && len(s.Submissions()) > 0: // what another node has answered ahead is taken to the end
		err = replication.ErrShutdown
	case err == nil && r.reads && !s.ReadsOnly():
		err = errors.New("a batch of reads that writes")
	}
	if err != nil {
		r.log.Debug("a batch from another node is refused", "err", err)
		s.abandon()
		return func() replication.Answer { return replication.Answer{Outcome: replication.NotApplied, Reason: err} }
	}
	if r.reads {
		r.SubmitReads(s)
	} else {
		r.batcher.Submit(s)
		r.batcher.Flush()
	}
	return func() replication.Answer {
		s := <-o.done
		if s.mine {
			runner, _ := r.runners.Get().(*exec.Runner)
			if runner == nil {
				runner = r.NewRunner()
			}
			s.executeReads(runner)
			r.runners.Put(runner)
		}
		a := replication.Answer{Outcome: s.Outcome, Reason: s.Reason, Index: s.Index}
		if a.Outcome == replication.Applied {
			a.Replies = s.AppendReplies(nil)
		}
		if s.owner = nil; s.Footprint() <= keptRemote {
			s.Reset()
			r.remotes.Put(s)
		}
		return a
	}
}
