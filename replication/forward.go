package replication

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"quipu/replication/peer"
)

// A node that does not lead sends what its clients want to the one that does, on two couriers (peer/courier.go): batches that write,
// and batches that only read. The leader gathers a batch of another node like what one of its event loops hands over.
//
// Outcomes: the leader refuses a batch, or it was never sent: it is certainly not applied, and goes to the next leader, unseen
// by clients. It was sent, and no answer came: unknown, for writes. Reads are sent again.

// Answer is what became of a batch that was forwarded.
type Answer struct {
	Outcome Outcome
	Reason  error  // unless applied
	Index   uint64 // of the log: what the batch has done is in the state from here on
	Replies []byte
}

// Remote takes what other nodes forward to this one.
type Remote interface {
	// Absorbs begins a connection of another node, from; reads says that its batches have no writes.
	Absorbs(from string, reads bool) Absorber
}

// Absorber takes the batches that another node sends over one connection.
type Absorber interface {
	// Absorb hands over a batch, unless this node does not lead in the term that the other one meant. The body may be used during
	// the call only. wait blocks until the outcome is known.
	Absorb(body []byte, term uint64) (wait func() Answer)
	// Close says that the connection has ended, or is about to. A batch may be under way.
	Close()
}

// forwarding is what a group with a peer port has for it.
type forwarding struct {
	remote Remote
	writes *peer.Courier
	reads  *peer.Courier
}

// leaderMemory is for how long after the last leader was heard of writes wait for the next one, instead of being refused.
const leaderMemory = 5 * time.Second

// Serve implements Group.
func (g *raftGroup) Serve(r Remote, free func()) {
	p := g.cfg.Peers
	if p == nil {
		return
	}
	f := &forwarding{remote: r}
	f.writes = peer.NewCourier(p.listener, peer.ForWrites, g.leaderElsewhere, g.leaders.next, func() {
		if q := g.fsm.proposer.Load(); q != nil {
			(*q).Flush()
		}
	})
	f.reads = peer.NewCourier(p.listener, peer.ForReads, g.leaderElsewhere, g.leaders.next, free)
	g.forwarding.Store(f)
}

// leaderElsewhere is the member that leads, if it is another one and this node does not think that it still leads itself.
func (g *raftGroup) leaderElsewhere() Member {
	address, id := g.raft().LeaderWithID()
	if id == "" || string(id) == g.id.NodeID || g.ending.Load() {
		return Member{}
	}
	return Member{ID: string(id), Address: string(address)}
}

// noteLeader remembers when a leader was last known. Called by monitor.
func (g *raftGroup) noteLeader() {
	if _, id := g.raft().LeaderWithID(); id != "" {
		g.leaderSeen.Store(time.Now().UnixNano())
	}
	g.leaderKnown.Store(time.Since(time.Unix(0, g.leaderSeen.Load())) < leaderMemory)
}

// Forwards implements Group.
func (g *raftGroup) Forwards() bool { return g.forwarding.Load() != nil && !g.SoleVoter() }

// awaitsLeader reports whether writes may wait for a leader that is somewhere else, or is being elected. Every write of a
// follower's clients asks: reading the clock here took an eighth of its CPU time at ack level local.
func (g *raftGroup) awaitsLeader() bool { return g.leaderKnown.Load() && g.Forwards() }

// Send implements Group.
func (g *raftGroup) Send(body []byte, reads bool, done func(a *Answer, sent bool) (goOn bool)) bool {
	f := g.forwarding.Load()
	if f == nil || len(body) > peer.MaxBatch {
		return false
	}
	courier := f.writes
	if reads {
		courier = f.reads
	}
	// The term in which that node leads, as far as this one knows. A batch that arrives when it leads in another one is refused:
	// it may have been given up here, and must not be found behind what was sent later.
	term := g.raft().CurrentTerm()
	return courier.Send(body, term, func(a *peer.Answer, sent bool) bool {
		if a == nil {
			return done(nil, sent)
		}
		if a.Outcome > 1+uint8(Unknown) {
			a.Outcome = 1 + uint8(Unknown)
		}
		return done(&Answer{Outcome: Outcome(a.Outcome - 1), Reason: reasonOf(a.Reason), Index: a.Index, Replies: a.Replies}, sent)
	})
}

// MaySend implements Group.
func (g *raftGroup) MaySend(reads bool) bool {
	f := g.forwarding.Load()
	switch {
	case f == nil:
		return false
	case reads:
		return f.reads.Free()
	}
	return f.writes.Free()
}

func (f *forwarding) close() {
	f.writes.Close()
	f.reads.Close()
}

// reasons are what a leader can say of a batch that was not applied, by their numbers in messages. They never change.
var reasons = []error{nil, ErrNotLeader, ErrShutdown, ErrTimeout, ErrEntryTooLarge, ErrFailed, errDiskFull, errRefused}

var (
	errDiskFull = &DiskFullError{} // of another node
	errRefused  = errors.New("the leader refused the batch")
)

func reasonOf(number uint8) error {
	if int(number) < len(reasons) {
		return reasons[number]
	}
	return errRefused
}

func reasonNumber(err error) uint8 {
	var full *DiskFullError
	if errors.As(err, &full) {
		err = errDiskFull
	}
	for i, r := range reasons {
		if i > 0 && errors.Is(err, r) {
			return uint8(i)
		}
	}
	if err == nil {
		return 0
	}
	return uint8(len(reasons) - 1)
}

// Forwards implements peer.Handler.
func (h handler) Forwards(hello peer.Hello) string {
	switch {
	case h.g.Term() == 0:
		return "this node does not lead"
	case h.g.nodeAddress(hello.Sender) == "":
		return "the node is not in the cluster"
	}
	return ""
}

// Hears implements peer.Handler.
func (h handler) Hears(hello peer.Hello) string {
	if h.g.nodeAddress(hello.Sender) == "" {
		return "the node is not in the cluster"
	}
	return ""
}

// Notice implements peer.Handler.
func (h handler) Notice(_ string, kind uint8, body []byte) {
	if fn := h.g.cfg.Peers.heard.Load(); fn != nil {
		(*fn)(kind, body)
	}
}

// Absorbs implements peer.Handler.
func (h handler) Absorbs(from string, reads bool) peer.Absorber {
	if f := h.g.forwarding.Load(); f != nil {
		return absorber{f.remote.Absorbs(from, reads)}
	}
	return absorber{notServing{}}
}

// notServing takes batches for a node that does not serve yet: it refuses them.
type notServing struct{}

func (notServing) Absorb([]byte, uint64) func() Answer {
	return func() Answer { return Answer{Outcome: NotApplied, Reason: ErrNotLeader} }
}
func (notServing) Close() {}

// absorber translates for package peer, which knows no outcomes.
type absorber struct{ Absorber }

// Absorb implements peer.Absorber.
func (o absorber) Absorb(body []byte, term uint64) func() peer.Answer {
	wait := o.Absorber.Absorb(body, term)
	return func() peer.Answer {
		a := wait()
		return peer.Answer{Outcome: 1 + uint8(a.Outcome), Reason: reasonNumber(a.Reason), Index: a.Index, Replies: a.Replies}
	}
}

const (
	resignLimit = 2 * time.Second // how long another node may take to be elected when this one stops
	retireLimit = time.Second     // how long other nodes may take to stop sending, before that
	resignLook  = 5 * time.Millisecond
)

// Stopping implements Group.
func (g *raftGroup) Stopping(drains bool) {
	g.stopping.Store(true)
	g.drains.Store(drains)
}

// OthersDrained implements Group.
func (g *raftGroup) OthersDrained(since time.Time) bool {
	for _, m := range g.memberStatus() {
		if !m.Self && m.Up && (m.Drains || m.Seen.Before(since)) {
			return false
		}
	}
	return true
}

// hasSuccessor reports whether another voter could lead.
func (g *raftGroup) hasSuccessor() bool {
	for _, m := range g.memberStatus() {
		if m.mayLead() {
			return true
		}
	}
	return false
}

// mayLead reports whether a member is a voter that could take over. One that stops as well may, as long as it has something left to
// bring into the log: it does that, and hands over in turn.
func (m *MemberStatus) mayLead() bool {
	return !m.Self && m.Voter && m.Up && !m.Doubtful && (!m.Stops || m.Drains)
}

// Resign implements Group. What other nodes have answered ahead may still be under way.
func (g *raftGroup) Resign() (resigned bool) {
	if g.SoleVoter() {
		return true
	}
	if g.raft().State() == raft.Leader && !g.hasSuccessor() {
		return false
	}
	g.leave()
	g.rounds.expire(g)
	if p := g.cfg.Peers; p != nil {
		ctx, cancel := context.WithTimeout(context.Background(), retireLimit)
		p.listener.Retire(ctx)
		cancel()
	}
	if g.raft().State() != raft.Leader {
		return true
	}
	done := make(chan error, 1)
	go func() { done <- g.transfer(time.Now().Add(resignLimit)) }()
	select {
	case err := <-done:
		if err == nil {
			return true
		}
		g.cfg.Logger.Warn("no other node was found to lead; one will be elected", "err", err)
	case <-time.After(resignLimit):
	}
	return false
}

// transfer has a voter lead that is there and has everything. What is known of the others is some time old, and a follower under
// load is behind: so they are asked, again and again, until one has everything.
func (g *raftGroup) transfer(limit time.Time) error {
	err := errors.New("no other voter is there that has everything")
	for g.raft().State() == raft.Leader {
		for _, m := range g.memberStatus() {
			if !m.mayLead() || m.Last < g.raft().LastIndex() {
				continue
			}
			if err = g.raft().LeadershipTransferToServer(raft.ServerID(m.ID), raft.ServerAddress(m.Address)).Error(); err == nil {
				return nil
			}
		}
		if time.Now().After(limit) || g.ending.Load() {
			return err
		}
		g.Refresh()
		time.Sleep(resignLook)
	}
	return nil
}

// leaderChanges tells of changes of the leader, as Raft observes them.
type leaderChanges struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed at the next change.
func (l *leaderChanges) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ch == nil {
		l.ch = make(chan struct{})
	}
	return l.ch
}

func (l *leaderChanges) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ch != nil {
		close(l.ch)
		l.ch = nil
	}
}

// observe registers with a Raft that has just begun.
func (l *leaderChanges) observe(r *raft.Raft) {
	// Raft calls the filter itself, and would wait for a channel.
	r.RegisterObserver(raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		if _, is := o.Data.(raft.LeaderObservation); is {
			l.changed()
		}
		return false
	}))
	l.changed()
}
