package sim

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hashicorp/raft"

	"quipu/replica"
	"quipu/replication"
)

const writeTimeout = 2 * time.Second

// node is one node of a world. Its address is its name.
type node struct {
	w    *world
	name string
	dir  string // identity and boot counter, which a crash does not harm
	disk *disk
	life int // disks that it has had

	mu  sync.Mutex
	run *running // nil: down
}

// running is a node between a start and a crash.
type running struct {
	rep     *replica.Replica
	id      string
	stores  *stores
	crashed chan struct{}
	busy    sync.WaitGroup
	reading sync.RWMutex // held for writing while a snapshot takes the place of the keyspace
	local   life
}

func (n *node) now() *running {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.run
}

// skewed is a wall clock that a fault may set.
type skewed struct{ ahead atomic.Int64 } // ns

func (s *skewed) source() *replication.TimeSource {
	start := time.Now()
	return &replication.TimeSource{
		Mono: func() int64 { return int64(time.Since(start)) },
		Wall: func() int64 { return time.Now().UnixNano() + s.ahead.Load() },
	}
}

// start starts a node that is down. It returns when its group is open; with other nodes, that takes until they are there.
func (n *node) start() error {
	st := &stores{}
	st.now.Store(n.disk)
	d, err := replication.OpenDirectory(filepath.Join(n.dir, fmt.Sprint(n.life)))
	if err != nil {
		return err
	}
	peers, err := replication.OpenPeers(d, replication.PeerOptions{
		Address: n.name, ClientAddress: n.name, Join: n.w.addresses(), Voters: len(n.w.nodes), Databases: 1,
		Network: endpoint{n.w.net, n.name}, Logger: n.w.log,
	})
	if err != nil {
		return err
	}
	founding, err := peers.Form(n.w.ctx)
	if err != nil {
		peers.Close()
		d.Close()
		return err
	}
	run := &running{id: d.NodeID(), stores: st, crashed: make(chan struct{})}
	cfg := replication.Config{
		Directory: d, Peers: peers, Founding: founding, Logger: n.w.log, Clock: replication.NewClock(n.w.clocks[n.name].source()),
		SnapshotLogBytes: 16 << 10, TrailingLogBytes: 1, Started: n.w.started, CheckEvery: time.Second,
		OpenStores: func(replication.StoreOptions) (replication.Stores, error) { return st.open(), nil },
		OnFatal: func(err error) {
			select {
			case <-run.crashed:
			default:
				n.w.errorf("node %s stops: %v", n.name, err)
			}
		},
	}
	if run.rep, err = replica.Open(n.options(run, cfg)); err != nil {
		return err
	}
	run.rep.UseAhead()
	ctx, cancel := context.WithCancel(context.Background())
	run.busy.Go(func() { run.rep.Run(ctx) })
	run.busy.Go(func() { defer cancel(); run.reclaim() })
	n.mu.Lock()
	n.run = run
	n.mu.Unlock()
	return nil
}

func (n *node) options(run *running, cfg replication.Config) replica.Options {
	return replica.Options{
		Table: n.w.table, Databases: 1, Seed: 7, Group: cfg, WriteTimeout: writeTimeout, Log: slog.New(slog.DiscardHandler),
		Open: func(c replication.Config, sm replication.StateMachine) (replication.Group, error) {
			return replication.OpenGroup(context.Background(), c, sm)
		},
		LocalKeys: func([]byte) bool { return false },
		Ahead: func() replica.AheadLimits {
			return replica.AheadLimits{Interval: 10 * time.Millisecond, MaxAge: 5 * time.Second, MaxBytes: 1 << 20}
		},
		Loading: func(load func() error) error { run.reading.Lock(); defer run.reading.Unlock(); return load() },
		Reading: func(read func()) bool {
			if !run.reading.TryRLock() {
				return false
			}
			defer run.reading.RUnlock()
			read()
			return true
		},
		CountError: func(string) {}, Reclaimed: func(int) {},
	}
}

func (r *running) reclaim() {
	for {
		select {
		case <-r.crashed:
			return
		case <-time.After(replica.ReclaimEvery):
			r.rep.Reclaim()
		}
	}
}

func (r *running) ready() bool {
	select {
	case <-r.rep.Group.Ready():
		return true
	default:
		return false
	}
}

// crash ends the node at once: what it has not synced is lost, and nobody hears of it any more. It returns when everything
// of the process that was is gone.
func (n *node) crash() {
	n.mu.Lock()
	run := n.run
	n.run = nil
	n.mu.Unlock()
	if run == nil {
		return
	}
	run.stores.crash()
	n.w.net.kill(n.name)
	n.end(run)
}

// end stops a run.
func (n *node) end(run *running) {
	close(run.crashed)
	run.busy.Wait()
	run.local.stop(run)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = run.rep.Stop(ctx, false)
	if err := run.rep.Close(ctx, false); err != nil {
		n.w.errorf("node %s does not end: %v", n.name, err)
	}
	n.w.local.end(&run.local)
	n.w.clearAway()
}

// lose takes the node's disk away. It is down.
func (n *node) lose() {
	n.life++
	n.disk = newDisk()
}

// clearAway answers the futures that Raft leaves unanswered when it ends, so that nobody waits for them for ever: the world
// could not end. They are in channels of Raft's own.
func (w *world) clearAway() {
	w.mu.Lock()
	list := w.rafts
	w.mu.Unlock()
	for _, r := range list {
		if r.State() != raft.Shutdown {
			continue
		}
		clearChannel(field(reflect.ValueOf(r).Elem(), "applyCh"))
		clearChannel(field(reflect.ValueOf(r).Elem(), "fsmMutateCh"))
	}
}

// field is a field that is not exported, made accessible.
func field(v reflect.Value, name string) reflect.Value {
	f := v.FieldByName(name)
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
}

func clearChannel(ch reflect.Value) {
	for {
		v, ok := ch.TryRecv()
		if !ok {
			return
		}
		answerAll(v)
	}
}

// answerAll finds the futures in a message: one, or a list of entries with a future each.
func answerAll(v reflect.Value) {
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch {
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			answerAll(v.Index(i))
		}
	case v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() == reflect.Struct && v.Elem().FieldByName("future").IsValid():
		answerAll(field(v.Elem(), "future"))
	case v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() == reflect.Struct && v.Elem().FieldByName("errCh").IsValid():
		field(v.Elem(), "errCh").TrySend(reflect.ValueOf(raft.ErrRaftShutdown))
	}
}
