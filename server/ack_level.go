package server

import (
	"strings"

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
	if !s.lane.sole {
		return false // what one node has answered ahead would have to survive a change of the leader
	}
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
		s.submission(0).Barrier([]byte("+OK\r\n"), s.as())
		return true
	}
	s.beginReply().OK()
	s.endReply()
	return true
}
