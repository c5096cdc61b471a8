package server

import (
	"errors"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// A server has a list of replicas, each for a range of hash slots: of one today. What belongs to the node as a whole adds
// them up here.

// replicaOf is the place in the list of the replica that a key belongs to: each has an equal share of the parts.
func (srv *Server) replicaOf(key []byte) int {
	return engine.Part(key) * len(srv.replicas) / engine.Parts
}

// route chooses the lane of a command's keys, where there are several lanes. A command without keys goes to the first
// lane: with more than one replica it sees no other.
func (s *Session) route(cmd *commands.Command, args [][]byte) (refusal string) {
	w := s.worker
	first, crosses := -1, false
	cmd.EachKey(args, func(key []byte) {
		i := s.srv.replicaOf(key)
		crosses = crosses || first >= 0 && i != first
		first = i
	})
	switch {
	case crosses:
		return protocol.ErrCrossSlot
	case first >= 0:
		s.lane = &w.lanes[first]
	case s.multi == nil && s.watcher == nil:
		s.lane = &w.lanes[0]
	}
	return ""
}

// laneOf is the worker's lane for a key.
func (s *Session) laneOf(key []byte) *lane {
	w := s.worker
	if len(w.lanes) == 1 {
		return &w.lanes[0]
	}
	return &w.lanes[s.srv.replicaOf(key)]
}

// dataMemory adds up what the data of all replicas take.
func (srv *Server) dataMemory() engine.MemoryStats {
	m := srv.replicas[0].Keyspace.Memory()
	for _, r := range srv.replicas[1:] {
		m = m.Plus(r.Keyspace.Memory())
	}
	return m
}

// useAhead says that somebody asks for ack level local.
func (srv *Server) useAhead() {
	for _, r := range srv.replicas {
		r.UseAhead()
	}
}

// exceeds reports whether the data take more than limit bytes.
func (srv *Server) exceeds(limit int64) bool { return srv.dataMemory().Used > limit }

// dbStats adds up a database over all replicas; the average is that of the first.
func (srv *Server) dbStats(db int) engine.DBStats {
	st := srv.replicas[0].Keyspace.Stats(db)
	for _, r := range srv.replicas[1:] {
		more := r.Keyspace.Stats(db)
		st.Keys += more.Keys
		st.Expires += more.Expires
	}
	return st
}

// queued is the number of bytes that all clients have handed over and that are not applied.
func (srv *Server) queued() (n int64) {
	for _, r := range srv.replicas {
		n += r.Queued()
	}
	return n
}

func (srv *Server) entries() (n int64) {
	for _, r := range srv.replicas {
		n += r.Entries()
	}
	return n
}

func (srv *Server) failedBatches() (n int64) {
	for _, r := range srv.replicas {
		n += r.FailedBatches()
	}
	return n
}

// snapshot writes a snapshot of each replica.
func (srv *Server) snapshot() error {
	var errs []error
	for _, r := range srv.replicas {
		errs = append(errs, r.Group.Snapshot())
	}
	return errors.Join(errs...)
}

// outOfMemory reports whether the data takes more than maxmemory allows.
func (srv *Server) outOfMemory() bool {
	limit := srv.config().MaxMemory
	return limit > 0 && srv.exceeds(limit)
}
