package replica

import (
	"quipu/commands"
	"quipu/exec"
)

// Write has the log execute a write of the node itself, at ack level quorum, and calls done with the reply, or with the error that is the reply.
// done must not block. The slices are not to be changed before that.
func (r *Replica) Write(cmd *commands.Command, args [][]byte, done func(reply []byte)) {
	s := r.NewSubBatch(ownWrite{done})
	s.Open()
	s.Begin(nil, 0)
	s.Hold(cmd, args)
	s.Write(cmd, args, exec.As{RESP: 2})
	s.End()
	r.Submit(s)
	r.Flush()
}

// ownWrite owns such a sub-batch.
type ownWrite struct{ done func(reply []byte) }

// Complete implements Owner.
func (o ownWrite) Complete(s *SubBatch) {
	o.done(s.Replies(&s.Submissions()[0]))
}
