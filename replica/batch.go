package replica

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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

	// What became of it, from Owner.Complete on. Index: what it has done or read is in the state from that entry on.
	Outcome replication.Outcome
	Reason  error // unless applied
	Index   uint64

	Reads bool // the owner has given it to SubmitReads

	forwarded uint64    // term in which another node has forwarded it to this one; 0: it is of a client of this node
	submitted time.Time // to SubmitReads
	readAt    int64     // log time in ms at which nothing was due: the reads may take it for now
	mine      bool      // it has only reads, which this node may execute now
}

// NewSubBatch returns an empty sub-batch for owner; call Open before it gathers.
func (r *Replica) NewSubBatch(owner Owner) *SubBatch {
	s := &SubBatch{SubBatch: exec.NewSubBatch(r.opt.Table), replica: r, owner: owner}
	s.CountErrors(r.opt.CountError)
	s.TellFailures(r.opt.Failed)
	s.UseWatches(r.watches)
	return s
}

// Open empties the sub-batch and begins to gather. Submit must follow.
func (s *SubBatch) Open() {
	s.Reset()
	s.Outcome, s.Reason, s.Index, s.mine = replication.Applied, nil, 0, false
	s.unheld = s.replica.ahead.openUnheld()
}

// abandon gives up a sub-batch that was opened and is not submitted.
func (s *SubBatch) abandon() {
	for _, h := range s.holds {
		s.replica.Keyspace.Release(h)
	}
	s.holds = s.holds[:0]
	if s.unheld {
		s.unheld = false
		s.replica.ahead.unheld.Add(-1)
	}
}

// Execute executes the reads of a sub-batch that came back from SubmitReads, if nobody else has.
func (s *SubBatch) Execute(r *exec.Runner) {
	if s.mine {
		s.executeReads(r)
	}
}

// executeReads executes the reads. If a key may be due by now that was not when the reads were handed over, they go by the
// log: what it has not expired yet is alive on whatever node leads next.
func (s *SubBatch) executeReads(r *exec.Runner) {
	s.mine = false
	rep := s.replica
	if !rep.opt.Reading(func() {
		now := max(s.readAt, rep.Stamp())
		if rep.Keyspace.NextDue() <= now {
			now = rep.Stamp()
		}
		if err := s.ExecuteReads(r, now, maxReadReplies, protocol.ErrLargeReplies); err != nil {
			panic("BUG: reads: " + err.Error())
		}
	}) {
		s.Fail(protocol.ErrClusterDown, protocol.ErrClusterDownRead) // another node leads, and has sent this one its state
	}
	s.Index = rep.Group.AppliedIndex() // not below what they have seen
}

// maxReadReplies is how many bytes of replies a sub-batch of reads may collect before the rest of it is refused.
const maxReadReplies = 64 << 20

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
	unheld  int64  // number of sub-batches without holds
	remote  bool   // there are sub-batches of other nodes
	index   uint64 // of the entry that has it, if it was forwarded and applied
	failed  error  // why executing it failed
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
	b.remote = b.remote || s.forwarded != 0
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
	} else {
		commands := 0
		for _, s := range b.subs {
			commands += s.Commands()
		}
		b.replica.commands.Observe(int64(commands))
	}
	// The holds go before the replies: a client that has its reply may at once be answered ahead.
	index := b.replica.Group.AppliedIndex()
	undecided := o == replication.Unknown
	landing := o == replication.Applied && b.index > index && (len(b.holds) > 0 || b.unheld > 0)
	if !undecided && !landing {
		b.release()
	}
	for i, s := range b.subs {
		b.subs[i] = nil // the owner may use s again at once
		s.Outcome, s.Reason = o, reason
		s.Index = max(s.Index, index)
		s.owner.Complete(s)
	}
	b.subs = b.subs[:0]
	b.Batch.Reset()
	switch {
	case undecided:
	case landing:
		b.replica.landing.add(b)
	default:
		b.end()
	}
}

// Forwarded implements replication.Batch.
func (b *batch) Forwarded(term uint64) {
	if !b.remote {
		return
	}
	kept := b.subs[:0:0]
	for _, s := range b.subs {
		if s.forwarded == 0 || s.forwarded == term {
			kept = append(kept, s)
		}
	}
	if len(kept) == len(b.subs) {
		return
	}
	gone := b.subs
	b.subs = nil
	b.Batch.Reset()
	b.remote = false
	for _, s := range kept {
		b.Batch.Add(s.SubBatch)
		b.subs = append(b.subs, s)
		b.remote = b.remote || s.forwarded != 0
	}
	for _, s := range gone {
		if s.forwarded != 0 && s.forwarded != term {
			s.Outcome, s.Reason = replication.NotApplied, replication.ErrNotLeader
			s.owner.Complete(s)
		}
	}
}

// Ship implements replication.Batch.
func (b *batch) Ship(buf []byte) []byte {
	for _, s := range b.subs {
		buf = s.AppendForward(buf)
	}
	return buf
}

// Shipped implements replication.Batch.
func (b *batch) Shipped(index uint64, replies []byte) (err error) {
	b.index = index
	for _, s := range b.subs {
		s.Index = index
		if replies, err = s.TakeReplies(replies); err != nil {
			return err
		}
	}
	if len(replies) > 0 {
		return errBadAnswer
	}
	return nil
}

// Fate implements replication.Batch. (The fate of a batch that was forwarded and not answered is not known: it may be applied
// later, like a write through another node.)
func (b *batch) Fate(bool) { b.end() }

// release ends the holds: the writes are applied on this node, or never will be.
func (b *batch) release() {
	for _, h := range b.holds {
		b.replica.Keyspace.Release(h)
	}
	b.replica.ahead.unheld.Add(-b.unheld)
	b.holds, b.unheld = b.holds[:0], 0
}

// end releases what is still held and gives the batch back.
func (b *batch) end() {
	b.release()
	b.failed, b.remote, b.index = nil, false, 0
	b.replica.batches.Put(b)
}

// landings are batches that the node that leads has applied, and this one has not yet. Their holds stand until it has: an increment
// would else be answered against what the key was before.
type landings struct {
	waiting atomic.Int64 // in list
	mu      sync.Mutex
	list    []*batch
}

func (l *landings) add(b *batch) {
	l.mu.Lock()
	l.list = append(l.list, b)
	l.waiting.Add(1)
	l.mu.Unlock()
	l.applied(b.replica.machine.index.Load()) // it may be there by now
}

// applied ends the batches that entries up to index have.
func (l *landings) applied(index uint64) {
	if l.waiting.Load() == 0 {
		return
	}
	var landed []*batch
	l.mu.Lock()
	l.list = slices.DeleteFunc(l.list, func(b *batch) bool {
		if b.index <= index {
			landed = append(landed, b)
		}
		return b.index <= index
	})
	l.waiting.Store(int64(len(l.list)))
	l.mu.Unlock()
	for _, b := range landed {
		b.end()
	}
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
