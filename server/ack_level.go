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

// isLocal reports whether the session's increments of a key are answered from memory.
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

// readLevel is the level at which the session reads. One that watches keys reads what EXEC will find.
func (s *Session) readLevel() exec.Level {
	if s.watcher != nil || s.ack == ackQuorum {
		return exec.LevelQuorum
	}
	cfg := s.srv.config()
	switch {
	case s.ack == ackLocal:
		return exec.LevelLocal
	case len(cfg.AckRules) > 0:
		return exec.LevelByKey
	case cfg.AckLocal:
		return exec.LevelLocal
	}
	return exec.LevelQuorum
}

// clientAck chooses the level of the connection, and answers once all that this node has counted in memory so far is
// in the log. The choice holds for the commands behind it also where that fails.
func clientAck(s *Session, args [][]byte) bool {
	switch strings.ToLower(string(args[2])) {
	case "quorum":
		s.ack = ackQuorum
	case "local":
		s.ack = ackLocal
	case "default":
		s.ack = ackDefault
	default:
		s.replyError(protocol.ErrAckLevel)
		return true
	}
	// The first client at level local waits for the writes before it, which have no fences.
	first := s.ack == ackLocal && s.srv.local.used.CompareAndSwap(false, true)
	if first || s.srv.keyspace.HasPending() {
		s.drainAll().Barrier([]byte("+OK\r\n"), s.origin())
		return true
	}
	s.beginReply().OK()
	s.endReply()
	return true
}
