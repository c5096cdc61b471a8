package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/internal/netfault"
	"quipu/internal/redistest"
)

// diskFaults is where the files are that break disks (replication/storage/diskfault.go).
var diskFaults string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "quipu-disk-fault-")
	if err != nil {
		panic(err)
	}
	diskFaults, redistest.Tags = dir, "diskfault"
	os.Setenv("QUIPU_DISK_FAULT_DIR", dir)
	code := redistest.Main(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

const (
	nodeCount    = 3
	clientCount  = 24 // as many on each node
	counterCount = 3
	leaderLimit  = 5 * time.Second  // from the end of a fault until writes are answered again, where nothing else runs
	catchUpLimit = 30 * time.Second // and until all nodes have the same state
)

// run is one cluster under load.
type run struct {
	t       *testing.T
	rng     *rand.Rand
	nodes   []*redistest.Server
	ids     []string
	network *netfault.Network
	began   time.Time
	stop    atomic.Bool

	counters  []*counter
	histories histories
	progress  atomic.Int64 // when an increment was last answered
	once      atomic.Int64 // answers to ONCE
	local     atomic.Int64 // increments answered by a node for itself
	locals    locals
	stopped   []string // processes that ended by SIGTERM: they have written all that they had answered
}

func (r *run) now() time.Duration      { return time.Since(r.began) }
func (r *run) ended() bool             { return r.stop.Load() }
func (r *run) address(node int) string { return r.nodes[node].Addr }

// TestChaos: while nodes fail in every way there is a fault for, every reply is true. QUIPU_CHAOS_ROUNDS and
// QUIPU_CHAOS_SECONDS say how often and how long; each round has a seed of its own, QUIPU_TEST_SEED the first.
// QUIPU_CHAOS_FAULT, a part of a name, leaves out all other faults.
func TestChaos(t *testing.T) {
	if os.Getenv("QUIPU_CHAOS_ROUNDS") == "" && (testing.Short() || redistest.Long()) {
		t.Skip("make test has a short round, make chaos longer ones")
	}
	rounds, seconds := number(t, "QUIPU_CHAOS_ROUNDS", 1), number(t, "QUIPU_CHAOS_SECONDS", 8)
	seed := firstSeed(t)
	for i := range rounds {
		t.Run(fmt.Sprintf("seed %d", seed+uint64(i)), func(t *testing.T) {
			play(t, seed+uint64(i), i*5, time.Duration(seconds)*time.Second)
		})
	}
}

func firstSeed(t *testing.T) uint64 {
	return uint64(number(t, "QUIPU_TEST_SEED", int(time.Now().UnixNano()%1_000_000)))
}

func number(t *testing.T, name string, def int) int {
	s := os.Getenv(name)
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// play is one round. It begins with the fault of that number, so that several rounds have all of them.
func play(t *testing.T, seed uint64, first int, d time.Duration) {
	r := begin(t, seed)
	var busy sync.WaitGroup
	r.load(&busy)
	names := r.faults(first, func(int) bool { return r.now() < d }, func(int) time.Duration { return r.between(1500, 3000) })
	r.stop.Store(true)
	busy.Wait()
	r.agree()
	r.locals.check(r) // what was answered ahead goes into the log
	r.agree()
	r.check(names)
}

// begin starts the nodes and waits until they serve.
func begin(t *testing.T, seed uint64) *run {
	r := &run{t: t, rng: rand.New(rand.NewPCG(seed, 1)), network: netfault.New(), ids: make([]string, nodeCount)}
	r.nodes = redistest.LaunchBehind(t, r.network, nodeCount, func(int) []string {
		return []string{"--enable-debug-command", "yes", "--log-segment-bytes", "1mb", "--snapshot-log-bytes", "4mb", "--ack-rule", "local:* local", "--checksum-interval", "1s"}
	})
	for i, n := range r.nodes {
		if err := n.WaitServes(time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := r.learn(i); err != nil {
			t.Fatal(err)
		}
	}
	r.began = time.Now()
	return r
}

// learn finds out the ID of a node, which the network knows it by.
func (r *run) learn(node int) error {
	if err := r.nodes[node].WaitReady(time.Minute); err != nil && !strings.Contains(err.Error(), "LOADING") {
		return err
	}
	c, err := redistest.Dial(r.nodes[node].Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	reply, err := c.Do("INFO", "server")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(reply.Text, "\nnode_id:")
	r.ids[node], _, _ = strings.Cut(rest, "\r")
	r.network.Knows(node, r.ids[node])
	return nil
}

// load starts the clients.
func (r *run) load(busy *sync.WaitGroup) {
	for i := range counterCount {
		r.counters = append(r.counters, &counter{key: fmt.Sprintf("counter:%d", i)})
	}
	r.histories.run = r
	for i := range clientCount {
		c := &client{run: r, node: i % nodeCount}
		rng := rand.New(rand.NewPCG(r.rng.Uint64(), 2))
		busy.Go(func() {
			switch kind := i / nodeCount; {
			case kind < 2:
				r.histories.client(c, r.t, i, rng)
			case kind == 2:
				pairs(c, r.t, rng)
			case kind == 3:
				onces(c, r.t, fmt.Sprintf("once:%d", i), rng)
			case kind == 4:
				r.locals.count(c, r.t, rng)
			case kind == 5:
				pipelines(c, r.t, fmt.Sprintf("own:%d", i), rng)
			default:
				for !r.ended() {
					k := r.counters[rng.IntN(counterCount)]
					if rng.IntN(3) == 0 {
						k.read(c, r.t)
					} else {
						k.increment(c, r.t)
					}
				}
			}
		})
	}
}

// faults does one after the other, with a rest before each, and returns their names. more and rest get the number of faults
// so far.
func (r *run) faults(first int, more func(n int) bool, rest func(n int) time.Duration) (names []string) {
	order := r.rng.Perm(len(faults))
	for n := 0; more(n) && !r.t.Failed(); n++ {
		f := faults[order[n%len(order)]]
		if n == 0 {
			f = faults[first%len(faults)]
		}
		for only := os.Getenv("QUIPU_CHAOS_FAULT"); !strings.Contains(f.name, only); {
			f = faults[r.rng.IntN(len(faults))]
		}
		names = append(names, f.name)
		time.Sleep(rest(n))
		r.t.Logf("%8v %s", r.now().Round(time.Millisecond), f.name)
		if err := f.do(r); err != nil {
			r.t.Errorf("%s: %v", f.name, err)
			return names
		}
		mended := r.now()
		for time.Duration(r.progress.Load()) < mended {
			if r.now() > mended+4*leaderLimit {
				r.t.Errorf("%s: nothing is answered %v after it was mended", f.name, r.now()-mended)
				r.dump()
				return names
			}
			time.Sleep(10 * time.Millisecond)
		}
		if took := r.now() - mended; took > leaderLimit && os.Getenv("QUIPU_CHAOS_ROUNDS") != "" {
			r.t.Errorf("%s: nothing was answered for %v after it was mended", f.name, took)
			r.dump()
		}
	}
	return names
}

// dump logs what the nodes have logged.
func (r *run) dump() {
	for i, n := range r.nodes {
		out := n.Output()
		r.t.Logf("node %d:\n%s", i, out[max(0, len(out)-6000):])
	}
}

// agree waits until all nodes have applied the same, and compares their states.
func (r *run) agree() {
	r.t.Helper()
	last := ""
	for end := time.Now().Add(catchUpLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var states []string
		for _, n := range r.nodes {
			states = append(states, state(n))
		}
		last = strings.Join(states, "; ")
		if states[0] != "" && states[0] == states[1] && states[1] == states[2] {
			return
		}
	}
	r.t.Errorf("the nodes do not agree: %s", last)
	r.dump()
}

// state is the applied index and the checksum of a node, which do not belong together while it works.
func state(n *redistest.Server) string {
	c, err := redistest.Dial(n.Addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	info, err := c.Do("INFO", "replication")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(info.Text, "\nraft_applied_index:")
	index, _, _ := strings.Cut(rest, "\r")
	sum, err := c.Do("DEBUG", "CHECKSUM")
	if err != nil || sum.IsError() {
		return ""
	}
	return index + " " + sum.Text
}

// value is that of a key; -1: the node does not answer.
func value(n *redistest.Server, key string) int64 {
	c, err := redistest.Dial(n.Addr)
	if err != nil {
		return -1
	}
	defer c.Close()
	reply, err := c.Do("GET", key)
	if err != nil || reply.IsError() {
		return -1
	}
	v, _ := reply.Int()
	return v
}

// check verifies everything that was answered.
func (r *run) check(names []string) {
	acked, unknown := int64(0), int64(0)
	for _, k := range r.counters {
		final := int64(-1)
		for end := time.Now().Add(catchUpLimit); final < 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			final = value(r.nodes[0], k.key)
		}
		k.check(r.t, final)
		acked += int64(len(k.all))
		unknown += k.uncertain.Load()
	}
	r.histories.check(r.t)
	r.t.Logf("%d increments answered, %d unknown, %d answers to ONCE, %d faults", acked, unknown, r.once.Load(), len(names))
	if acked == 0 || r.local.Load() == 0 {
		r.t.Error("nothing was counted")
	}
	r.healthy()
}

// healthy verifies that no node has died, or says that it found a fault of its own.
func (r *run) healthy() {
	for i, n := range r.nodes {
		if !n.Alive() {
			r.t.Errorf("node %d has died: %s", i, n.Output())
		}
		for line := range strings.Lines(n.Output()) {
			stops := strings.Contains(line, "level=ERROR msg=\"this node stops") && !strings.Contains(line, "a test wants it") && !strings.Contains(line, "a write of the log has not finished")
			if strings.Contains(line, "panic:") || strings.Contains(line, "BUG") || strings.Contains(line, "the counts of the nodes differ") || stops {
				r.t.Errorf("node %d: %s\n%s", i, line, n.Output())
				break
			}
		}
	}
}
