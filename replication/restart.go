package replication

import "fmt"

// A follower whose log reaches further than a snapshot it is given, with entries that the cluster does not have, cannot go
// on: Raft empties the log, but still takes the last entry that was in it for its last one. It refuses every entry behind
// the snapshot, is given the snapshot again, and so on without end (hashicorp/raft issue 697, open in 1.7.3). Only a start of
// Raft sets its last index right. The process need not end for that: its state is that of the snapshot.

// checkInstalled starts Raft again if it was found in that state twice, a second apart. Raft's last index is ahead of the
// log for a moment also while it takes entries back.
func (g *raftGroup) checkInstalled(was bool) bool {
	snapshot, _ := g.snaps.Newest()
	last, err := g.logs.LastIndex()
	is := err == nil && last == 0 && g.raft().LastIndex() > snapshot
	if is && was {
		g.restartRaft()
		return false
	}
	return is
}

// restartRaft ends Raft and starts it again on the same stores and the same state.
func (g *raftGroup) restartRaft() {
	g.restarting.Lock()
	defer g.restarting.Unlock()
	if g.ending.Load() {
		return
	}
	g.cfg.Logger.Warn("starting Raft again: after a snapshot from the leader its last index is ahead of the log", "last", g.raft().LastIndex())
	g.leave()
	old := g.raft()
	if err := old.Shutdown().Error(); err != nil {
		g.fail(fmt.Errorf("cannot end Raft in order to start it again: %w", err))
		return
	}
	// Mostly the state has what the newest snapshot has. If Raft was just being given another one, it has stored that and
	// ended before it restored it.
	c := g.raftConfig()
	newest, _ := g.snaps.Newest()
	c.NoSnapshotRestoreOnStart = old.AppliedIndex() == newest
	if err := g.newRaft(c); err != nil {
		g.fail(fmt.Errorf("cannot start Raft again: %w", err))
	}
}
