package replication

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Nodes that execute the same entries have the same state, or counts are wrong somewhere: a fault of this program, of memory, or of
// a disk that lies. So every CheckEvery, and when an operator asks, the leader marks an entry, and each node takes a checksum
// of its state behind it, without a pause (engine.Snapshot.Checksum). The nodes tell each other; whoever finds a difference says so,
// and a node that differs from most stops answering reads from its own state, and leading. It is not stopped: whether to replace
// it is for an operator to say.

// checksum is the last one of this node.
func (g *raftGroup) checksum() Checksum {
	if c := g.fsm.checked.Load(); c != nil {
		return *c
	}
	return Checksum{}
}

// Doubtful implements Group.
func (g *raftGroup) Doubtful() bool { return g.doubtful.Load() }

// compareChecksums has checksums taken when it is time, and compares this node's with those of the others. Called by monitor.
func (g *raftGroup) compareChecksums() {
	if g.Term() != 0 && len(g.servers()) > 1 && g.cfg.CheckEvery > 0 {
		switch {
		case g.checkedAt.IsZero():
			g.checkedAt = time.Now()
		case time.Since(g.checkedAt) >= g.cfg.CheckEvery:
			g.checkedAt = time.Now()
			if p := g.fsm.proposer.Load(); p != nil {
				(*p).Check()
			}
		}
	}
	own := g.checksum()
	if own.Index == 0 || g.cfg.Peers == nil {
		return
	}
	same, other := 1, map[uint64]int{}
	differs := ""
	for _, m := range g.memberStatus() {
		switch {
		case m.Self || m.Checksum.Index != own.Index:
		case m.Checksum.Sum == own.Sum:
			same++
		default:
			other[m.Checksum.Sum]++
			differs = m.ID
		}
	}
	most := 0
	for _, n := range other {
		most = max(most, n)
	}
	if same+most > 1 {
		g.doubtful.Store(most > same)
	}
	if g.Doubtful() && g.Term() != 0 && time.Since(g.movedAt) > resignLimit { // its reads go to all
		g.movedAt = time.Now()
		g.routines.Go(func() { _ = g.transfer(time.Now().Add(resignLimit)) })
	}
	if differs != "" && g.compared != own.Index {
		g.compared = own.Index
		g.cfg.Logger.Error("the counts of the nodes differ: back up, and replace the node that differs from most", "entry", own.Index,
			"node", differs, "as-this-node", same, "differently", len(other), "this-node-is-doubtful", most > same)
	}
}

// Compare implements Group.
func (g *raftGroup) Compare(ctx context.Context) (index uint64, err error) {
	p := g.fsm.proposer.Load()
	if g.Term() == 0 || p == nil {
		return 0, errNotLeader
	}
	before := g.checksum().Index
	(*p).Check()
	for {
		index, missing, differs := g.compareNow()
		switch {
		case index == before || index == 0 || missing != "":
		case differs != "":
			return index, fmt.Errorf("node %s has other counts than this one at entry %d", differs, index)
		default:
			return index, nil
		}
		select {
		case <-ctx.Done():
			if missing != "" {
				return 0, fmt.Errorf("node %s takes no checksum; a snapshot may be under way there", missing)
			}
			return 0, errors.New("no checksum was taken; a snapshot may be under way")
		case <-time.After(upgradeLook):
			g.Refresh()
		}
	}
}

// compareNow says which member that is up has no checksum of this node's last index, or another one.
func (g *raftGroup) compareNow() (index uint64, missing, differs string) {
	own := g.checksum()
	for _, m := range g.memberStatus() {
		switch {
		case !m.Up:
		case m.Checksum.Index != own.Index:
			missing = m.ID
		case m.Checksum.Sum != own.Sum:
			differs = m.ID
		}
	}
	return own.Index, missing, differs
}
