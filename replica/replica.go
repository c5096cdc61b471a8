// Package replica is one Raft group on this node as a value: its keyspace, the batcher that feeds its log, log time, the
// state machine that executes entries, the increments answered ahead, and the reclaiming of what has expired. A server
// has a list of replicas. A replica knows no clients: it gets sub-batches from their owners, and hands them back.
//
//	replica.go   the value: opening, running, stopping        batch.go    sub-batches and the batch they share
//	machine.go   entries of the log ─► package exec           ahead.go    increments answered ahead: when they go into the log
//	reclaim.go   memory of expired keys                       forward.go   what other nodes do for this one, and it for them
package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"quipu/commands"
	"quipu/engine"
	"quipu/exec"
	"quipu/internal/histogram"
	"quipu/replication"
)

// OpenGroup makes the group that orders the replica's writes, and with it the clock of log time.
type OpenGroup func(cfg replication.Config, sm replication.StateMachine) (replication.Group, error)

// Options say how to make a Replica. All but Log are needed.
type Options struct {
	Table        *commands.Table
	Databases    int
	Seed         uint64             // of the hash of keys, the same on all nodes of a cluster; secret
	Group        replication.Config // Group.OnFatal is told of every error that must stop the node
	Open         OpenGroup
	WriteTimeout time.Duration
	Observers    []Observer
	FeedBytes    int64                         // of the ring of the feed; 0: there is none
	RingBytes    int                           // see engine.Keyspace.SetRegionRing
	FeedBase     uint64                        // see engine.Keyspace.OpenFeed
	LocalKeys    func(key []byte) bool         // whether the settings have a key at ack level local
	Ahead        func() AheadLimits            // called again and again, since the settings may change
	Loading      func(load func() error) error // runs load with nobody else using the keyspace of a replica that is open; nil: load()
	LongLock     func()                        // see engine.Keyspace.OnLongLock; nil: there are no event loops
	Reading      func(read func()) bool        // runs read, unless a snapshot is taking the place of the keyspace; nil: read()
	Watches      func(r *Replica) Watches      // what the clients of one node watch here; nil: nobody can watch anything
	CountError   func(text string)             // called for each error reply to a command in a sub-batch; any goroutine, one at a time
	UsersChanged func(ks *engine.Keyspace)     // called when users may have changed, before anybody is answered, by the goroutine that applies; nil: nobody cares
	Meter        *exec.Meter                   // is told how long commands took; nil: nobody is
	Reclaimed    func(keys int)                // called with a number of expired keys whose memory is free again
	Log          *slog.Logger
}

// Observer is told of changes of keys while its interest is not 0, see engine.Keyspace.Observe.
type Observer struct {
	Told     engine.Observer
	Interest *atomic.Int64
}

// Replica is one group on this node. Its exported fields do not change.
type Replica struct {
	Keyspace *engine.Keyspace
	Feed     *engine.Feed // nil: none
	Group    replication.Group
	Clock    *replication.Clock

	opt       Options
	log       *slog.Logger
	machine   *machine
	batcher   *replication.Batcher
	batches   sync.Pool // of *batch
	ahead     aheadState
	reclaimer reclaimer
	failed    failedBatches
	commands  *histogram.Histogram // of batches that were applied
	landing   landings
	readers   readers
	absorbing sync.RWMutex // held for reading while a batch from another node is handed over; guards stopping
	stopping  bool         // nothing is taken from other nodes any more, but what they have answered ahead
	resigned  bool         // see Resigned
	watches   Watches      // of this node's own clients
	remotes   sync.Pool    // of *SubBatch, for Absorb
	runners   sync.Pool    // of *exec.Runner, for Absorb
}

// SoftLimit is the size in bytes at which a sub-batch is handed over, and a batch takes no more.
const SoftLimit = 512 << 10

// Open makes a replica and starts to recover what is on disk.
func Open(opt Options) (*Replica, error) {
	if opt.Reading == nil {
		opt.Reading = func(read func()) bool { read(); return true }
	}
	if opt.Watches == nil {
		opt.Watches = func(*Replica) Watches { return noWatches{} }
	}
	r := &Replica{opt: opt, log: opt.Log, commands: histogram.New(1)}
	r.watches = opt.Watches(r)
	r.Keyspace = engine.New(engine.Config{Databases: opt.Databases, Seed: opt.Seed})
	r.Keyspace.OnLongLock(opt.LongLock)
	for _, o := range opt.Observers {
		r.Keyspace.Observe(o.Told, o.Interest)
	}
	r.Keyspace.SetRegionRing(opt.RingBytes)
	if opt.FeedBytes > 0 {
		r.Feed = r.Keyspace.OpenFeed(int(opt.FeedBytes), opt.FeedBase)
	}
	r.machine = &machine{keyspace: r.Keyspace, feed: r.Feed, runner: exec.NewRunner(r.Keyspace, opt.Table), fatal: opt.Group.OnFatal, loading: opt.Loading, usersChanged: opt.UsersChanged, applied: r.landing.applied}
	if opt.Meter != nil {
		r.machine.runner.TimeWith(opt.Meter)
	}
	group, err := opt.Open(opt.Group, r.machine)
	if err != nil {
		r.Keyspace.Close()
		return nil, err
	}
	r.Group, r.Clock = group, group.Clock()
	if err := r.startAhead(); err != nil {
		err = errors.Join(err, group.Shutdown(context.Background()))
		r.Keyspace.Close()
		return nil, err
	}
	r.batcher = replication.NewBatcher(group, r.Clock, source{r}, replication.BatcherOptions{
		WriteTimeout: opt.WriteTimeout, EntrySoftLimit: SoftLimit,
	})
	r.machine.open.Store(true)
	group.Serve(r, r.sendReads)
	return r, nil
}

// NewRunner returns a runner of commands on the replica's keyspace.
func (r *Replica) NewRunner() *exec.Runner {
	runner := exec.NewRunner(r.Keyspace, r.opt.Table)
	if r.opt.Meter != nil {
		runner.TimeWith(r.opt.Meter)
	}
	return runner
}

// Queued is the number of bytes handed over and not yet applied.
func (r *Replica) Queued() int64 { return r.batcher.Queued() + r.readers.bytes.Load() }

// Flush has the sub-batches that were handed over proposed: at once, or when the entry in flight is decided.
func (r *Replica) Flush() { r.batcher.Flush() }

// DropSpares gives up the memory that the replica keeps to use it again. Called when little is written; what is written
// next has to allocate anew.
func (r *Replica) DropSpares() {
	r.batcher.DropSpare()
	r.Keyspace.DropSpares()
	r.Feed.Rest()
}

// Stamp is the log time, in ms, of the last entry applied.
func (r *Replica) Stamp() int64 { return r.machine.stamp.Load() }

// Entries is the number of entries applied since the start.
func (r *Replica) Entries() int64 { return r.machine.entries.Load() }

// FailedBatches is the number of batches since ResetStats that were decided as not applied or as unknown.
func (r *Replica) FailedBatches() int64 { return r.failed.Load() }

// Figures is what was measured of batches and entries since the start. It takes no locks.
func (r *Replica) Figures() replication.Figures { return r.batcher.Figures() }

// Commands is how many commands were in the batches that were applied.
func (r *Replica) Commands() histogram.Values { return r.commands.Read() }

// ResetStats sets FailedBatches to 0.
func (r *Replica) ResetStats() { r.failed.Store(0) }

// Run takes what is answered ahead into the log, until ctx ends. It is called once.
func (r *Replica) Run(ctx context.Context) { r.runIntervals(ctx) }

// Stop ends all writes. If graceful, all that was handed over and all that was answered ahead is applied first, for as long
// as ctx lasts; the error says what was not. Nothing may be handed over any more when Stop is called.
func (r *Replica) Stop(ctx context.Context, graceful bool) (err error) {
	r.absorbing.Lock() // what was handed over too late for Drain would have an unknown outcome
	r.stopping = true
	r.absorbing.Unlock()
	if graceful {
		err = errors.Join(r.batcher.Drain(ctx), r.finishAhead(ctx))
		r.Group.Stopping(false)
		r.resigned = r.Group.Resign()
		r.awaitOthers(ctx)
		r.resigned = r.resigned || r.Group.Resign()
	}
	r.batcher.Close()
	return err
}

const (
	othersLimit = 10 * time.Second       // how long a node that stops stays for others that stop as well
	othersKnown = 200 * time.Millisecond // after this one; else they are not told to stop at once
)

// awaitOthers stays in the cluster while other nodes stop and have not everything in the log yet, as they need a majority for it:
// all nodes may have been told to stop at once. A leader that all others would leave to stays, and takes it.
func (r *Replica) awaitOthers(ctx context.Context) {
	if r.Group.SoleVoter() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, othersLimit)
	defer cancel()
	for since := time.Now().Add(othersKnown); !r.Group.OthersDrained(since); {
		r.Group.Refresh()
		select {
		case <-time.After(finishLook):
		case <-r.Group.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// Resigned reports whether another node leads, or this one did not, or there is no other. Stop must have returned.
func (r *Replica) Resigned() bool { return r.resigned }

// Close takes a snapshot, if wanted, and closes the replica. Nothing may use it any more, and Stop must have returned.
func (r *Replica) Close(ctx context.Context, snapshot bool) error {
	var errs []error
	if snapshot {
		errs = append(errs, r.Group.Snapshot())
	}
	err := r.Group.Shutdown(ctx)
	r.machine.checker.end()
	if !errors.Is(err, context.DeadlineExceeded) { // else an entry may still be applied to the keyspace
		r.Keyspace.Close()
	}
	return errors.Join(append(errs, err)...)
}
