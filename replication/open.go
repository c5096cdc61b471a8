package replication

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
)

// A data directory:
//
//	LOCK             held while a process uses the directory
//	group/           appears by a rename when it is complete, so a crash while it is made leaves nothing behind
//	  node           whose data this is (node.go)
//	  stable.db      term and vote (stable.go)
//	  wal/           the log: meta (and meta.tmp, its next), watermark, *.wal segments, next.spare (segments.go)
//	  snapshots/     index-term.snap (snapformat.go)
//	group.tmp/       group/ while it is made
const (
	lockName      = "LOCK"
	groupName     = "group"
	groupTempName = "group.tmp"
	stableName    = "stable.db"
	walName       = "wal"
	snapshotsName = "snapshots"
)

// OpenGroup opens the group in cfg.Dir, or creates one with this node as the only voter. It returns when the newest
// snapshot has been loaded and the whole log verified; wait for Ready until the log has been replayed. ctx bounds only the
// opening. On damage the error names the file, the place and what to do, and nothing has been changed.
func OpenGroup(ctx context.Context, cfg Config, sm StateMachine) (Group, error) {
	g, err := openGroup(ctx, cfg, sm)
	if err != nil {
		return nil, err
	}
	return g, nil
}

func openGroup(ctx context.Context, cfg Config, sm StateMachine) (_ *raftGroup, err error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return nil, err
	}
	g := newRaftGroup(cfg, lock, sm)
	defer func() {
		if err != nil {
			g.closeFiles()
		}
	}()
	if err := g.sizeByDisk(); err != nil {
		return nil, err
	}
	dir := filepath.Join(cfg.Dir, groupName)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := g.bootstrap(dir); err != nil {
			return nil, fmt.Errorf("cannot create a data directory in %s: %w", cfg.Dir, err)
		}
	} else if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := g.openStores(dir, false); err != nil {
		return nil, err
	}
	if err := g.checkGap(); err != nil {
		return nil, err
	}
	if err := g.startRaft(); err != nil {
		return nil, err
	}
	return g, nil
}

// sizeByDisk sets what depends on the size of the file system.
func (g *raftGroup) sizeByDisk() error {
	d, err := g.cfg.usage(g.cfg.Dir)
	if err != nil {
		return err
	}
	setDefault(&g.cfg.SegmentBytes, defaultSegment(d))
	if n := g.cfg.SegmentBytes; n < minSegmentBytes || n > maxSegmentBytes {
		return fmt.Errorf("log segments of %d bytes: %d to %d are possible", n, minSegmentBytes, maxSegmentBytes)
	}
	setDefault(&g.cfg.MinFreeBytes, defaultReserve(d))
	g.baseTrigger = g.cfg.SnapshotLogBytes
	if g.baseTrigger == 0 {
		g.baseTrigger = min(defaultSnapshotBytes, max(minSegment, int64(d.total/8)))
	}
	setDefault(&g.cfg.TrailingLogBytes, min(defaultTrailingBytes, max(1, g.baseTrigger/4)))
	g.guard = &diskGuard{
		dir: g.cfg.Dir, reserve: g.cfg.MinFreeBytes, usage: g.cfg.usage, segment: g.cfg.SegmentBytes,
		changed: g.noteDisk,
	}
	return nil
}

// bootstrap creates dir under a temporary name and renames it when it is complete: Raft writes term and log one after the
// other, and a node with a term and no log can neither start nor be bootstrapped again.
func (g *raftGroup) bootstrap(dir string) error {
	temp := filepath.Join(g.cfg.Dir, groupTempName)
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	for _, d := range []string{walName, snapshotsName} {
		if err := os.MkdirAll(filepath.Join(temp, d), 0o700); err != nil {
			return err
		}
	}
	id := identity{NodeID: g.cfg.NodeID, Cluster: g.cfg.ClusterName, Incarnation: randomHex(16), Created: time.Now().UTC()}
	setDefault(&id.NodeID, randomHex(10))
	setDefault(&id.Cluster, "quipu")
	if err := writeIdentity(temp, id); err != nil {
		return err
	}
	err := g.openStores(temp, true)
	if err == nil {
		server := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(id.NodeID), Address: g.trans.LocalAddr()}
		err = raft.BootstrapCluster(g.raftConfig(), g.logs, g.stable, g.snaps, g.trans, raft.Configuration{Servers: []raft.Server{server}})
	}
	err = errors.Join(err, g.closeStores())
	if err != nil {
		return err
	}
	for _, d := range []string{filepath.Join(temp, walName), filepath.Join(temp, snapshotsName), temp} {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	return syncDir(g.cfg.Dir)
}

// openStores opens what is below dir. What was opened is closed by closeStores, also after an error.
func (g *raftGroup) openStores(dir string, create bool) (err error) {
	if g.id, err = readIdentity(dir, &g.cfg); err != nil {
		return err
	}
	g.trans = &gatedTransport{
		peerTransport: newSoleTransport(raft.ServerAddress(g.id.NodeID)),
		limit:         g.cfg.LogStoreTimeout,
		stalled: func() time.Duration {
			if g.logs == nil {
				return 0
			}
			return g.logs.stalled()
		},
	}
	if g.stable, err = openStableStore(filepath.Join(dir, stableName), create, g.fail); err != nil {
		return err
	}
	share := &diskShare{written: func() int64 { return g.logs.total.Load() }} // the log is opened later
	if g.snaps, err = openSnapshotStore(filepath.Join(dir, snapshotsName), g.id, g.cfg.Logger, g.guard.room, share); err != nil {
		return err
	}
	index, _ := g.snaps.last()
	logs, err := openLogStore(logStoreConfig{
		dir: filepath.Join(dir, walName), segment: g.cfg.SegmentBytes, create: create, counted: index, trail: g.cfg.TrailingLogBytes,
		log: g.cfg.Logger, fail: g.fail, guard: g.guard,
	})
	if err != nil {
		return err
	}
	g.logs = logs
	return nil
}

// checkGap verifies that snapshot and log together reach back to the beginning.
func (g *raftGroup) checkGap() error {
	first, err := g.logs.FirstIndex()
	if err != nil {
		return err
	}
	snapshot, _ := g.snaps.last()
	if first > snapshot+1 || first == 0 && snapshot == 0 {
		return &CorruptError{
			File: g.snaps.dir, Offset: -1, Action: snapAdvice,
			What: fmt.Sprintf("a snapshot is missing: the log begins at entry %d and the newest snapshot ends at entry %d", first, snapshot),
		}
	}
	return nil
}

// raftConfig follows the traps known of hashicorp/raft 1.7.
func (g *raftGroup) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(g.id.NodeID)
	c.Logger = newHCLog(g.cfg.Logger, "raft")
	// Heartbeats go through the main loop (gatedTransport), where an fsync delays them.
	c.HeartbeatTimeout = 750 * time.Millisecond
	c.ElectionTimeout = 750 * time.Millisecond
	c.LeaderLeaseTimeout = 500 * time.Millisecond
	// An idle follower lags by this much.
	c.CommitTimeout = 5 * time.Millisecond
	// 16 entries of 512 KiB are 8 MiB for one message.
	c.MaxAppendEntries = 16
	// Apply is called by the goroutine that applies entries, and must not wait for Raft's main loop, which waits for it.
	c.BatchApplyCh = true
	// Snapshots are triggered by bytes of log (snapshotLoop), not by the number of entries, which also counts ticks.
	c.SnapshotThreshold = 1 << 62
	c.SnapshotInterval = 24 * time.Hour
	// Never 0. takeSnapshot sets it to what TrailingLogBytes come to.
	c.TrailingLogs = minTrailingLogs
	c.NotifyCh = g.notify
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	return c
}

// startRaft restores the newest snapshot and starts Raft and our own goroutines.
func (g *raftGroup) startRaft() (err error) {
	if g.raft, err = raft.NewRaft(g.raftConfig(), g.fsm, g.logs, g.stable, g.snaps, g.trans); err != nil {
		return g.explain(err)
	}
	g.snapped.Store(g.fsm.applied.Load())
	need := g.snapshotNeed
	g.guard.snapshot.Store(&need)
	g.logs.running.Store(true)
	g.stable.running.Store(true)
	configuration := g.raft.GetConfiguration().Configuration()
	g.noteVoters(configuration)
	if !hasVoter(configuration, g.raftConfig().LocalID) {
		g.cfg.Logger.Warn("this node is not a voter of its cluster", "node", g.id.NodeID)
	}
	g.workers.Go(g.watchLeadership)
	g.workers.Go(g.monitor)
	g.workers.Go(g.snapshotLoop)
	if g.SoleVoter() {
		// Errors only cost the wait for the election timeout.
		g.workers.Go(func() { _ = g.trans.electSelf(raft.ServerID(g.id.NodeID)) })
	}
	return nil
}

// explain says why Raft could not start: it logs the reasons and returns a general error.
func (g *raftGroup) explain(err error) error {
	newest := ""
	if list, _ := g.snaps.List(); len(list) > 0 {
		newest = filepath.Join(g.snaps.dir, list[0].ID)
	}
	switch {
	case g.snaps.openErr.Load() != nil:
		return *g.snaps.openErr.Load()
	case g.fsm.restoreErr != nil:
		return &CorruptError{File: newest, Offset: -1, What: "the snapshot cannot be loaded", Action: snapAdvice, Err: g.fsm.restoreErr}
	}
	return fmt.Errorf("cannot start Raft: %w", err)
}

func hasVoter(c raft.Configuration, id raft.ServerID) bool {
	for _, s := range c.Servers {
		if s.ID == id && s.Suffrage == raft.Voter {
			return true
		}
	}
	return false
}

// noteVoters remembers whether this node is the only voter.
func (g *raftGroup) noteVoters(c raft.Configuration) {
	voters := 0
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	g.sole.Store(voters == 1 && hasVoter(c, raft.ServerID(g.id.NodeID)))
}
