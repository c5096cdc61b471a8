package server

import (
	"errors"
	"sync"
	"sync/atomic"

	"quipu/engine"
	"quipu/exec"
	"quipu/protocol"
	"quipu/replication"
)

// batchSoftLimit is the size in bytes at which a submission goes on in the next batch.
const batchSoftLimit = 512 << 10

// batch is an exec.Batch on its way through the log, together with the workers whose sessions wait for it.
type batch struct {
	*exec.Batch
	srv     *Server
	serial  uint64       // distinguishes the lives of a recycled batch
	workers []*worker    // each once
	refs    atomic.Int32 // workers that have not yet taken their replies
	failed  error        // why applying it failed
	carrier bool         // it has drains of pending increments, or is to send lost ones
	fences  []engine.Fence
}

var _ replication.Batch = (*batch)(nil)

// join notes that w waits for the batch. The batcher's lock is held.
func (b *batch) join(w *worker) {
	if w.joins(b.serial) {
		b.workers = append(b.workers, w)
	}
}

// Seal implements replication.Batch.
func (b *batch) Seal(int64) []byte {
	b.resendLost()
	return b.Entry()
}

// Complete implements replication.Batch: it hands the replies to those who wait.
func (b *batch) Complete(err error) {
	if err == nil {
		err = b.failed
	}
	if err != nil {
		if !isNotApplied(err) {
			b.srv.machine.undecided.Store(true) // before it leaves the live ones, see Session.touched
		}
		write, read := outcomeTexts(err)
		if errors.Is(err, replication.ErrEntryTooLarge) && b.HasDrains() {
			write = protocol.ErrTryAgain // what had to go first made it too large, and goes by itself soon
		}
		b.Fail(write, read)
		b.srv.stats.failedBatches.Add(1)
	}
	if err == nil {
		b.ReturnEntry() // it is applied, and so in the log's files
	}
	b.srv.live.remove(b)
	if b.carrier {
		b.carrier = false
		b.srv.local.live.Add(-1)
	}
	b.srv.batchDecided(b, err)
	workers := b.workers
	if len(workers) == 0 {
		b.recycle()
		return
	}
	b.refs.Store(int32(len(workers)))
	for i := range workers {
		workers[i].complete(b)
	}
}

// done is called by each worker once it has taken its replies.
func (b *batch) done() {
	if b.refs.Add(-1) == 0 {
		b.recycle()
	}
}

// maxRecycled is the most memory in bytes a batch may keep for its next life.
const maxRecycled = 4 << 20

func (b *batch) recycle() {
	if b.Footprint() > maxRecycled {
		return
	}
	b.Reset()
	clear(b.workers)
	b.workers, b.failed = b.workers[:0], nil
	b.srv.spare.Put(b)
}

// newBatch is called by the batcher, under its lock.
func (srv *Server) newBatch() replication.Batch {
	b, _ := srv.spare.Get().(*batch)
	if b == nil {
		b = &batch{Batch: exec.NewBatch(srv.table, replication.HeaderSize), srv: srv}
		b.CountErrors(srv.stats.errors.count)
	}
	srv.batchSerial++
	b.serial = srv.batchSerial
	srv.live.add(b)
	return b
}

// liveBatches are the batches that gather, wait or are being committed, oldest first.
type liveBatches struct {
	mu   sync.Mutex
	list []*batch
}

func (l *liveBatches) add(b *batch) {
	l.mu.Lock()
	l.list = append(l.list, b)
	l.mu.Unlock()
}

func (l *liveBatches) remove(b *batch) {
	l.mu.Lock()
	for i := range l.list {
		if l.list[i] == b {
			l.list = append(l.list[:i], l.list[i+1:]...)
			break
		}
	}
	l.mu.Unlock()
}

// each calls fn for every live batch. The batcher's lock is held, so none of them is being added to.
func (l *liveBatches) each(fn func(b *batch)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.list {
		fn(b)
	}
}

// outcomeTexts are the replies to writes and to the reads behind them when a batch was not applied, or nobody knows.
func outcomeTexts(err error) (write, read string) {
	if isNotApplied(err) {
		return notAppliedText(err), protocol.ErrTryAgainRead
	}
	return protocol.ErrUnknown, protocol.ErrTryAgainRead
}

func isNotApplied(err error) bool {
	var not *replication.NotAppliedError
	return errors.As(err, &not)
}

// notAppliedText is the reply to a write that certainly was not applied and never will be.
func notAppliedText(err error) string {
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
