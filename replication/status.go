package replication

import "time"

// Status is a view of a group for INFO, metrics and logs. Its fields are read one after another, not at one instant.
type Status struct {
	NodeID      string
	ClusterName string
	Incarnation string // of the data: random, made when the cluster was created or restored (hex)
	Boot        uint64 // the node's epoch: higher at each start than at any before
	Leader      bool   // leads and serves
	SoleVoter   bool
	Term        uint64

	LastIndex    uint64 // of the log
	CommitIndex  uint64
	AppliedIndex uint64

	LogBytes         int64 // bytes of entries since the last snapshot (ticks and internal entries not counted)
	SnapshotTrigger  int64 // LogBytes at which the next snapshot is taken
	Segments         int   // log segment files
	SnapshotIndex    uint64
	SnapshotBytes    int64
	SnapshotRunning  bool
	SnapshotErr      error // of the last attempt, nil if it succeeded
	SnapshotFinished time.Time

	DiskFull  error         // *DiskFullError while writes are refused
	FreeBytes uint64        // on the file system of the data
	Stalled   time.Duration // how long the current write of the log takes already, if longer than Config.LogStoreTimeout
	Clock     ClockStatus
	Err       error // why the group failed

	LeaderID string         // of the leader that this node knows; empty: none
	Members  []MemberStatus // of the cluster, this node too, in the order of the configuration
}

// MemberStatus is what this node knows of a member of its cluster.
type MemberStatus struct {
	Member
	ClientAddress string // empty: not known
	Voter         bool
	Self          bool
	Up            bool // connected, or this node itself
	Serves        bool // leads, as it said last
	Term          uint64
	Applied       uint64
	Last          uint64 // index of the last entry in its log
	Boot          uint64
	LogTime       int64     // ms since the Unix epoch, when it was asked last
	Seen          time.Time // when it answered last; zero: never
}
