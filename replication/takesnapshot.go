package replication

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// When a group takes snapshots, and the room that is kept for the next one.

const (
	snapRetryAfter = 30 * time.Second
	snapRetryRoom  = 5 * time.Second // after one that lacked room
	snapRoomPoll   = time.Second
)

// LogBytes is how much the log has grown since the last snapshot.
func (g *raftGroup) LogBytes() int64 { return g.logs.Written() - g.snapBase.Load() }

// snapshotTrigger is the LogBytes at which a snapshot is due: replaying that much takes about as long as loading the last.
func (g *raftGroup) snapshotTrigger() int64 {
	if g.cfg.SnapshotLogBytes > 0 {
		return g.cfg.SnapshotLogBytes
	}
	_, size := g.snaps.Newest()
	return max(g.baseTrigger, 2*size)
}

// snapshotDue says whether to take a snapshot: because of the growth of the log, or earlier if the disk is short of room and
// a snapshot would free segments of the log.
func (g *raftGroup) snapshotDue() bool {
	grown := g.LogBytes()
	_, size := g.snaps.Newest()
	switch {
	case grown >= g.snapshotTrigger():
		return true
	case g.guard.Full() != nil:
		return grown > 0
	default:
		return grown >= max(2*g.cfg.SegmentBytes, size/4) && g.guard.Low()
	}
}

// snapshotNeed is what the next snapshot, or the rest of the one being written, may take: the size of the last and a quarter,
// what was written to the log since (up to the trigger, at which the next snapshot begins), and the segment that a rotation
// of the log may take from the free space meanwhile.
func (g *raftGroup) snapshotNeed() int64 {
	_, size := g.snaps.Newest()
	size += size/4 + min(g.LogBytes(), g.snapshotTrigger())
	return max(0, size-g.snaps.Written()) + g.cfg.SegmentBytes
}

func (g *raftGroup) requestSnapshot() {
	select {
	case g.snapWant <- struct{}{}:
	default:
	}
}

func (g *raftGroup) snapshotLoop() {
	for {
		select {
		case <-g.snapWant:
		case <-g.done:
			return
		}
		if err := g.Snapshot(); err == nil || g.ending.Load() {
			continue
		}
		if !g.pauseSnapshots() {
			return
		}
	}
}

// pauseSnapshots waits after a snapshot that failed; if it failed for want of room, only until there is room. It returns false
// when the group ends.
func (g *raftGroup) pauseSnapshots() bool {
	pause := snapRetryAfter
	if g.snaps.LackedRoom() {
		pause = snapRetryRoom
	}
	for deadline := time.Now().Add(pause); time.Now().Before(deadline); {
		select {
		case <-time.After(snapRoomPoll):
		case <-g.done:
			return false
		}
		if g.snaps.LackedRoom() && g.guard.Room(g.snapshotNeed()) {
			break
		}
	}
	return true
}

// Snapshot implements Group.
func (g *raftGroup) Snapshot() error {
	g.snapMu.Lock()
	defer g.snapMu.Unlock()
	applied, base := g.fsm.applied.Load(), g.logs.Written()
	if applied == g.snapped.Load() {
		return nil
	}
	g.snapping.Store(true)
	defer g.snapping.Store(false)
	if g.guard.Low() {
		g.snaps.Prune(1)
	}
	err := g.takeSnapshot()
	g.snapInfo.Store(&snapResult{err: err, finished: time.Now()})
	if err != nil {
		if !g.ending.Load() {
			g.cfg.Logger.Error("cannot take a snapshot", "err", err)
		}
		return err
	}
	g.snapped.Store(applied)
	g.snapBase.Store(base)
	if g.guard.Low() {
		g.snaps.Prune(1)
	}
	g.checkDisk()
	index, size := g.snaps.Newest()
	g.cfg.Logger.Info("snapshot taken", "index", index, "bytes", size)
	return nil
}

func (g *raftGroup) takeSnapshot() error {
	c := g.raft().ReloadableConfig()
	c.TrailingLogs = g.logs.Trailing(g.cfg.TrailingLogBytes)
	if err := g.raft().ReloadConfig(c); err != nil {
		return err
	}
	err := g.raft().Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}
