package server

import (
	"strings"

	"quipu/commands"
	"quipu/exec"
	"quipu/protocol"
)

// ackChoice is what a connection has chosen with CLIENT ACK.
type ackChoice uint8

const (
	ackDefault ackChoice = iota
	ackQuorum
	ackLocal
)

// isLocal reports whether the session's increments of a key are answered ahead.
func (s *Session) isLocal(key []byte) bool {
	switch s.ack {
	case ackQuorum:
		return false
	case ackLocal:
		return true
	}
	cfg := s.srv.config()
	if len(cfg.AckRules) == 0 {
		return cfg.AckLocal
	}
	return cfg.KeyIsLocal(key)
}

// localKeys reports whether a read looks at counters at ack level local, and whether all of its keys are such. What this node has as
// no counter, or not at all, is read like any key.
func (s *Session) localKeys(cmd *commands.Command, args [][]byte) (some, all bool) {
	sees := s.sees()
	if sees == exec.SeesApplied || !cmd.HasKeys() || !cmd.ReadsCounters() {
		return false, false
	}
	cfg, ks, now := s.srv.config(), s.lane.replica.Keyspace, s.readTime()
	all = true
	cmd.EachKey(args, func(key []byte) {
		local := (sees == exec.SeesAhead || cfg.KeyIsLocal(key)) && ks.IsCounter(s.db, key, now)
		some, all = some || local, all && local
	})
	return some, all && some
}

// sees is the read level of the session. A session that watches keys reads what EXEC will find.
func (s *Session) sees() exec.Sees {
	if s.watcher != nil || s.ack == ackQuorum {
		return exec.SeesApplied
	}
	cfg := s.srv.config()
	switch {
	case s.ack == ackLocal:
		return exec.SeesAhead
	case len(cfg.AckRules) > 0:
		return exec.SeesByKey
	case cfg.AckLocal:
		return exec.SeesAhead
	}
	return exec.SeesApplied
}

// clientAck chooses the ack level of the connection, and answers once all that this node has answered ahead so far is
// applied. The commands behind it are at the chosen level even if that fails.
func clientAck(s *Session, args [][]byte) bool {
	switch strings.ToLower(string(args[2])) {
	case "quorum":
		s.ack = ackQuorum
	case "local":
		s.ack = ackLocal
		s.srv.useAhead()
	case "default":
		s.ack = ackDefault
	default:
		s.replyError(protocol.ErrAckLevel)
		return true
	}
	if s.lane.replica.Keyspace.HasAhead() {
		s.submissionFor(0, true).Barrier([]byte("+OK\r\n"), s.as())
		return true
	}
	s.beginReply().OK()
	s.endReply()
	return true
}
