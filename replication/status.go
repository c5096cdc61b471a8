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
}
