package replica

import (
	"quipu/exec"
	"quipu/protocol"
)

// Watches is what the clients of one node watch on this one, when it leads. After Close nothing is watched any more.
type Watches interface {
	exec.Watches
	Close()
}

// Unwatch forgets what names are watched under, here and on the node that leads. If that one does not get to know, it forgets
// with the connection.
func (r *Replica) Unwatch(names ...exec.Watch) {
	r.UnwatchHere(names...)
	if r.Group.Term() != 0 || r.Group.SoleVoter() {
		return
	}
	s := r.NewSubBatch(nobody{})
	s.Open()
	s.Begin(nil, 0)
	for _, w := range names {
		s.Watch(w, nil, exec.As{RESP: 2})
	}
	s.End()
	r.SubmitReads(s)
}

// UnwatchHere is Unwatch for what the node that leads has forgotten already.
func (r *Replica) UnwatchHere(names ...exec.Watch) {
	for _, w := range names {
		r.watches.Watch(w, 0, nil, 0)
	}
}

// Guard is the guard of a transaction whose client watches, on this node, what w names.
func (r *Replica) Guard(w exec.Watch) exec.Guard { return r.watches.Guard(w) }

// nobody owns sub-batches whose outcome nobody waits for.
type nobody struct{}

// Complete implements Owner.
func (nobody) Complete(*SubBatch) {}

// noWatches is for a replica without clients.
type noWatches struct{}

// Watch implements Watches.
func (noWatches) Watch(exec.Watch, int, [][]byte, int64) string { return protocol.ErrTryAgain }

// Guard implements Watches.
func (noWatches) Guard(exec.Watch) exec.Guard { return aborting{} }

// Close implements Watches.
func (noWatches) Close() {}

// aborting is the guard of a transaction that never runs.
type aborting struct{}

// Aborts implements exec.Guard.
func (aborting) Aborts(int64, func(int, []byte) bool) bool { return true }

// Decided implements exec.Guard.
func (aborting) Decided(bool) {}

// Watch implements exec.Guard.
func (aborting) Watch() exec.Watch { return exec.Watch{} }

// Deadline implements exec.Guard.
func (aborting) Deadline() int64 { return 0 }
