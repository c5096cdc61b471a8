package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"quipu/replication/peer"
)

// What an operator asks of a cluster, beside removing a node (membership.go).

// Promote implements Group.
func (g *raftGroup) Promote(id string) error {
	if g.Term() == 0 {
		return errNotLeader
	}
	for _, m := range g.memberStatus() {
		switch {
		case m.ID != id:
			continue
		case m.Voter:
			return fmt.Errorf("node %s is a voter already", id)
		case !m.Up || time.Since(m.Seen) > fresh || m.Last+caughtUp < g.raft().LastIndex():
			return fmt.Errorf("node %s has not caught up: its log ends at entry %d, that of the leader at %d", id, m.Last, g.raft().LastIndex())
		}
		return g.addServer(m.Member, true)
	}
	return fmt.Errorf("no member of the cluster has the ID %s", id)
}

// TakeOver implements Group.
func (g *raftGroup) TakeOver(ctx context.Context) error {
	p := g.cfg.Peers
	switch {
	case g.Term() != 0:
		return errors.New("this node leads")
	case g.Doubtful():
		return errors.New("the counts of this node are not those of most nodes")
	case p == nil || !hasVoter(g.raft().GetConfiguration().Configuration(), raft.ServerID(g.id.NodeID)):
		return errors.New("this node is not a voter")
	}
	lead := g.leaderElsewhere()
	if lead.ID == "" {
		return errors.New("no node leads now; one is being elected")
	}
	c, _, err := p.listener.Dial(ctx, lead.Address, peer.ForLead, lead.ID)
	if err != nil {
		return err
	}
	return c.Close()
}

// Lead implements peer.Handler. Raft sends the other node what it lacks first, and takes no proposals meanwhile; what waits here
// goes to that node.
func (h handler) Lead(hello peer.Hello) string {
	g := h.g
	c := g.raft().GetConfiguration().Configuration()
	switch {
	case g.Term() == 0:
		return "this node does not lead"
	case !hasVoter(c, raft.ServerID(hello.Sender)):
		return "the node is not a voter"
	}
	g.cfg.Logger.Info("another node is to lead", "node", hello.Sender)
	done := make(chan error, 1)
	go func() {
		done <- g.raft().LeadershipTransferToServer(raft.ServerID(hello.Sender), raft.ServerAddress(g.nodeAddress(hello.Sender))).Error()
	}()
	err := errors.New("it takes too long")
	select {
	case err = <-done:
	case <-time.After(resignLimit):
	}
	if err != nil {
		return "the node cannot take over: " + err.Error()
	}
	return ""
}

// Level implements Group.
func (g *raftGroup) Level() uint16 { return uint16(g.fsm.level.Load()) }

// EntryLevel implements Group.
func (g *raftGroup) EntryLevel() uint16 { return uint16(max(g.fsm.level.Load(), g.raised.Load())) }

// Upgrade implements Group. The level is raised by an entry that has it, as every later one has; whoever does not know it would
// stop there, so every member must be there, and know it.
func (g *raftGroup) Upgrade(ctx context.Context) (uint16, error) {
	if g.Term() == 0 {
		return 0, errNotLeader
	}
	level := SemanticsLevel
	for _, m := range g.memberStatus() {
		if !m.Up || m.Level == 0 {
			return 0, fmt.Errorf("node %s at %s does not answer: all nodes must, so that it is certain what they know", m.ID, m.Address)
		}
		level = min(level, m.Level)
	}
	p := g.fsm.proposer.Load()
	if level <= g.Level() || p == nil {
		return g.Level(), nil
	}
	g.cfg.Logger.Info("the semantics level rises", "from", g.Level(), "to", level)
	g.raised.Store(uint32(level))
	for uint16(g.fsm.level.Load()) < level {
		(*p).Tick()
		select {
		case <-ctx.Done():
			return 0, errors.New("the cluster does not write the new level into its log; it may still do")
		case <-g.done:
			return 0, ErrShutdown
		case <-time.After(upgradeLook):
		}
	}
	return level, nil
}

const (
	upgradeLook  = 10 * time.Millisecond
	upgradeLimit = 5 * time.Second
)

// upgradeNew raises the level where no operator has to be asked: a node that is alone has nobody who could not know it, and what
// is founded by this process has no older members. Called by monitor.
func (g *raftGroup) upgradeNew() {
	if g.Level() >= SemanticsLevel {
		g.fresh = false
		return
	}
	if g.Term() == 0 || !g.fresh && len(g.servers()) > 1 || !g.upgrading.CompareAndSwap(false, true) {
		return
	}
	g.routines.Go(func() {
		defer g.upgrading.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), upgradeLimit)
		defer cancel()
		_, _ = g.Upgrade(ctx) // tried again until it succeeds
	})
}
