package replica

import (
	"errors"
	"sync/atomic"

	"quipu/commands"
	"quipu/engine"
	"quipu/exec"
	"quipu/protocol"
	"quipu/replication"
)

// Owner gathers a sub-batch, and gets the sub-batch back.
type Owner interface {
	// Complete hands a sub-batch back with the replies of all its submissions. Called from any goroutine; must not block.
	Complete(s *SubBatch)
}

// SubBatch is what one owner gathers in a turn. It belongs to the owner until Submit, and again from Complete on.
type SubBatch struct {
	*exec.SubBatch
	replica *Replica
	owner   Owner
	holds   []engine.Hold
	unheld  bool // its writes set up no holds: when it was opened, nobody had asked for ack level local
}

// NewSubBatch returns an empty sub-batch for owner; call Open before it gathers.
func (r *Replica) NewSubBatch(owner Owner) *SubBatch {
	s := &SubBatch{SubBatch: exec.NewSubBatch(r.opt.Table), replica: r, owner: owner}
	s.CountErrors(r.opt.CountError)
	return s
}

// Open empties the sub-batch and begins to gather. Submit must follow.
func (s *SubBatch) Open() {
	s.Reset()
	s.unheld = s.replica.ahead.openUnheld()
}

// Of reports whether the sub-batch was made for r.
func (s *SubBatch) Of(r *Replica) bool { return s.replica == r }

// Hold is called before a write is added to the sub-batch: until the write is decided, increments of its keys are not answered
// ahead (engine/hold.go). A write that only adds to a counter needs no hold, since it changes no deadline.
func (s *SubBatch) Hold(cmd *commands.Command, args [][]byte) {
	ks := s.replica.Keyspace
	switch {
	case s.unheld || cmd.Write == nil || cmd.Delta != nil:
	case cmd.HasKeys():
		cmd.EachKey(args, func(key []byte) { s.holds = append(s.holds, ks.Hold(key)) })
	default:
		s.holds = append(s.holds, ks.HoldAll())
	}
}

// Submit hands a sub-batch over. Nothing is proposed before Flush.
func (r *Replica) Submit(s *SubBatch) { r.batcher.Submit(s) }

// batch is a batch on its way through the log. The sub-batches return to their owners when the batch is decided. It may be
// decided as Unknown, and its entry be applied later. So the batch takes over the holds, and the count in
// aheadState.unheld, of its sub-batches, and keeps them until its fate is known.
type batch struct {
	exec.Batch
	replica *Replica
	subs    []*SubBatch
	holds   []engine.Hold
	unheld  int64 // number of sub-batches without holds
	failed  error // why executing it failed
}

// source is the replica as its batcher sees it.
type source struct{ r *Replica }

var (
	_ replication.Source = source{}
	_ replication.Batch  = (*batch)(nil)
)

// NewBatch implements replication.Source.
func (s source) NewBatch() replication.Batch {
	b, _ := s.r.batches.Get().(*batch)
	if b == nil {
		b = &batch{replica: s.r}
	}
	return b
}

// Add implements replication.Batch.
func (b *batch) Add(sub replication.SubBatch) {
	s := sub.(*SubBatch)
	b.Batch.Add(s.SubBatch)
	b.subs = append(b.subs, s)
	b.holds = append(b.holds, s.holds...)
	s.holds = s.holds[:0]
	if s.unheld {
		b.unheld++
	}
}

// Seal implements replication.Batch.
func (b *batch) Seal(buf []byte, stamp int64) []byte {
	return b.Batch.Seal(buf, replication.HeaderSize, stamp)
}

// Decide implements replication.Batch: it hands the replies to those who wait.
func (b *batch) Decide(o replication.Outcome, reason error) {
	if o == replication.Applied && b.failed != nil {
		o, reason = replication.Unknown, b.failed // the node stops: no Fate follows
	}
	if o != replication.Applied {
		write, read := outcomeTexts(o, reason)
		for _, s := range b.subs {
			s.Fail(write, read)
		}
		b.replica.failed.Add(1)
	}
	for i, s := range b.subs {
		b.subs[i] = nil // the owner may use s again at once
		s.owner.Complete(s)
	}
	b.subs = b.subs[:0]
	b.Batch.Reset()
	if o != replication.Unknown {
		b.end()
	}
}

// Fate implements replication.Batch.
func (b *batch) Fate(bool) { b.end() }

// end releases the holds: the writes are applied, or never will be.
func (b *batch) end() {
	for _, h := range b.holds {
		b.replica.Keyspace.Release(h)
	}
	b.replica.ahead.unheld.Add(-b.unheld)
	b.holds, b.unheld, b.failed = b.holds[:0], 0, nil
	b.replica.batches.Put(b)
}

type failedBatches struct{ atomic.Int64 }

// outcomeTexts are the error replies to writes, and to reads behind writes, when a batch was not applied or its outcome is
// unknown.
func outcomeTexts(o replication.Outcome, reason error) (write, read string) {
	if o == replication.NotApplied {
		return NotAppliedText(reason), protocol.ErrTryAgainRead
	}
	return protocol.ErrUnknown, protocol.ErrTryAgainRead
}

// NotAppliedText is the reply to a write that certainly was not applied and never will be.
func NotAppliedText(err error) string {
	var full *replication.DiskFullError
	switch {
	case errors.As(err, &full):
		return protocol.ErrMisconf
	case errors.Is(err, replication.ErrNotLeader):
		return protocol.ErrClusterDown
	case errors.Is(err, replication.ErrShutdown):
		return protocol.ErrShuttingDown
	case errors.Is(err, replication.ErrEntryTooLarge):
		return protocol.ErrCommandTooBig
	}
	return protocol.ErrTryAgain
}
