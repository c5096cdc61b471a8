package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"quipu/replication/peer"
)

// Who belongs to the cluster is decided by Raft's configuration. A node that is not in it, or under another address, asks to
// be added: the leader, or any member, which names the leader. It is added as a non-voter: it gets the log, and no commit
// waits for it. When it has caught up the leader makes it a voter, as long as there are fewer than PeerOptions.Voters.

// membership is what a group remembers of that.
type membership struct {
	contact   atomic.Uint64        // applied index of the leader when this node first heard of it; 0: not yet
	wasOne    bool                 // this node was in the configuration, used by keepMembership alone
	expelled  atomic.Bool          // another member said that this node was taken out
	mu        sync.Mutex           // guards the next two
	known     map[string]bool      // nodes in the last configuration that was committed
	out       map[string]time.Time // nodes that were taken out since this one runs, and when
	promoting atomic.Bool
	caught    string    // ID of the non-voter that has caught up, used by promote alone
	since     time.Time // since when
}

const (
	joinEvery     = time.Second
	joinWait      = 3 * time.Second         // for the configuration to be committed
	reachWait     = 1500 * time.Millisecond // for a new member to be reached under the address that it gives
	isolatedAfter = 3 * time.Second         // a few elections
	banned        = time.Hour               // how long a node that was taken out is not taken back
	caughtUp      = 64                      // entries
	fresh         = 1200 * time.Millisecond // how old the answer of a node may be that is to get a vote
	caughtUpTime  = time.Second
)

// servers are the members, voters or not, as the newest configuration in the log says.
func (g *raftGroup) servers() []raft.Server {
	return g.raft().GetConfiguration().Configuration().Servers
}

// nodeAt is the ID of the member with a peer address; empty: there is none.
func (g *raftGroup) nodeAt(address string) string {
	for _, s := range g.servers() {
		if string(s.Address) == address {
			return string(s.ID)
		}
	}
	return ""
}

// nodeAddress is the peer address of a member; empty: there is none with this ID.
func (g *raftGroup) nodeAddress(id string) string {
	for _, s := range g.servers() {
		if string(s.ID) == id {
			return string(s.Address)
		}
	}
	return ""
}

// others are the members of a configuration but this node.
func (g *raftGroup) others(c raft.Configuration) (list []Member) {
	for _, s := range c.Servers {
		if string(s.ID) != g.id.NodeID {
			list = append(list, Member{ID: string(s.ID), Address: string(s.Address)})
		}
	}
	return list
}

// heard is called with the state of another member.
func (g *raftGroup) heard(id string, round uint64, s peer.Status) {
	g.rounds.heard(g, id, round, s)
	if !s.Serves || g.hasBeenReady() {
		return
	}
	// A node that follows may serve once it has what the leader had when they first met. (What Raft calls its commit index
	// cannot be waited for: its own entries never reach the state machine.)
	g.members.contact.CompareAndSwap(0, max(1, s.Applied))
	if g.AppliedIndex() >= g.members.contact.Load() {
		g.becomeReady(s.Term)
	}
}

// keepMembership has this node added to the cluster, or its address changed there, until the group ends.
func (g *raftGroup) keepMembership() {
	ticker := time.NewTicker(joinEvery)
	defer ticker.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g.routines.Go(func() {
		<-g.done
		cancel()
	})
	next := 0
	said := ""
	for {
		select {
		case <-ticker.C:
		case <-g.done:
			return
		}
		if g.isMember() && !g.isolated() {
			said = ""
			continue
		}
		err := errRemoved
		if !g.removed() {
			err = g.askToJoin(ctx, &next)
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			g.cfg.Logger.Warn("this node is not in the cluster, or hears of no leader", "node", g.id.NodeID, "why", said)
		}
	}
}

// isolated reports whether no leader was heard of for long. The configuration in this node's own log may not be the one that
// the others have agreed on: they may know nothing of it, or have taken this node out. (The leader sends the entry that takes
// a node out to that node once, and not again if it gets lost.)
func (g *raftGroup) isolated() bool {
	return time.Since(time.Unix(0, g.leaderSeen.Load())) > isolatedAfter
}

var errRemoved = errors.New("it was removed from the cluster: stop it, or have it join as a new node, with an empty data directory")

// removed reports whether this node once was a member and is none any more, by its own log or by the word of a member.
// isMember was called before.
func (g *raftGroup) removed() bool {
	return g.members.expelled.Load() || g.nodeAddress(g.id.NodeID) == "" && (g.members.wasOne || !g.id.Joins)
}

// isMember reports whether the configuration has this node under its address.
func (g *raftGroup) isMember() bool {
	address := g.nodeAddress(g.id.NodeID)
	if address != "" {
		g.members.wasOne = true
	}
	return address == g.cfg.Peers.opt.Address
}

// askToJoin asks the leader if it is known, else the next address in the list, and then the leader that this one names.
func (g *raftGroup) askToJoin(ctx context.Context, next *int) error {
	p := g.cfg.Peers
	if g.Term() != 0 { // its address has changed
		return g.addServer(Member{ID: g.id.NodeID, Address: p.opt.Address}, true)
	}
	leader, _ := g.raft().LeaderWithID()
	address := string(leader)
	if others := p.others(); address == "" && len(others) > 0 {
		address = others[*next%len(others)]
		*next++
	}
	for range 2 {
		if address == "" {
			return errors.New("no leader is known, and no other node is in join")
		}
		c, answer, err := p.listener.Dial(ctx, address, peer.ForJoin, "")
		if err == nil {
			c.Close()
			return nil
		}
		if answer.Refusal == refusalTakenOut {
			g.members.expelled.Store(true)
			return errRemoved
		}
		if answer.Leader == "" || answer.Leader == address {
			return err
		}
		address = answer.Leader
	}
	return fmt.Errorf("the leader has changed meanwhile")
}

// refusalTakenOut is recognized by the node that it is meant for.
const refusalTakenOut = "the node was taken out of the cluster: have it join as a new node, with an empty data directory"

// admit adds the node that sent h to the cluster, or changes its address. An error tells that node what to do.
func (g *raftGroup) admit(h peer.Hello) error {
	if g.Term() == 0 {
		return errors.New("this node does not lead")
	}
	g.members.mu.Lock()
	out, taken := g.members.out[h.Sender]
	g.members.mu.Unlock()
	if taken && time.Since(out) < banned {
		return errors.New(refusalTakenOut)
	}
	voter := false
	for _, s := range g.servers() {
		switch {
		case string(s.ID) == h.Sender:
			if string(s.Address) == h.PeerAddress {
				return nil
			}
			voter = s.Suffrage == raft.Voter
		case string(s.Address) == h.PeerAddress:
			// Raft knows nodes by their addresses: with two of the same address, one of them would vote for both.
			return fmt.Errorf("the address %s belongs to node %s: if its disk is lost, remove that node first (CLUSTER FORGET %s)", h.PeerAddress, s.ID, s.ID)
		}
	}
	if h.Level < g.EntryLevel() {
		return fmt.Errorf("the cluster is at semantics level %d, this node knows %d: run a newer version of Quipu on it", g.EntryLevel(), h.Level)
	}
	ctx, cancel := context.WithTimeout(context.Background(), reachWait)
	defer cancel()
	c, _, err := g.cfg.Peers.listener.Dial(ctx, h.PeerAddress, peer.ForStatus, h.Sender)
	if err != nil {
		return fmt.Errorf("the leader cannot reach this node at %s: %w", h.PeerAddress, err)
	}
	c.Close()
	return g.addServer(Member{ID: h.Sender, Address: h.PeerAddress}, voter)
}

// addServer puts a node into the configuration, or changes it there.
func (g *raftGroup) addServer(m Member, voter bool) error {
	id, address := raft.ServerID(m.ID), raft.ServerAddress(m.Address)
	change := g.raft().AddNonvoter
	if voter {
		change = g.raft().AddVoter
		if m.ID != g.id.NodeID {
			g.sole.Store(false) // from when the entry is in the log on, whatever becomes of it
		}
	}
	if err := g.changed(change(id, address, 0, joinWait)); err != nil {
		return err
	}
	g.cfg.Logger.Info("the cluster has a node", "node", m.ID, "address", m.Address, "voter", voter)
	g.noteVoters(g.raft().GetConfiguration().Configuration())
	return nil
}

// promote makes a non-voter that has caught up a voter, if there are too few. Called by monitor.
func (g *raftGroup) promote() {
	p := g.cfg.Peers
	if p == nil || g.Term() == 0 {
		return
	}
	var candidate *raft.Server
	voters := 0
	for _, s := range g.servers() {
		if s.Suffrage == raft.Voter {
			voters++
		} else if seen, ok := p.links.Seen(string(s.ID)); ok && seen.Up && time.Since(seen.At) < fresh && seen.Status.Last+caughtUp >= g.raft().LastIndex() && candidate == nil {
			candidate = &s
		}
	}
	m := &g.members
	switch {
	case candidate == nil || voters >= p.opt.Voters:
		m.caught = ""
	case m.caught != string(candidate.ID):
		m.caught, m.since = string(candidate.ID), time.Now()
	case time.Since(m.since) >= caughtUpTime && m.promoting.CompareAndSwap(false, true):
		m.caught = ""
		next := Member{ID: string(candidate.ID), Address: string(candidate.Address)}
		g.routines.Go(func() { // monitor has other things to look after
			defer m.promoting.Store(false)
			if err := g.addServer(next, true); err != nil {
				g.cfg.Logger.Warn("a node that has caught up could not be made a voter", "node", next.ID, "err", err)
			}
		})
	}
}

// Remove implements Group.
func (g *raftGroup) Remove(id string) error {
	if g.Term() == 0 {
		return errNotLeader
	}
	if g.nodeAddress(id) == "" {
		return fmt.Errorf("no member of the cluster has the ID %s", id)
	}
	if left, up := g.without(id); up*2 <= left {
		return fmt.Errorf("without node %s there would be %d voters, of which %d answer: no majority", id, left, up)
	}
	if err := g.changed(g.raft().RemoveServer(raft.ServerID(id), 0, joinWait)); err != nil {
		return err
	}
	g.cfg.Logger.Info("a node was removed from the cluster", "node", id)
	g.noteVoters(g.raft().GetConfiguration().Configuration())
	return nil
}

// without counts the voters but one node, and those that answer.
func (g *raftGroup) without(id string) (voters, up int) {
	for _, m := range g.memberStatus() {
		if m.Voter && m.ID != id {
			voters++
			if m.Self || m.Up && time.Since(m.Seen) < 2*fresh {
				up++
			}
		}
	}
	return voters, up
}

// note notes who is in the configuration that was committed, and who is no more: every member does, as it may lead when that
// node asks to be added again.
func (m *membership) note(c raft.Configuration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.known
	m.known = make(map[string]bool, len(c.Servers))
	for _, s := range c.Servers {
		m.known[string(s.ID)] = true
		delete(m.out, string(s.ID))
	}
	for id := range before {
		if !m.known[id] {
			if m.out == nil {
				m.out = map[string]time.Time{}
			}
			m.out[id] = time.Now()
		}
	}
}

// changed waits until a change of the configuration is committed. Raft bounds only the time until it begins, and leaves it
// unresolved for ever if it is stopped meanwhile.
func (g *raftGroup) changed(f raft.IndexFuture) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	err := error(nil)
	select {
	case err = <-done:
	case <-g.done:
		err = ErrShutdown
	case <-time.After(joinWait):
		err = errors.New("it is not committed yet; it may still be")
	}
	if err != nil {
		return fmt.Errorf("the configuration could not be changed: %w", err)
	}
	return nil
}

// Refresh implements Group.
func (g *raftGroup) Refresh() {
	if p := g.cfg.Peers; p != nil {
		p.links.Ask()
	}
}

// memberStatus is what is known of all members.
func (g *raftGroup) memberStatus() (list []MemberStatus) {
	p := g.cfg.Peers
	for _, s := range g.servers() {
		if string(s.ID) == g.id.NodeID && g.members.expelled.Load() {
			continue
		}
		m := MemberStatus{Member: Member{ID: string(s.ID), Address: string(s.Address)}, Voter: s.Suffrage == raft.Voter}
		if m.Self = m.ID == g.id.NodeID; m.Self {
			m.Up, m.Serves, m.Term, m.Boot, m.Seen = true, g.Term() != 0, g.raft().CurrentTerm(), g.boot, time.Now()
			m.Applied, m.Last, m.LogTime = g.AppliedIndex(), g.raft().LastIndex(), g.cfg.Clock.Now()
			m.Full, m.Ready, m.Level, m.Checksum = g.guard.Full() != nil, g.hasBeenReady(), SemanticsLevel, g.checksum()
			if p != nil {
				m.ClientAddress = p.opt.ClientAddress
			}
		} else if p != nil {
			seen, _ := p.links.Seen(m.ID)
			m.ClientAddress, m.Boot, m.Up, m.Seen = seen.Hello.ClientAddress, seen.Hello.Boot, seen.Up, seen.At
			st := seen.Status
			m.Serves, m.Term, m.Applied, m.Last, m.LogTime = st.Serves && seen.Up, st.Term, st.Applied, st.Last, st.LogTime
			m.Full, m.Ready, m.Level, m.Skew = st.Full, st.Ready && seen.Up, seen.Hello.Level, seen.Skew
			committed := seen.Committed
			if !seen.Up { // nothing reaches it any more
				committed = g.raft().CommitIndex()
			}
			m.Behind = max(committed, st.Applied) - st.Applied
			m.Checksum, m.Doubtful, m.Stops, m.Drains = Checksum{st.CheckedIndex, st.Checksum}, st.Doubtful, st.Stops, st.Drains
		}
		list = append(list, m)
	}
	return list
}
