package main

import (
	"slices"
	"strings"
)

// Variants: the servers that are compared, by the names they have in figures.
const (
	quipuQuorum = "quipu"
	quipuLocal  = "quipu-local"
	peerMemory  = "redis"
	peerAlways  = "redis-always"
)

// The two builds that -before compares.
const (
	buildBefore = "before"
	buildAfter  = "after"
)

// The ways in which a client may use three nodes.
const (
	nodesLeader   = "nodes-leader"
	nodesFollower = "nodes-follower"
	nodesLevel    = "nodes-level" // the leader, at read-consistency leader
	nodesLocal    = "nodes-local" // a follower, at ack level local
	nodesOnce     = "nodes-once"  // the leader, with ONCE
	etcdVariant   = "etcd"        // three nodes of etcd, through the leader
)

// The feed of changes, as bars F1 to F3 compare it.
const (
	feedOff  = "feed-off"
	feedIdle = "feed"
	feedRead = "feed-read"
)

// A cluster that is no region, and one of three, as bars G1 and G2 compare them.
const (
	regionsOff = "regions-off"
	regionsOn  = "regions"
)

// What happens beside what is measured of regions, and a region where the number of them is what is shown.
const (
	regionsCalm = "regions-calm"
	regionsBusy = "regions-busy"
	regionsTold = "regions-told"
	regionsMany = "regions-many"
)

var feedVariants = []string{feedOff, feedIdle, feedRead}

// nodeVariants are measured where there are three nodes, alone.
var nodeVariants = []string{nodesLeader, nodesFollower, nodesLevel, nodesLocal, nodesOnce}

// columns is the order of columns in tables.
var columns = slices.Concat(allVariants, feedVariants, []string{regionsOff, regionsOn, regionsMany, regionsCalm, regionsBusy, regionsTold}, nodeVariants, []string{etcdVariant}, attackColumns)

// allVariants is the order of columns and of legends.
var allVariants = []string{quipuQuorum, quipuLocal, peerAlways, peerMemory}

// setUp is the part of a variant's name after the product's.
var setUp = map[string]string{
	quipuQuorum: "defaults",
	quipuLocal:  "ack local",
	peerMemory:  "no persistence",
	peerAlways:  "appendfsync always",

	nodesLeader:   "three nodes, through the leader",
	nodesFollower: "three nodes, through a follower",
	nodesLevel:    "three nodes, the leader at read level leader",
	nodesLocal:    "three nodes, ack local, through a follower",
	nodesOnce:     "three nodes, `ONCE` through the leader",
	feedOff:       "no feed",
	feedIdle:      "a feed that nobody reads",
	feedRead:      "a feed that one client reads",
	regionsOff:    "no region",
	regionsOn:     "one of three regions",
	regionsMany:   "a region",
	regionsCalm:   "nothing else happens",
	regionsBusy:   "50,000 other keys change a second",
	regionsTold:   "another region is told everything",
	etcdVariant:   "etcd, three nodes, through the leader",
	attackKept:    "throughput, ÷ alone",
	attackBeside:  "the same where the attack goes to another server, ÷ alone",
	attackAlone:   "p99 alone, ms",
	attackP99:     "p99, ms",
	attackMemory:  "memory grows by, MiB",
}

func isQuipu(variant string) bool { return variant != peerMemory && variant != peerAlways }

// commandLine is how a variant is started, but for its port and folder.
//
// Snapshots of Redis at fixed times and the rewriting of its append-only file
// are off, so that nothing but the load uses the machine while Redis is measured.
// Quipu takes its snapshots.
func (c config) commandLine(variant string, further ...string) []string {
	var line []string
	if c.cpus != "" {
		line = append(line, "taskset", "-c", c.cpus)
	}
	switch variant {
	case quipuQuorum, buildAfter, nodesLeader, feedIdle, feedRead, regionsOff, regionsOn:
		line = append(line, c.quipu, "server")
	case feedOff:
		line = append(line, c.quipu, "server", "--feed-ring", "0")
	case buildBefore:
		line = append(line, c.before, "server")
	case quipuLocal:
		line = append(append(line, c.quipu, "server"), strings.Fields(c.localArgs)...)
	case peerMemory:
		line = append(line, c.redis, "--save", "", "--appendonly", "no")
	case peerAlways:
		line = append(line, c.redis, "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	}
	if isQuipu(variant) {
		line = append(line, strings.Fields(c.quipuArgs)...)
	} else {
		line = append(line, strings.Fields(c.redisArgs)...)
	}
	return slices.Concat(line, further)
}
