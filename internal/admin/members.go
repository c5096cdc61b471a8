package admin

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// caughtUp is how many entries a member may lack that is to be a voter, as the nodes themselves see it.
const caughtUp = 64

// steady is for how long the cluster must be healthy: nodes ask each other every half second, and may not have noticed yet that
// one of them has stopped.
const steady = 1500 * time.Millisecond

// Wait returns when the cluster is healthy.
func (c *Cluster) Wait(ctx context.Context) error {
	since := time.Time{}
	st, err := c.await(ctx, "the cluster to be healthy", func(st *Status) bool {
		if h, _ := st.Health(); h != Healthy {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		}
		return !since.IsZero() && time.Since(since) >= steady
	})
	if err != nil {
		return err
	}
	all, up := st.Voters()
	c.say("healthy: %d of %d voters are up", up, all)
	return nil
}

// Add says how to start a node that joins, waits until it is a member and has caught up, and, if it is to be a voter beyond the
// number that the cluster wants, makes it one.
func (c *Cluster) Add(ctx context.Context, peer string, voter bool) error {
	st, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if m := st.at(peer); m == nil {
		line := fmt.Sprintf("quipu server --peer-addr %s --join %s", peer, st.peers())
		if n := int64(len(st.Members)) + 1; n == st.Wanted {
			line += fmt.Sprintf(" --bootstrap-expect %d", n)
		}
		c.say("Start the new node with an empty data directory and, beside its own settings:\n  %s\nWaiting for it …", line)
	} else {
		c.say("Node %s at %s is a member already.", short(m.ID), peer)
	}
	st, err = c.await(ctx, "a node at "+peer, func(st *Status) bool { return st.at(peer) != nil })
	if err != nil {
		return err
	}
	c.say("Node %s has joined; waiting until it has caught up …", short(st.at(peer).ID))
	st, err = c.await(ctx, "the node to catch up", func(st *Status) bool {
		m := st.at(peer)
		return m != nil && m.State == "up" && m.Lag <= caughtUp && m.Applied > 0
	})
	if err != nil {
		return err
	}
	m := st.at(peer)
	if all, _ := st.Voters(); m.Role == "non-voter" && all >= st.Wanted && voter {
		return c.Promote(ctx, m.ID)
	} else if m.Role == "non-voter" && all >= st.Wanted {
		c.say("It is a non-voter: the cluster has its %d voters. (quipu cluster promote %s makes it one.)", all, short(m.ID))
		return nil
	}
	if _, err = c.await(ctx, "the node to become a voter", func(st *Status) bool { m := st.at(peer); return m != nil && m.Role != "non-voter" }); err != nil {
		return err
	}
	c.say("Node %s is a voter.", short(m.ID))
	return nil
}

// at is the member with a peer address.
func (st *Status) at(peer string) *Member {
	for i := range st.Members {
		if st.Members[i].Peer == peer {
			return &st.Members[i]
		}
	}
	return nil
}

// peers are the peer addresses of all members.
func (st *Status) peers() string {
	var list []string
	for _, m := range st.Members {
		list = append(list, m.Peer)
	}
	return strings.Join(list, ",")
}

// member is the one whose ID begins so, of a cluster that has a leader.
func (c *Cluster) member(ctx context.Context, id string) (*Status, *Member, error) {
	st, err := c.led(ctx)
	if err != nil {
		return nil, nil, err
	}
	m, err := st.find(id)
	return st, m, err
}

// Promote makes a member a voter.
func (c *Cluster) Promote(ctx context.Context, id string) error {
	st, m, err := c.member(ctx, id)
	if err != nil {
		return err
	}
	if _, err := c.onLeader(ctx, "CLUSTER", "PROMOTE", m.ID); err != nil {
		return err
	}
	c.say("Node %s is a voter.", short(m.ID))
	if all, _ := st.Voters(); (all+1)%2 == 0 {
		c.say("There are %d voters now: an even number survives no more failures than one less.", all+1)
	}
	return nil
}

// Remove takes a member out for good. One that leads hands over first.
func (c *Cluster) Remove(ctx context.Context, id string) error {
	st, m, err := c.member(ctx, id)
	if err != nil {
		return err
	}
	if m.ID == st.LeaderID {
		if err := c.Transfer(ctx, ""); err != nil {
			return err
		}
	}
	if _, err := c.onLeader(ctx, "CLUSTER", "FORGET", m.ID); err != nil {
		return err
	}
	c.say("Node %s at %s is out of the cluster. It cannot come back with its data; stop it if it runs.", short(m.ID), m.Peer)
	return nil
}

// Replace takes a member out whose disk is lost, and adds the node that takes its place.
func (c *Cluster) Replace(ctx context.Context, id, peer string) error {
	if err := c.Remove(ctx, id); err != nil {
		return err
	}
	return c.Add(ctx, peer, false)
}

// Transfer has another voter lead; an empty ID is the one that lacks least.
func (c *Cluster) Transfer(ctx context.Context, id string) error {
	st, err := c.led(ctx)
	if err != nil {
		return err
	}
	target, err := st.successor(id)
	if err != nil {
		return err
	}
	if _, err := c.do(ctx, target.Client, workTime, "CLUSTER", "FAILOVER"); err != nil {
		return err
	}
	if _, err := c.await(ctx, "node "+short(target.ID)+" to lead", func(st *Status) bool { return st.LeaderID == target.ID && st.Answers == target.ID }); err != nil {
		return err
	}
	c.say("Node %s at %s leads.", short(target.ID), target.Client)
	return nil
}

// successor is the voter with this ID, or the best one to lead next.
func (st *Status) successor(id string) (best *Member, err error) {
	if id != "" {
		best, err = st.find(id)
		switch {
		case err != nil:
			return nil, err
		case best.ID == st.LeaderID:
			return nil, fmt.Errorf("node %s leads already", short(best.ID))
		case best.Client == "":
			return nil, fmt.Errorf("it is not known where node %s is reached", short(best.ID))
		}
		return best, nil
	}
	for i := range st.Members {
		m := &st.Members[i]
		if m.Role == "voter" && m.State == "up" && m.Client != "" && (best == nil || m.Synced > best.Synced) {
			best = m
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no other voter is up")
	}
	return best, nil
}

// Compare has all nodes that are up compare a checksum of all keys.
func (c *Cluster) Compare(ctx context.Context) error {
	if _, err := c.onLeader(ctx, "CLUSTER", "COMPARE"); err != nil {
		return err
	}
	st, err := c.Status(ctx)
	if err != nil {
		return err
	}
	_, up := st.Voters()
	c.say("%d nodes have the same counts.", up)
	return nil
}

// Upgrade raises the semantics level to what all nodes know.
func (c *Cluster) Upgrade(ctx context.Context) error {
	before, err := c.onLeader(ctx, "CLUSTER", "UPGRADE")
	if err != nil {
		return err
	}
	after, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if after.Level == before.Level {
		c.say("The cluster is at semantics level %d, the highest that all its nodes know.", after.Level)
		return nil
	}
	c.say("The cluster is at semantics level %d now; it was at %d. Versions that do not know it cannot be used any more.", after.Level, before.Level)
	return nil
}
