package server

import (
	"bytes"

	"quipu/commands"
	"quipu/protocol"
)

// clusterHandlers are the commands with which clients and monitoring ask about clusters and replicas. Where cluster-enabled
// is no, CLUSTER answers as a Redis that is not in a cluster.
func clusterHandlers() []handler {
	const group = "cluster"
	quick := commands.FlagLoading | commands.FlagStale | commands.FlagFast
	replicaOf := commands.Command{Arity: 3, Flags: commands.FlagAdmin | commands.FlagNoScript | commands.FlagStale | commands.FlagNoAsyncLoading,
		Group: "server", Complexity: "O(1)", Syntax: "<args=<host-port=host port:integer>|<no-one=NO ONE>>",
		Summary: "Follow another server (refused), or none"}
	slaveOf := replicaOf
	replicaOf.Name, replicaOf.Since = "replicaof", "5.0.0"
	slaveOf.Name, slaveOf.Since, slaveOf.Deprecated, slaveOf.ReplacedBy = "slaveof", "1.0.0", "5.0.0", "`REPLICAOF`"
	return []handler{
		{entry: commands.Command{Name: "role", Arity: 1, Flags: flagsControl | commands.FlagFast, Categories: commands.CatAdmin | commands.CatDangerous,
			Since: "2.8.12", Group: "server", Complexity: "O(1)", Summary: "Whether this node is a master, and its replicas"}, run: roleCommand, ownWritesFirst: true},
		{entry: replicaOf, run: replicaOfCommand},
		{entry: slaveOf, run: replicaOfCommand},
		{entry: commands.Command{Name: "readonly", Arity: 1, Flags: quick, Categories: commands.CatConnection, Since: "3.0.0", Group: group,
			Complexity: "O(1)", Summary: "Read from this node of a cluster even if it is a replica"}, run: readonlyCommand(true)},
		{entry: commands.Command{Name: "readwrite", Arity: 1, Flags: quick, Categories: commands.CatConnection, Since: "3.0.0", Group: group,
			Complexity: "O(1)", Summary: "End READONLY"}, run: readonlyCommand(false)},
		{entry: commands.Command{Name: "asking", Arity: 1, Flags: commands.FlagFast, Categories: commands.CatConnection, Since: "3.0.0", Group: group,
			Complexity: "O(1)", Summary: "Follow a redirection of a cluster"}, run: clusterOnly(askingCommand)},
		clusterContainer(),
	}
}

// clusterContainer is CLUSTER. HELP is refused like the others, as in Redis.
func clusterContainer() handler {
	type run = func(s *Session, args [][]byte, w *protocol.Writer)
	entry := func(run run, name string, arity int, flags commands.Flag, since, syntax, summary string) handler {
		return handler{run: clusterOnly(run), entry: commands.Command{Name: name, Arity: arity, Flags: flags | commands.FlagStale, Since: since,
			Group: "cluster", Complexity: "O(1)", Syntax: syntax, Summary: summary}}
	}
	unstable := func(h handler) handler {
		h.entry.Tips = []string{"nondeterministic_output"}
		return h
	}
	slots := unstable(entry(clusterSlots, "slots", 2, 0, "3.0.0", "", "Which node serves which slots, in an older form"))
	slots.entry.Deprecated, slots.entry.ReplacedBy = "7.0.0", "`CLUSTER SHARDS`"
	slaves := unstable(entry(clusterReplicas, "slaves", 3, commands.FlagAdmin, "3.0.0", "node-id", "Replicas of a node, under an older name"))
	slaves.entry.Deprecated, slaves.entry.ReplacedBy = "5.0.0", "`CLUSTER REPLICAS`"
	forget := entry(nil, "forget", 3, commands.FlagAdmin|commands.FlagNoAsyncLoading, "3.0.0", "node-id", "Take a node out of the cluster")
	forget.run, forget.flow = notInTransaction, clusterForget
	admin := commands.FlagAdmin | commands.FlagNoAsyncLoading
	task := func(flow func(s *Session, args [][]byte) bool, own bool, name string, arity int, since, syntax, summary string) handler {
		h := entry(nil, name, arity, admin, since, syntax, summary)
		h.run, h.flow, h.entry.Own = notInTransaction, flow, own
		return h
	}
	status := unstable(entry(nil, "status", 2, commands.FlagAdmin|commands.FlagLoading, "0.2.0", "", "What this node knows of all nodes, in figures"))
	status.run, status.entry.Own = clusterStatus, true
	return handler{
		entry: commands.Command{Name: "cluster", Arity: -2, Since: "3.0.0", Group: "cluster", Complexity: "That of the subcommand",
			Summary: "The nodes of the cluster"},
		run: missingSubcommand,
		subs: []handler{
			unstable(entry(clusterInfo, "info", 2, 0, "3.0.0", "", "State of the cluster")),
			unstable(entry(clusterNodes, "nodes", 2, 0, "3.0.0", "", "Nodes of the cluster")),
			slots,
			unstable(entry(clusterShards, "shards", 2, 0, "7.0.0", "", "Which nodes serve which slots")),
			entry(clusterMyID, "myid", 2, 0, "3.0.0", "", "Name of this node in the cluster"),
			unstable(entry(clusterLinks, "links", 2, 0, "7.0.0", "", "Connections between nodes")),
			unstable(entry(clusterReplicas, "replicas", 3, commands.FlagAdmin, "5.0.0", "node-id", "Replicas of a node")),
			slaves,
			entry(clusterKeySlot, "keyslot", 3, 0, "3.0.0", "key:string", "Slot of a key"),
			entry(clusterKeysInSlot, "countkeysinslot", 3, 0, "3.0.0", "slot:integer", "Number of keys in a slot"),
			unstable(entry(clusterKeysInSlot, "getkeysinslot", 4, 0, "3.0.0", "slot:integer count", "Keys in a slot")),
			forget,
			task(clusterFailover, false, "failover", -2, "3.0.0", "[options=FORCE|TAKEOVER]", "Have this node lead in place of the one that does"),
			task(clusterMeet, false, "meet", -4, "3.0.0", "ip:string port:integer [cluster_bus_port:integer@4.0.0]", "Nothing for a member; how to add a node for others"),
			status,
			task(clusterPromote, true, "promote", 3, "0.2.0", "node-id", "Make a member that has caught up a voter"),
			task(clusterCompare, true, "compare", 2, "0.2.0", "", "Have all nodes compare a checksum of all keys"),
			task(clusterUpgrade, true, "upgrade", 2, "0.2.0", "", "Raise the semantics level to what all nodes know"),
			entry(clusterHelp, "help", 2, commands.FlagLoading, "5.0.0", "", "List the subcommands"),
		},
	}
}

// replicaOfCommand agrees to follow nobody, which is always so, and to nothing else.
func replicaOfCommand(_ *Session, args [][]byte, w *protocol.Writer) {
	if bytes.EqualFold(args[1], []byte("no")) && bytes.EqualFold(args[2], []byte("one")) {
		w.OK()
		return
	}
	if port, ok := protocol.ParseInt(args[2]); !ok || port < 0 || port > 65535 {
		w.Error(protocol.ErrMasterPort)
		return
	}
	w.Error(protocol.ErrReplicaOf)
}
