package server

import (
	"bytes"
	"context"
	"net"
	"strconv"
	"time"

	"quipu/protocol"
	"quipu/replication"
)

// What an operator asks of a cluster. These commands work where cluster-enabled is no as well: `quipu cluster` uses them.

// adminLimit is how long a change of the cluster may take before its command is answered with an error.
const adminLimit = 8 * time.Second

// hasPeers reports whether the node may belong to a cluster of several, and replies with an error if not.
func (s *Session) hasPeers() bool {
	if s.srv.config().PeerAddr != "" {
		return true
	}
	s.replyError(protocol.ErrClusterDisabled)
	return false
}

// notInTransaction: EXEC does not wait for a change of the cluster.
func notInTransaction(s *Session, _ [][]byte, w *protocol.Writer) {
	if s.srv.config().PeerAddr == "" {
		w.Error(protocol.ErrClusterDisabled)
		return
	}
	w.Error(protocol.ErrNotInMulti)
}

// administer runs work on another goroutine, for adminLimit at most.
func (s *Session) administer(work func(ctx context.Context, g replication.Group) error) bool {
	if !s.hasPeers() {
		return true
	}
	g := s.srv.replicas[0].Group
	s.runTask(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), adminLimit)
		defer cancel()
		return work(ctx, g)
	})
	return true
}

// clusterForget takes a node out of the cluster; only the leader can.
func clusterForget(s *Session, args [][]byte) bool {
	id := string(args[2])
	if s.srv.config().PeerAddr != "" && id == s.srv.replicas[0].Group.Status().NodeID {
		s.replyError(protocol.ErrForgetMyself)
		return true
	}
	return s.administer(func(_ context.Context, g replication.Group) error { return g.Remove(id) })
}

// clusterFailover has this node lead. FORCE and TAKEOVER do the same: a node that leads without the consent of a majority would
// lose what was answered.
func clusterFailover(s *Session, args [][]byte) bool {
	switch {
	case !s.hasPeers():
		return true
	case len(args) > 3 || len(args) == 3 && !bytes.EqualFold(args[2], []byte("force")) && !bytes.EqualFold(args[2], []byte("takeover")):
		s.replyError(protocol.ErrSyntax)
		return true
	case s.lane.replica.Group.Term() != 0:
		s.replyError(protocol.ErrFailoverOnMaster)
		return true
	}
	return s.administer(func(ctx context.Context, g replication.Group) error { return g.TakeOver(ctx) })
}

// clusterMeet agrees for a node that is a member. Others are not invited: a node that joins has to know the cluster.
func clusterMeet(s *Session, args [][]byte) bool {
	if !s.hasPeers() {
		return true
	}
	ip := net.ParseIP(string(args[2]))
	port, ok := protocol.ParseInt(args[3])
	if ip == nil || !ok || port < 1 || port > 65535 || len(args) > 5 {
		s.replyError(protocol.ErrMeetAddress(args[2], args[3]))
		return true
	}
	t := s.srv.topology()
	for _, m := range t.Members {
		if host, itsPort, known := endpoint(&m); known && int64(itsPort) == port && ip.Equal(net.ParseIP(host)) {
			s.reply(func(w *protocol.Writer) { w.OK() })
			return true
		}
	}
	s.replyError(protocol.ErrMeet)
	return true
}

func clusterPromote(s *Session, args [][]byte) bool {
	id := string(args[2])
	return s.administer(func(_ context.Context, g replication.Group) error { return g.Promote(id) })
}

func clusterCompare(s *Session, _ [][]byte) bool {
	return s.administer(func(ctx context.Context, g replication.Group) error {
		_, err := g.Compare(ctx)
		return err
	})
}

func clusterUpgrade(s *Session, _ [][]byte) bool {
	return s.administer(func(ctx context.Context, g replication.Group) error {
		_, err := g.Upgrade(ctx)
		return err
	})
}

// clusterStatus is what `quipu cluster status` shows: a map, in it a list of maps, one for each member.
func clusterStatus(s *Session, _ [][]byte, w *protocol.Writer) {
	t := s.srv.topology()
	text := func(name, value string) { w.BulkString(name); w.BulkString(value) }
	number := func(name string, n int64) { w.BulkString(name); w.Int(n) }
	w.Map(8)
	text("cluster", t.ClusterName)
	text("incarnation", t.Incarnation)
	text("answers", t.NodeID)
	text("leader", map[bool]string{true: t.LeaderID}[t.present])
	number("term", int64(t.Term))
	number("level", int64(t.Level))
	number("wanted-voters", int64(max(1, t.Voters)))
	w.BulkString("members")
	list := t.Members
	if list == nil {
		list = []replication.MemberStatus{t.self}
	}
	w.Array(len(list))
	last := uint64(0)
	for _, m := range list {
		last = max(last, m.Last)
	}
	for _, m := range list {
		role := "voter"
		switch {
		case t.present && m.ID == t.LeaderID:
			role = "leader"
		case !m.Voter:
			role = "non-voter"
		}
		up := m.Up || m.Self
		seen := int64(-1)
		if up || !m.Seen.IsZero() {
			seen = max(0, lag(&m).Milliseconds())
		}
		w.Map(16)
		text("id", m.ID)
		text("peer-address", m.Address)
		text("client-address", m.ClientAddress)
		text("role", role)
		state := "up"
		switch {
		case !up:
			state = "down"
		case !m.Ready && !m.Self || m.Self && !s.srv.isReady():
			state = "starting"
		}
		text("state", state)
		number("term", int64(m.Term))
		number("synced", int64(m.Last))
		number("applied", int64(m.Applied))
		number("lag", int64(last-m.Last))
		text("disk", map[bool]string{true: "full", false: "ok"}[m.Full])
		number("boot", int64(m.Boot))
		number("level", int64(m.Level))
		number("clock-ms", m.Skew.Milliseconds())
		number("seen-ms", seen)
		number("checked", int64(m.Checksum.Index))
		text("checksum", strconv.FormatUint(m.Checksum.Sum, 16))
	}
}
