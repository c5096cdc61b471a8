package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"quipu/internal/redistest"
)

// fault breaks something, waits a while, and mends it again.
type fault struct {
	name string
	do   func(r *run) error
}

var faults = []fault{
	{"kill -9 of the leader", func(r *run) error { return r.killFor(r.leader(), r.between(0, 3000)) }},
	{"kill -9 of a follower", func(r *run) error { return r.killFor(r.follower(), r.between(0, 3000)) }},
	{"kill -9 of all", (*run).killAll},
	{"SIGTERM of the leader", (*run).terminateLeader},
	{"SIGSTOP of the leader", func(r *run) error { return r.freezeFor(r.leader(), r.between(100, 4000)) }},
	{"SIGSTOP of a follower", func(r *run) error { return r.freezeFor(r.follower(), r.between(100, 4000)) }},
	{"the leader cut off", func(r *run) error { return r.cutFor(r.leader(), true, true, r.between(500, 4000)) }},
	{"a follower cut off", func(r *run) error { return r.cutFor(r.follower(), true, true, r.between(500, 4000)) }},
	{"the leader not heard", func(r *run) error { return r.cutFor(r.leader(), true, false, r.between(500, 4000)) }},
	{"the leader hears nobody", func(r *run) error { return r.cutFor(r.leader(), false, true, r.between(500, 4000)) }},
	{"the leader frozen, replaced, and thawed while it is cut off", (*run).freezeAndCut},
	{"the leader's disk slow", func(r *run) error { return r.slowDisk(r.leader()) }},
	{"a follower's disk slow", func(r *run) error { return r.slowDisk(r.follower()) }},
	{"the leader's disk stands still", (*run).stallDisk},
	{"the leader's disk fails", func(r *run) error { return r.failDisk(r.leader()) }},
	{"a follower's disk fails", func(r *run) error { return r.failDisk(r.follower()) }},
	{"a disk lost: forgotten, and joined anew", (*run).loseDisk},
	{"a follower away until it needs a snapshot, and killed while it gets one", (*run).installUnderKill},
}

// leader is the node that leads; if there is none now, any.
func (r *run) leader() int {
	for range 300 {
		if at := redistest.Leader(r.nodes); at >= 0 {
			return at
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0
}

func (r *run) follower() int { return (r.leader() + 1 + r.rng.IntN(len(r.nodes)-1)) % len(r.nodes) }

// between is a random time, in milliseconds.
func (r *run) between(low, high int) time.Duration {
	return time.Duration(low+r.rng.IntN(high-low)) * time.Millisecond
}

func (r *run) killFor(node int, d time.Duration) error {
	r.nodes[node].Kill9()
	time.Sleep(d)
	return r.restart(node)
}

// restart starts a node that was killed. It may still be without a leader when restart returns.
func (r *run) restart(node int) error {
	return r.nodes[node].Relaunch()
}

func (r *run) killAll() error {
	for _, n := range r.nodes {
		n.Kill9()
	}
	for i := range r.nodes {
		if err := r.restart(i); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) terminateLeader() error {
	node := r.leader()
	id := ""
	if c, err := redistest.Dial(r.address(node)); err == nil {
		id = process(c)
		c.Close()
	}
	if status, ok := r.nodes[node].Terminate(40 * time.Second); !ok || status != 0 {
		return fmt.Errorf("SIGTERM of node %d: status %d, in time: %v\n%s", node, status, ok, r.nodes[node].Output())
	}
	r.stopped = append(r.stopped, id)
	return r.restart(node)
}

func (r *run) freezeFor(node int, d time.Duration) error {
	p := r.probe(node)
	if err := r.signal(node, syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(d)
	p.send()
	if err := r.signal(node, syscall.SIGCONT); err != nil {
		return err
	}
	return p.check()
}

// probes are connections to a node that is about to stand still. What is sent over them meanwhile is the first thing that it
// does when it goes on, before it can know what has become of it.
type probes struct {
	r     *run
	node  int
	conns []*redistest.Conn
	least []int64
}

func (r *run) probe(node int) *probes {
	p := &probes{r: r, node: node}
	for range 4 * len(r.counters) {
		if c, err := redistest.Dial(r.nodes[node].Addr); err == nil {
			c.Timeout = replyLimit
			if _, err := c.Do("PING"); err == nil {
				p.conns = append(p.conns, c)
			}
		}
	}
	return p
}

func (p *probes) counter(i int) *counter { return p.r.counters[i%len(p.r.counters)] }

// send sends reads. The node stands still.
func (p *probes) send() {
	for i, c := range p.conns {
		p.least = append(p.least, p.counter(i).acked.Load())
		_ = c.SendCommand("GET", p.counter(i).key) // an error shows when the reply is read
	}
}

// check reads the replies: what others had answered when the reads were sent must be seen.
func (p *probes) check() error {
	for i, c := range p.conns {
		reply, err := c.Read()
		c.Close()
		if err != nil || reply.IsError() {
			continue
		}
		if n, err := reply.Int(); err != nil || n < p.least[i] {
			return fmt.Errorf("a stale read after node %d was thawed: %s is %v, %d were answered before it was sent", p.node, p.counter(i).key, reply, p.least[i])
		}
	}
	return nil
}

func (r *run) signal(node int, s syscall.Signal) error { return syscall.Kill(r.nodes[node].Pid(), s) }

// cutFor takes away what a node says to the others, what they say to it, or both.
func (r *run) cutFor(node int, says, hears bool, d time.Duration) error {
	r.cut(node, says, hears)
	time.Sleep(d)
	r.network.Heal()
	return nil
}

func (r *run) cut(node int, says, hears bool) {
	for other := range r.nodes {
		if other != node {
			r.network.Cut(node, other, says)
			r.network.Cut(other, node, hears)
		}
	}
}

// freezeAndCut has a leader go on as if nothing had happened after another one was elected: none of its reads may be stale.
func (r *run) freezeAndCut() error {
	node := r.leader()
	p := r.probe(node)
	if err := r.signal(node, syscall.SIGSTOP); err != nil {
		return err
	}
	r.cut(node, true, true)
	time.Sleep(r.between(1200, 2500))
	p.send()
	if err := r.signal(node, syscall.SIGCONT); err != nil {
		return err
	}
	time.Sleep(r.between(500, 1500))
	r.network.Heal()
	return p.check()
}

// breakDisk has each sync of a node's log do what, until the function returned is called.
func (r *run) breakDisk(node int, what string) (mend func() error, err error) {
	path := filepath.Join(diskFaults, strconv.Itoa(r.nodes[node].Pid()))
	if err := os.WriteFile(path+".new", []byte(what), 0o600); err != nil {
		return nil, err
	}
	return func() error { return os.Remove(path) }, os.Rename(path+".new", path)
}

func (r *run) slowDisk(node int) error {
	mend, err := r.breakDisk(node, fmt.Sprint("slow ", 1<<(2+r.rng.IntN(9)))) // 4 ms to 1 s
	if err != nil {
		return err
	}
	time.Sleep(r.between(1000, 4000))
	return mend()
}

// stallDisk has a sync of the leader not end for longer than a leader may stand still: it exits, and another one leads.
func (r *run) stallDisk() error {
	node := r.leader()
	mend, err := r.breakDisk(node, "slow 20000")
	if err != nil {
		return err
	}
	return r.awaitExit(node, mend)
}

// failDisk has a sync fail: what it should have brought to disk is not acknowledged, and the node stops.
func (r *run) failDisk(node int) error {
	mend, err := r.breakDisk(node, "fail")
	if err != nil {
		return err
	}
	return r.awaitExit(node, mend)
}

// awaitExit waits until a node whose disk is broken has ended, and starts it with one that works.
func (r *run) awaitExit(node int, mend func() error) error {
	_, ended := r.nodes[node].Wait(15 * time.Second)
	if err := mend(); err != nil {
		return err
	}
	if !ended {
		return fmt.Errorf("node %d goes on with a disk that is broken", node)
	}
	return r.restart(node)
}

// loseDisk wipes a follower. Its new self has another ID, and joins when the old one is forgotten.
func (r *run) loseDisk() error {
	node := r.follower()
	old := r.ids[node]
	r.nodes[node].Kill9()
	if err := os.RemoveAll(r.nodes[node].Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(r.nodes[node].Dir, 0o700); err != nil {
		return err
	}
	last := ""
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("node %s cannot be forgotten: %s", old, last)
		}
		c, err := redistest.Dial(r.nodes[r.leader()].Addr)
		if err != nil {
			continue
		}
		reply, err := c.Do("CLUSTER", "FORGET", old)
		c.Close()
		if last = fmt.Sprint(reply, err); err == nil && (reply.Text == "OK" || strings.Contains(reply.Text, "no member of the cluster has the ID")) {
			break
		}
	}
	if err := r.restart(node); err != nil {
		return err
	}
	return r.learn(node)
}

// installUnderKill keeps a follower away until the log that it needs is gone, and kills it once or twice while it is given a
// snapshot.
func (r *run) installUnderKill() error {
	node := r.follower()
	r.nodes[node].Kill9()
	for range 2 { // the second one leaves no log from before the first
		c, err := redistest.Dial(r.nodes[r.leader()].Addr)
		if err != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
		reply, err := c.Do("SAVE")
		c.Close()
		if err != nil || reply.IsError() {
			return fmt.Errorf("SAVE: %v, %w", reply, err)
		}
	}
	for range 1 + r.rng.IntN(2) {
		if err := r.restart(node); err != nil {
			return err
		}
		time.Sleep(r.between(20, 500))
		r.nodes[node].Kill9()
	}
	return r.restart(node)
}
