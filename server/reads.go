package server

import (
	"strings"

	"quipu/commands"
	"quipu/exec"
	"quipu/protocol"
)

// Where reads are carried out. A read sees every write that was answered before it, by any node, unless somebody has asked
// for less: with several nodes that takes a round on the node that leads (replication/rounds.go), to which the others forward
// their reads (replica/forward.go). Such reads are gathered in the lane's sub-batch like writes, and wait for it. Where this
// node is the only voter, and at the lower levels, a read runs at once on what this node has applied. So does a read of counters
// at ack level local, whatever its level: no other node knows what was answered ahead here, and INCR would say 101 and GET 100.

// consistency is how much a read sees.
type consistency uint8

const (
	consistencyDefault consistency = iota // that of the setting
	linearizable                          // everything that was answered before
	leaderReads                           // what the node has applied that leads, or thinks that it does
	localReads                            // what this node has applied, and the session's own writes
)

var consistencies = map[string]consistency{
	"default": consistencyDefault, "linearizable": linearizable, "leader": leaderReads, "local": localReads,
}

func (s *Session) consistency() consistency {
	switch {
	case s.readonly:
		return localReads
	case s.reads != consistencyDefault:
		return s.reads
	}
	return consistencies[s.srv.config().ReadConsistency]
}

// direct reports whether reads of the session run at once, on the state of this node.
func (s *Session) direct() bool {
	if s.lane.sole {
		return true
	}
	g := s.lane.replica.Group
	switch s.consistency() {
	case leaderReads:
		return g.Term() != 0
	case localReads:
		return g.AppliedIndex() >= s.index && !g.Doubtful()
	}
	return false
}

// place says where a read is carried out.
type place uint8

const (
	here   place = iota // at once, on the state of this node
	asked               // where the leader is, after a round
	behind              // through the log, behind everything that this node has answered ahead
)

// placeOf is the place of a read. A read that looks at the keyspace as a whole, that of a client which watches keys and must
// read what EXEC will find, and one that sees counters at ack level local beside others, stand behind what is answered ahead.
func (s *Session) placeOf(cmd *commands.Command, args [][]byte) place {
	ahead := s.lane.replica.Keyspace.HasAhead()
	switch {
	case ahead && (s.watcher != nil || !cmd.HasKeys()) && cmd.Flags&commands.FlagReadonly != 0:
		return behind
	case s.lane.sole:
		return here
	}
	if some, all := s.localKeys(cmd, args); all && !s.pending() && s.hasOwnWrites() && !s.lane.replica.Group.Doubtful() {
		return here
	} else if some && ahead {
		return behind
	}
	if s.direct() {
		return here
	}
	return asked
}

// hasOwnWrites reports whether this node has applied what the session has written through the log.
func (s *Session) hasOwnWrites() bool {
	return s.lane.sole || s.lane.replica.Group.AppliedIndex() >= s.logged
}

// readTime is the log time of a read that runs at once. A node that does not lead uses no clock of its own: the log says what
// is expired.
func (s *Session) readTime() int64 { return s.lane.readTime() }

func (l *lane) readTime() int64 {
	r := l.replica
	if l.sole || r.Group.Term() != 0 {
		return r.Clock.Now()
	}
	return r.Stamp()
}

// elsewhere is the error text for a command that only the node that leads can carry out, and that is not forwarded to it: the
// client is sent there. "" for all others.
func (s *Session) elsewhere(cmd *commands.Command, args [][]byte) string {
	if s.lane.sole || !cmd.HasKeys() || cmd.OfNode || cmd.Flags&commands.FlagPubSub != 0 || s.lane.replica.Group.Term() != 0 {
		return ""
	}
	if !s.srv.config().ClusterEnabled || cmd.Write == nil && s.consistency() == localReads {
		return ""
	}
	t := s.srv.topology()
	switch {
	case t.present && t.leader.Self:
		return "" // this node was just elected, and serves in a moment
	case !t.present || t.leader.Self || t.leader.ClientAddress == "":
		return protocol.ErrClusterDown
	}
	return protocol.ErrMoved(slotOf(cmd, args), t.leader.ClientAddress)
}

// askSlow executes a read that may take long where reads wait for a round: elsewhere on the leader, so that the loop does
// not wait, or forwarded by itself.
func (s *Session) askSlow(cmd *commands.Command, args [][]byte) bool {
	if s.awaitPending() {
		return false
	}
	l := s.lane
	if l.replica.Group.Term() == 0 {
		b := l.replica.NewSubBatch(s.worker)
		b.Open()
		b.Begin(s, s.slots.take())
		b.Read(cmd, args, s.as())
		s.bytes += b.End()
		s.worker.waiting++
		b.Reads = true
		s.handedOver(true)
		l.replica.SubmitReads(b)
		return true
	}
	copied := copyArgs(args)
	reply := s.replyLater(waitTask)
	db, r := s.db, l.replica
	result := protocol.Writer{V: s.out.V, Failed: s.out.Failed}
	r.Group.Confirm(func(err error) {
		answer := func() {
			s.worker.loop.Post(func() { reply(func(w *protocol.Writer) { w.B = append(w.B, result.B...) }) })
		}
		if err != nil {
			result.Error(protocol.ErrClusterDownRead)
			answer()
			return
		}
		s.srv.tasks.run(func() {
			s.srv.reading.RLock()
			now := r.Clock.Now()
			if r.Keyspace.NextDue() <= now {
				now = r.Stamp() // the log says what is expired
			}
			s.srv.newRunner(r).ReadAt(s, cmd, copied, db, now, exec.SeesApplied, &result)
			s.srv.reading.RUnlock()
			answer()
		})
	})
	return true
}

// clientRead chooses how much the connection's reads see.
func clientRead(s *Session, args [][]byte, w *protocol.Writer) {
	level, ok := consistencies[strings.ToLower(string(args[2]))]
	if !ok {
		w.Error(protocol.ErrReadLevel)
		return
	}
	s.reads = level
	w.OK()
}
