package replication

import (
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"quipu/replication/storage"
)

// Config describes one group on disk. Only Dir is required.
type Config struct {
	Dir         string // data directory; made if missing. Everything in it belongs to the group
	NodeID      string // ID of this node in the cluster, kept in Dir. Empty: what Dir says, random in a new one
	ClusterName string // kept in Dir and in every snapshot. Empty: what Dir says, "quipu" in a new one
	Logger      *slog.Logger
	Clock       *Clock // log time; made if nil

	// Directory is Dir, opened before. Nil: it is opened here.
	Directory *Directory
	// Founding is what the nodes of a new cluster have agreed on; it is used when Dir is new. Nil: this node founds a cluster of
	// its own, as its only voter.
	Founding *Founding

	// SnapshotLogBytes is the amount of log after which a snapshot is taken. 0: the larger of 256 MiB (less on a small file
	// system) and twice the last snapshot.
	SnapshotLogBytes int64
	// TrailingLogBytes is how much log is kept behind a snapshot, for followers that are a little behind. Default 64 MiB
	// (less on a small file system).
	TrailingLogBytes int64
	// SegmentBytes is the size of a log segment. Default 64 MiB (less on a small file system).
	SegmentBytes int64
	// MinFreeBytes is the free space below which writes are refused. Default: the smaller of 5 % of the file system and
	// 256 MiB.
	MinFreeBytes uint64

	// OnFatal is called once, from its own goroutine, when the node must stop: a storage error, damage, an entry that cannot
	// be applied. Nothing is acknowledged any more by then. The process should log the error and exit. Done is closed too.
	OnFatal func(error)

	// LogStoreTimeout is how long a write of the log may take before heartbeats stop. Default 1 s.
	LogStoreTimeout time.Duration

	// CheckEvery is how often the leader has all nodes compare checksums of their states. 0: never.
	CheckEvery time.Duration

	// Peers is the port for other nodes; the group closes it. Nil: this node has no such port.
	Peers *Peers

	// OpenStores opens what the group keeps. Nil: OpenStores, the files below Dir.
	OpenStores func(StoreOptions) (Stores, error)
	// Started is called with each Raft that runs; a simulation has to clear away what Raft leaves behind. Nil: not called.
	Started func(*raft.Raft)
	// Transport makes Raft's connection to other nodes, for the node with that ID. Nil: over Peers, or one without peers.
	Transport func(self string) Transport

	usage func(dir string) (storage.DiskUsage, error) // storage.DiskSpace, or what a test says
}

// Founding is how a cluster begins. All of its first voters are in the first configuration: if one node began alone and added
// the others, acknowledged writes would be on one disk for a while.
type Founding struct {
	Incarnation string   // of the cluster's data; the same on all nodes
	Voters      []Member // the first voters, the same list on all nodes; empty: this node waits until a cluster adds it
}

// DefaultCluster is the name of a cluster to which nobody gave another one.
const DefaultCluster = "quipu"

const (
	maxNodeID            = 255 // bytes; it stands in the record of the vote
	maxEntryBytes        = HeaderSize + MaxAhead + defaultEntryHardLimit
	defaultSnapshotBytes = 256 << 20
	defaultTrailingBytes = 64 << 20
	minSegmentBytes      = 4 << 10
	maxSegmentBytes      = 1 << 30 // raft-wal's offsets have 32 bits, and the last append may go far beyond the limit
	defaultStall         = time.Second
	stallExit            = 5 * time.Second // with other voters, a leader whose disk stands still this long exits
)

func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = NewClock(nil)
	}
	if c.OpenStores == nil {
		c.OpenStores = OpenStores
	}
	if c.usage == nil {
		c.usage = storage.DiskSpace
	}
	setDefault(&c.LogStoreTimeout, defaultStall)
}
