package replication

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"quipu/replication/peer"
	"quipu/replication/storage"
)

// A data directory:
//
//	LOCK             held while a process uses the directory
//	node-id          ID of this node until there is group/ (storage/identity.go)
//	group/           appears by a rename when it is complete, so a crash while it is made leaves nothing behind
//	  node           whose data this is (storage/identity.go)
//	  boot           how often the node has started, its epoch (storage/boot.go)
//	  stable.db      term and vote (storage/votes.go)
//	  wal/           the log: meta (and meta.tmp, its next), watermark, *.wal segments, next.spare (storage/segments.go)
//	  snapshots/     index-term.snap (storage/snapformat.go)
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
// opening. On damage the error names the file, the place and what to do, and nothing but the boot counter has been changed.
func OpenGroup(ctx context.Context, cfg Config, sm StateMachine) (Group, error) {
	g, err := openGroup(ctx, cfg, sm)
	if err != nil {
		return nil, err
	}
	return g, nil
}

func openGroup(ctx context.Context, cfg Config, sm StateMachine) (_ *raftGroup, err error) {
	if n := len(cfg.NodeID); n > maxNodeID {
		return nil, fmt.Errorf("node ID of %d bytes: at most %d are possible", n, maxNodeID)
	}
	d := cfg.Directory
	if d == nil {
		if d, err = OpenDirectory(cfg.Dir); err != nil {
			return nil, err
		}
	}
	cfg.Dir = d.path
	g := newRaftGroup(cfg, d, sm)
	defer func() {
		if err != nil {
			g.closeFiles()
		}
	}()
	if err := g.sizeByDisk(); err != nil {
		return nil, err
	}
	dir := filepath.Join(cfg.Dir, groupName)
	if d.Incarnation() == "" {
		if err := g.bootstrap(dir); err != nil {
			return nil, fmt.Errorf("cannot create a data directory in %s: %w", cfg.Dir, err)
		}
	}
	if err := storage.ForgetReserved(cfg.Dir); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := g.openStores(dir); err != nil {
		return nil, err
	}
	if err := g.checkGap(); err != nil {
		return nil, err
	}
	if err := g.endInstall(); err != nil {
		return nil, err
	}
	if err := g.noteJoined(dir); err != nil {
		return nil, err
	}
	// Before Raft can answer anything; behind the checks, which change nothing.
	if g.boot, err = storage.RaiseBoot(dir); err != nil {
		return nil, err
	}
	if err := g.startRaft(); err != nil {
		return nil, err
	}
	if p := cfg.Peers; p != nil {
		p.setIncarnation(g.id.Incarnation)
		p.serve(g)
		g.routines.Go(g.keepMembership)
	}
	return g, nil
}

// sizeByDisk sets what depends on the size of the file system.
func (g *raftGroup) sizeByDisk() error {
	d, err := g.cfg.usage(g.cfg.Dir)
	if err != nil {
		return err
	}
	setDefault(&g.cfg.SegmentBytes, storage.DefaultSegment(d))
	if n := g.cfg.SegmentBytes; n < minSegmentBytes || n > maxSegmentBytes {
		return fmt.Errorf("log segments of %d bytes: %d to %d are possible", n, minSegmentBytes, maxSegmentBytes)
	}
	setDefault(&g.cfg.MinFreeBytes, storage.DefaultReserve(d))
	g.baseTrigger = g.cfg.SnapshotLogBytes
	if g.baseTrigger == 0 {
		g.baseTrigger = min(defaultSnapshotBytes, max(storage.MinDefaultSegment, int64(d.Total/8)))
	}
	setDefault(&g.cfg.TrailingLogBytes, min(defaultTrailingBytes, max(1, g.baseTrigger/4)))
	g.guard = storage.NewDiskGuard(storage.GuardConfig{
		Dir: g.cfg.Dir, Reserve: g.cfg.MinFreeBytes, Segment: g.cfg.SegmentBytes, Usage: g.cfg.usage, Changed: g.noteDisk,
	})
	return nil
}

// bootstrap creates dir with what a new cluster, or a node that is to be added to one, begins with.
func (g *raftGroup) bootstrap(dir string) error {
	if g.cfg.NodeID != "" {
		g.id.NodeID = g.cfg.NodeID
	}
	g.id.Cluster, g.id.Created = g.cfg.ClusterName, time.Now().UTC()
	setDefault(&g.id.Cluster, DefaultCluster)
	if f := g.cfg.Founding; f != nil {
		g.id.Incarnation, g.id.Joins = f.Incarnation, len(f.Voters) == 0
	} else {
		g.id.Incarnation = storage.NewIncarnation()
	}
	g.fresh = !g.id.Joins
	return g.makeDirectory(dir, func(stores Stores) error {
		if first := g.firstVoters(); len(first.Servers) > 0 {
			return raft.BootstrapCluster(g.raftConfig(), stores.Log, stores.Votes, stores.Snapshots, g.trans, first)
		}
		return nil
	})
}

// makeDirectory creates dir under a temporary name, has fill put something into its stores, and renames it when it is complete:
// Raft writes term and log one after the other, and a node with a term and no log can neither start nor be bootstrapped again.
func (g *raftGroup) makeDirectory(dir string, fill func(stores Stores) error) error {
	temp := filepath.Join(g.cfg.Dir, groupTempName)
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	for _, d := range []string{walName, snapshotsName} {
		if err := os.MkdirAll(filepath.Join(temp, d), 0o700); err != nil {
			return err
		}
	}
	if err := storage.WriteIdentity(temp, g.id); err != nil {
		return err
	}
	if err := storage.CreateBoot(temp); err != nil {
		return err
	}
	g.openTransport()
	stores, err := g.cfg.OpenStores(g.storeOptions(temp, true))
	if err != nil {
		return err
	}
	if err := errors.Join(fill(stores), stores.close()); err != nil {
		return err
	}
	for _, d := range []string{filepath.Join(temp, walName), filepath.Join(temp, snapshotsName), temp} {
		if err := storage.SyncDir(d); err != nil {
			return err
		}
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	return storage.SyncDir(g.cfg.Dir)
}

// firstVoters is the configuration that a new directory begins with.
func (g *raftGroup) firstVoters() (c raft.Configuration) {
	voters := []Member{{ID: g.id.NodeID, Address: string(g.trans.LocalAddr())}}
	if f := g.cfg.Founding; f != nil {
		voters = f.Voters
	}
	for _, v := range voters {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(v.ID), Address: raft.ServerAddress(v.Address)})
	}
	return c
}

// openStores opens what is below dir. closeFiles closes it.
func (g *raftGroup) openStores(dir string) (err error) {
	if g.id, err = storage.ReadIdentity(dir); err != nil {
		return err
	}
	if err := g.cfg.checkIdentity(g.id); err != nil {
		return err
	}
	g.openTransport()
	stores, err := g.cfg.OpenStores(g.storeOptions(dir, false))
	if err != nil {
		return err
	}
	g.logs, g.votes, g.snaps = stores.Log, stores.Votes, stores.Snapshots
	return nil
}

func (g *raftGroup) storeOptions(dir string, create bool) StoreOptions {
	return StoreOptions{
		Dir: dir, Create: create, Identity: g.id, SegmentBytes: g.cfg.SegmentBytes, TrailingLogBytes: g.cfg.TrailingLogBytes,
		Logger: g.cfg.Logger, Guard: g.guard, Fail: g.fail,
	}
}

// checkIdentity compares whose data a directory holds with what the operator expects (empty: anything).
func (c *Config) checkIdentity(id storage.Identity) error {
	switch {
	case c.NodeID != "" && c.NodeID != id.NodeID:
		return fmt.Errorf("%s belongs to node %q, not to %q: use that node ID or another directory", c.Dir, id.NodeID, c.NodeID)
	case c.ClusterName != "" && c.ClusterName != id.Cluster:
		return fmt.Errorf("%s belongs to cluster %q, not to %q: use that cluster name or another directory", c.Dir, id.Cluster, c.ClusterName)
	}
	return nil
}

// openTransport makes the transport once the node has its ID. Nothing is sent before the stores are open.
func (g *raftGroup) openTransport() {
	if g.trans != nil {
		return // made by bootstrap
	}
	make := g.cfg.Transport
	switch p := g.cfg.Peers; {
	case make != nil:
	case p != nil:
		make = func(string) Transport { return peer.NewTransport(p.listener, p.opt.Address, g.nodeAt) }
	default:
		make = newSoleTransport
	}
	g.trans = &gatedTransport{
		Transport: make(g.id.NodeID),
		limit:     g.cfg.LogStoreTimeout,
		stalled:   func() time.Duration { return g.logs.Stalled() },
	}
}

func (g *raftGroup) snapshotDir() string { return filepath.Join(g.cfg.Dir, groupName, snapshotsName) }

// checkGap verifies that snapshot and log together reach back to the beginning.
func (g *raftGroup) checkGap() error {
	first, err := g.logs.FirstIndex()
	if err != nil {
		return err
	}
	snapshot, _ := g.snaps.Newest()
	if first > snapshot+1 || first == 0 && snapshot == 0 && !g.id.Joins {
		return &CorruptError{
			File: g.snapshotDir(), Offset: -1, Action: storage.SnapshotAdvice,
			What: fmt.Sprintf("a snapshot is missing: the log begins at entry %d and the newest snapshot ends at entry %d", first, snapshot),
		}
	}
	return nil
}

// endInstall ends the installation of a snapshot that a crash has cut off: Raft empties the log when the snapshot is complete.
// If the log still ends below the snapshot, the next entry would leave a gap in it, which raft-wal refuses. Every entry
// that is removed is in the snapshot.
func (g *raftGroup) endInstall() error {
	snapshot, _ := g.snaps.Newest()
	first, err := g.logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := g.logs.LastIndex()
	if err != nil || last == 0 || last >= snapshot {
		return err
	}
	list, err := g.snaps.List()
	if err != nil {
		return err
	}
	_, body, err := g.snaps.Open(list[0].ID) // verifies the whole file: while it is damaged, the log is all there is
	if err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	g.cfg.Logger.Info("emptying the log: it ends below the newest snapshot", "last", last, "snapshot", snapshot)
	return g.logs.DeleteRange(first, last)
}

// noteJoined remembers that a node that was waiting to be added has got a log or a snapshot: from here on it is damage if
// both are missing.
func (g *raftGroup) noteJoined(dir string) error {
	snapshot, _ := g.snaps.Newest()
	last, err := g.logs.LastIndex()
	if err != nil || !g.id.Joins || last == 0 && snapshot == 0 {
		return err
	}
	g.id.Joins = false
	return storage.WriteIdentity(dir, g.id)
}

// raftConfig follows the traps known of hashicorp/raft 1.7.
func (g *raftGroup) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(g.id.NodeID)
	c.Logger = storage.NewHCLog(g.cfg.Logger, "raft")
	// Heartbeats go through the main loop (gatedTransport), where an fsync delays them.
	// A voter refuses a candidate while it knows a leader, so a new leader waits for the second follower's timer too.
	c.HeartbeatTimeout = 500 * time.Millisecond
	c.ElectionTimeout = 500 * time.Millisecond
	c.LeaderLeaseTimeout = 400 * time.Millisecond
	// A follower learns of the last commit by this much later if nothing is written behind it. Raft sends a message to each
	// follower that often: with 5 ms an idle leader of three nodes takes 10 % of a core, with 50 ms 3.8 %, with 100 ms 3.1 %. (Two
	// fifths of that are Go's monitor thread, which looks for work for a millisecond each time the process wakes.)
	c.CommitTimeout = 100 * time.Millisecond
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
	if err := g.newRaft(g.raftConfig()); err != nil {
		return g.explain(err)
	}
	g.snapped.Store(g.fsm.applied.Load())
	g.guard.SetSnapshotNeed(g.snapshotNeed)
	g.logs.Start()
	g.votes.Start()
	configuration := g.raft().GetConfiguration().Configuration()
	g.noteVoters(configuration)
	if n := len(configuration.Servers); n > 1 && g.cfg.Peers == nil && g.cfg.Transport == nil {
		return errors.Join(fmt.Errorf("%s belongs to a cluster of %d nodes: set peer-addr, or the others cannot reach this one", g.cfg.Dir, n), g.raft().Shutdown().Error())
	}
	if !hasVoter(configuration, g.raftConfig().LocalID) && !g.id.Joins {
		g.cfg.Logger.Warn("this node is not a voter of its cluster", "node", g.id.NodeID)
	}
	g.routines.Go(g.watchLeadership)
	g.routines.Go(g.monitor)
	g.routines.Go(g.snapshotLoop)
	g.fsm.started.Store(true)
	if g.SoleVoter() {
		// Errors only cost the wait for the election timeout.
		g.routines.Go(func() { _ = g.trans.electSelf(raft.ServerID(g.id.NodeID)) })
	}
	return nil
}

func (g *raftGroup) newRaft(c *raft.Config) error {
	r, err := raft.NewRaft(c, g.fsm, g.logs, g.votes, g.snaps, g.trans)
	if err == nil {
		g.running.Store(r)
		g.leaders.observe(r)
		if g.cfg.Started != nil {
			g.cfg.Started(r)
		}
	}
	return err
}

// explain says why Raft could not start: it logs the reasons and returns a general error.
func (g *raftGroup) explain(err error) error {
	newest := ""
	if list, _ := g.snaps.List(); len(list) > 0 {
		newest = filepath.Join(g.snapshotDir(), list[0].ID)
	}
	switch {
	case g.snaps.OpenError() != nil:
		return g.snaps.OpenError()
	case g.fsm.restoreErr != nil:
		return &CorruptError{File: newest, Offset: -1, What: "the snapshot cannot be loaded", Action: storage.SnapshotAdvice, Err: g.fsm.restoreErr}
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

// noteVoters remembers whether this node is the only voter, and who the others are, to which entries are sent.
func (g *raftGroup) noteVoters(c raft.Configuration) {
	voters := 0
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	g.sole.Store(voters == 1 && hasVoter(c, raft.ServerID(g.id.NodeID)))
	g.logs.KeepTail(len(c.Servers) > 1)
	if p := g.cfg.Peers; p != nil {
		p.links.SetMembers(g.others(c))
		p.notices.SetMembers(g.others(c))
	}
}
