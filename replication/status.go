package replication

import "time"

// Checksum is that of the state behind an entry of the log; index 0: there is none.
type Checksum struct{ Index, Sum uint64 }

// Status is a view of a group for INFO, metrics and logs. Its fields are read one after another, not at one instant.
type Status struct {
	NodeID      string
	ClusterName string
	Incarnation string // of the data: random, made when the cluster was created or restored (hex)
	Boot        uint64 // the node's epoch: higher at each start than at any before
	Leader      bool   // leads and serves
	SoleVoter   bool
	Term        uint64
	Level       uint16 // semantics level of the state
	Voters      int    // how many voters the cluster is to have

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

	Doubtful bool // this node's state is not what that of most nodes is

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
	Behind        uint64 // entries that this node knew to be committed when it last asked, and the member had not applied when it answered
	Boot          uint64
	LogTime       int64         // ms since the Unix epoch, when it was asked last
	Seen          time.Time     // when it answered last; zero: never
	Ready         bool          // it serves clients, as it said last
	Doubtful      bool          // its state is not what that of most nodes is, as it said last
	Stops         bool          // it was told to stop
	Drains        bool          // and has something left to bring into the log
	Checksum      Checksum      // the last one that it took
	Full          bool          // its disk has no room for more of the log
	Level         uint16        // highest semantics level that it knows; 0: not known
	Skew          time.Duration // of its wall clock from this node's
}
