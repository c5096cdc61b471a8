package server

import (
	"sync"
	"sync/atomic"

	"quipu/exec"
	"quipu/transport"
)

// worker is what the server keeps for one loop of the transport, and all that its sessions and the batches know of the
// loop. Everything but calls and the mailbox belongs to the loop's goroutine.
type worker struct {
	srv    *Server
	loop   transport.Loop
	runner *exec.Runner
	calls  []atomic.Int64 // commands the sessions have run, by Command.ID
	stripe uint32         // of the server's statistics

	serial    uint64 // of the batch joined last
	waiting   int    // batches joined and not yet complete
	submitted bool   // a submission was added to the gathering batch since the last flush

	mu        sync.Mutex // guards completed; a leaf
	completed []*batch   // mailbox: batches with replies for the worker's sessions

	spareCompleted []*batch
	spareHeld      []*Session
}

var _ transport.Worker = (*worker)(nil)

func newWorker(srv *Server, l transport.Loop, calls []atomic.Int64) *worker {
	return &worker{srv: srv, loop: l, runner: srv.newRunner(), calls: calls, stripe: srv.nextStripe.Add(1)}
}

// Accept implements transport.Worker.
func (w *worker) Accept(link transport.Link, peer transport.Peer) transport.Conn {
	s := newSession(w, link, peer)
	w.srv.clients.add(s)
	return s
}

// Gathers implements transport.Worker.
func (w *worker) Gathers() bool { return w.runner.Gathered() > 0 }

// CarryOut implements transport.Worker.
func (w *worker) CarryOut() {
	if w.runner.Gathered() == 0 {
		return
	}
	counts := w.runner.GathersIncrements()
	w.runner.Answer(w.srv.clock.Now())
	if counts {
		w.srv.wakeDrainer()
	}
}

// Submit implements transport.Worker.
func (w *worker) Submit() {
	if w.submitted {
		w.submitted = false
		w.srv.batcher.Flush()
	}
}

// joins notes that the worker waits for the batch of this serial, and reports whether it did not before.
func (w *worker) joins(serial uint64) bool {
	if w.serial == serial {
		return false
	}
	w.serial = serial
	w.waiting++
	return true
}

// complete hands over a batch with replies for the worker's sessions. Called from any goroutine; does not block.
func (w *worker) complete(b *batch) {
	w.mu.Lock()
	w.completed = append(w.completed, b)
	w.mu.Unlock()
	w.loop.Completed()
}

// TakeCompleted implements transport.Worker.
func (w *worker) TakeCompleted() {
	w.mu.Lock()
	batches := w.completed
	w.completed = w.spareCompleted[:0]
	w.mu.Unlock()
	w.spareCompleted = batches
	for _, b := range batches {
		held := w.spareHeld[:0]
		for i := range b.Submissions() {
			sub := &b.Submissions()[i]
			s, ok := sub.Client.(*Session)
			if !ok || s.worker != w { // nobody waits for drains
				continue
			}
			s.finish(b, sub)
			held = append(held, s)
		}
		w.waiting--
		b.done()
		for _, s := range held {
			s.link.Resume()
		}
		clear(held)
		w.spareHeld = held
	}
	clear(batches)
}

// Rests implements transport.Worker.
func (w *worker) Rests() bool { return w.waiting == 0 }

// MayAwait implements transport.Worker: while this node is the only voter, nothing but its own disk is waited for.
func (w *worker) MayAwait() bool { return w.waiting > 0 && w.srv.group.SoleVoter() }
