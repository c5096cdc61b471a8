package server

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"time"

	"quipu/commands"
	"quipu/engine"
	"quipu/replication"
)

// topology is the cluster as this node sees it now. There is one Raft group, so the node that leads serves all hash slots,
// and the others are its replicas.
type topology struct {
	replication.Status
	self    replication.MemberStatus
	leader  replication.MemberStatus // the last one that is known; ID is empty if there was none
	present bool                     // leader leads now, as far as this node knows
}

func (srv *Server) topology() topology {
	t := topology{Status: srv.replicas[0].Group.Status()}
	if t.Leader {
		t.LeaderID = t.NodeID
	}
	if t.present = t.LeaderID != ""; t.present {
		srv.lastLeader.Store(&t.LeaderID)
	}
	last := ""
	if p := srv.lastLeader.Load(); p != nil {
		last = *p
	}
	for _, m := range t.Members {
		if m.Self {
			t.self = m
		}
		if m.ID == last {
			t.leader = m
		}
	}
	if t.Members == nil { // a group without a network
		t.self = replication.MemberStatus{Self: true, Up: true, Voter: true, Applied: t.AppliedIndex}
		t.self.ID, t.leader = t.NodeID, t.self
	}
	return t
}

// replicas are the members that do not lead, by ID.
func (t *topology) replicas() []replication.MemberStatus {
	list := slices.DeleteFunc(slices.Clone(t.Members), func(m replication.MemberStatus) bool { return m.ID == t.leader.ID })
	slices.SortFunc(list, func(a, b replication.MemberStatus) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// endpoint is where clients reach a member; false: that is not known.
func endpoint(m *replication.MemberStatus) (host string, port int, known bool) {
	host, text, err := net.SplitHostPort(m.ClientAddress)
	port, err2 := strconv.Atoi(text)
	return host, port, err == nil && err2 == nil
}

// lag is for how long a member has not answered.
func lag(m *replication.MemberStatus) time.Duration {
	if m.Seen.IsZero() {
		return time.Since(time.Time{})
	}
	return time.Since(m.Seen)
}

// mode is how Redis calls the way in which this node serves.
func (srv *Server) mode() string {
	if srv.config().ClusterEnabled {
		return "cluster"
	}
	return "standalone"
}

// slotOf is the hash slot of a command's last key.
func slotOf(cmd *commands.Command, args [][]byte) (slot uint16) {
	cmd.EachKey(args, func(key []byte) { slot = engine.Slot(key) })
	return slot
}
