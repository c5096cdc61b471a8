package server

import (
	"fmt"
	"strconv"
	"strings"

	"quipu/engine"
	"quipu/protocol"
	"quipu/replication"
)

// What CLUSTER answers: one shard, whose master is the node that leads and has all hash slots; see topology.go. The shapes
// are those of https://redis.io/docs/latest/commands/cluster-nodes/ and its neighbours.

// clusterOnly makes a handler of CLUSTER that is refused where cluster-enabled is no, as in Redis.
func clusterOnly(run func(s *Session, args [][]byte, w *protocol.Writer)) func(s *Session, args [][]byte, w *protocol.Writer) {
	return func(s *Session, args [][]byte, w *protocol.Writer) {
		if !s.srv.config().ClusterEnabled {
			w.Error(protocol.ErrClusterDisabled)
			return
		}
		run(s, args, w)
	}
}

func clusterInfo(s *Session, _ [][]byte, w *protocol.Writer) {
	t := s.srv.topology()
	state, up := "fail", engine.Slots
	if t.present {
		state = "ok"
	} else {
		up = 0
	}
	var p infoPrinter
	p.line("cluster_state", state)
	p.line("cluster_slots_assigned", engine.Slots)
	p.line("cluster_slots_ok", up)
	p.line("cluster_slots_pfail", 0)
	p.line("cluster_slots_fail", engine.Slots-up)
	p.line("cluster_known_nodes", max(1, len(t.Members)))
	p.line("cluster_size", 1)
	p.line("cluster_current_epoch", t.Term)
	p.line("cluster_my_epoch", t.Term)
	w.Verbatim("txt", p.b.String())
}

func clusterMyID(s *Session, _ [][]byte, w *protocol.Writer) {
	w.BulkString(s.srv.replicas[0].Group.Status().NodeID)
}

func clusterKeySlot(_ *Session, args [][]byte, w *protocol.Writer) {
	w.Int(int64(engine.Slot(args[2])))
}

func clusterNodes(s *Session, _ [][]byte, w *protocol.Writer) {
	t := s.srv.topology()
	var b strings.Builder
	if t.leader.ID != "" {
		b.WriteString(t.nodeLine(&t.leader))
	}
	for _, m := range t.replicas() {
		b.WriteString(t.nodeLine(&m))
	}
	w.Verbatim("txt", b.String())
}

// clusterReplicas answers with a line for each replica; only the master has some.
func clusterReplicas(s *Session, args [][]byte, w *protocol.Writer) {
	t := s.srv.topology()
	known := false
	for _, m := range t.Members {
		known = known || m.ID == string(args[2])
	}
	switch {
	case !known:
		w.Error(protocol.ErrUnknownNode(args[2]))
		return
	case t.leader.ID != string(args[2]):
		w.Error(protocol.ErrNotAMaster)
		return
	}
	list := t.replicas()
	w.Array(len(list))
	for _, m := range list {
		w.BulkString(strings.TrimSuffix(t.nodeLine(&m), "\n"))
	}
}

// nodeLine is a line of CLUSTER NODES: ID, address, flags, master, ping sent, pong received, epoch, link, slots.
func (t *topology) nodeLine(m *replication.MemberStatus) string {
	var flags []string
	if m.Self {
		flags = append(flags, "myself")
	}
	master, slots := "-", ""
	if m.ID == t.leader.ID {
		flags, slots = append(flags, "master"), fmt.Sprintf(" 0-%d", engine.Slots-1)
	} else {
		flags = append(flags, "slave")
		if t.leader.ID != "" {
			master = t.leader.ID
		}
	}
	link := "connected"
	if !m.Up {
		link = "disconnected"
	}
	if !m.Up || m.ID == t.leader.ID && !t.present {
		flags = append(flags, "fail")
	}
	host, port, known := endpoint(m)
	if !known {
		flags = append(flags, "noaddr")
	}
	bus := m.Address[strings.LastIndexByte(m.Address, ':')+1:]
	if _, err := strconv.Atoi(bus); err != nil {
		bus = "0"
	}
	pong := int64(0)
	if !m.Seen.IsZero() {
		pong = m.Seen.UnixMilli()
	}
	return fmt.Sprintf("%s %s:%d@%s %s %s 0 %d %d %s%s\n", m.ID, host, port, bus, strings.Join(flags, ","), master, pong, t.Term, link, slots)
}

func clusterSlots(s *Session, _ [][]byte, w *protocol.Writer) {
	t := s.srv.topology()
	if _, _, known := endpoint(&t.leader); !known {
		w.Array(0)
		return
	}
	list := []replication.MemberStatus{t.leader}
	for _, m := range t.replicas() {
		if _, _, known := endpoint(&m); known && m.Up {
			list = append(list, m)
		}
	}
	w.Array(1)
	w.Array(2 + len(list))
	w.Int(0)
	w.Int(engine.Slots - 1)
	for _, m := range list {
		host, port, _ := endpoint(&m)
		w.Array(4)
		w.BulkString(host)
		w.Int(int64(port))
		w.BulkString(m.ID)
		w.Array(0)
	}
}

func clusterShards(s *Session, _ [][]byte, w *protocol.Writer) {
	t := s.srv.topology()
	list := t.replicas()
	if t.leader.ID != "" {
		list = append([]replication.MemberStatus{t.leader}, list...)
	}
	w.Array(1)
	w.Map(2)
	w.BulkString("slots")
	w.Array(2)
	w.Int(0)
	w.Int(engine.Slots - 1)
	w.BulkString("nodes")
	w.Array(len(list))
	for _, m := range list {
		host, port, _ := endpoint(&m)
		role, health := "replica", "online"
		if m.ID == t.leader.ID {
			role = "master"
		}
		if !m.Up {
			health = "fail"
		}
		w.Map(7)
		w.BulkString("id")
		w.BulkString(m.ID)
		w.BulkString("port")
		w.Int(int64(port))
		w.BulkString("ip")
		w.BulkString(host)
		w.BulkString("endpoint")
		w.BulkString(host)
		w.BulkString("role")
		w.BulkString(role)
		w.BulkString("replication-offset")
		w.Int(int64(m.Applied))
		w.BulkString("health")
		w.BulkString(health)
	}
}

// clusterLinks: the links between nodes are not those of Redis's bus.
func clusterLinks(_ *Session, _ [][]byte, w *protocol.Writer) { w.Array(0) }

// clusterKeysInSlot: tools ask for that to move slots.
func clusterKeysInSlot(_ *Session, _ [][]byte, w *protocol.Writer) { w.Error(protocol.ErrKeysInSlot) }

func clusterHelp(_ *Session, _ [][]byte, w *protocol.Writer) {
	lines := []string{
		"CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"COMPARE", "    Have all nodes compare a checksum of all keys. The leader answers.",
		"FAILOVER [FORCE|TAKEOVER]", "    Have this node lead in place of the one that does.",
		"FORGET <node-id>", "    Take a node out of the cluster. The leader answers.",
		"INFO", "    Return information about the cluster.",
		"KEYSLOT <key>", "    Return the hash slot for <key>.",
		"LINKS", "    Return nothing: links between nodes are not those of Redis.",
		"MEET <ip> <port> [<bus-port>]", "    Do nothing for a member; nodes are added with join.",
		"MYID", "    Return the node ID.",
		"NODES", "    Return the nodes as this one sees them, one line each.",
		"PROMOTE <node-id>", "    Make a member that has caught up a voter. The leader answers.",
		"REPLICAS <node-id>", "    Return the replicas of <node-id>.",
		"SHARDS", "    Return the slots and the nodes that serve them.",
		"SLOTS", "    Return the same in the older form.",
		"STATUS", "    Return what this node knows of all nodes, in figures.",
		"UPGRADE", "    Raise the semantics level to what all nodes know. The leader answers.",
		"HELP", "    Print this help.",
	}
	w.Array(len(lines))
	for _, l := range lines {
		w.Simple(l)
	}
}

// readonlyCommand lets the session read what this node has applied, though another node leads.
func readonlyCommand(on bool) func(s *Session, _ [][]byte, w *protocol.Writer) {
	return func(s *Session, _ [][]byte, w *protocol.Writer) {
		if s.srv.config().PeerAddr == "" {
			w.Error(protocol.ErrClusterDisabled)
			return
		}
		s.readonly = on
		w.OK()
	}
}

func askingCommand(_ *Session, _ [][]byte, w *protocol.Writer) { w.OK() }

// roleCommand replies as a Redis master or replica does. The replication offset is an index of the log.
func roleCommand(s *Session, _ [][]byte, w *protocol.Writer) {
	t := s.srv.topology()
	if t.Leader || t.SoleVoter {
		w.Array(3)
		w.BulkString("master")
		w.Int(int64(t.CommitIndex))
		list := t.connected()
		w.Array(len(list))
		for _, m := range list {
			host, port, _ := endpoint(&m)
			w.Array(3)
			w.BulkString(host)
			w.BulkString(strconv.Itoa(port))
			w.BulkString(strconv.FormatUint(m.Applied, 10))
		}
		return
	}
	host, port, _ := endpoint(&t.leader)
	state := "connect"
	if t.present {
		state = "connected"
	}
	w.Array(5)
	w.BulkString("slave")
	w.BulkString(host)
	w.Int(int64(port))
	w.BulkString(state)
	w.Int(int64(t.AppliedIndex))
}

// connected are the replicas that this node, which leads, has a connection to.
func (t *topology) connected() (list []replication.MemberStatus) {
	for _, m := range t.replicas() {
		if _, _, known := endpoint(&m); known && m.Up {
			list = append(list, m)
		}
	}
	return list
}
