package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"time"

	"quipu/commands"
	"quipu/config"
	"quipu/engine"
	"quipu/replica"
	"quipu/replication"
	"quipu/server/console"
	"quipu/transport"
)

// New opens the data directory of cfg and starts to recover what is in it. A node without data that is to found a cluster
// with others waits for them, until ctx ends. The server accepts clients once Run is called. log may be nil.
func New(ctx context.Context, cfg config.Config, log *slog.Logger) (*Server, error) {
	log, warnings := keepWarnings(log)
	var opened replication.Config
	if cfg.TLS.Used() { // before a node waits for others
		if _, err := loadTLS(&cfg); err != nil {
			return nil, err
		}
	}
	incarnation, err := openDirectory(ctx, &cfg, log, &opened)
	if err != nil {
		return nil, err
	}
	srv, err := newServer(cfg, log, warnings, incarnation, replication.HashSeed(incarnation), func(rc replication.Config, sm replication.StateMachine) (replication.Group, error) {
		rc.Directory, rc.Peers, rc.Founding = opened.Directory, opened.Peers, opened.Founding
		return replication.OpenGroup(context.Background(), rc, sm)
	})
	if err != nil {
		return nil, err
	}
	if srv.peers = opened.Peers; srv.peers != nil {
		srv.peers.Hear(srv.hearPublished)
	}
	return srv, nil
}

// NewWithGroups is New on groups that the caller makes: in memory, or with a clock that the caller moves. Each is for an
// equal share of the hash slots.
func NewWithGroups(cfg config.Config, log *slog.Logger, opens ...replica.OpenGroup) (*Server, error) {
	log, warnings := keepWarnings(log)
	return newServer(cfg, log, warnings, "none", rand.Uint64(), opens...)
}

// newServer makes a server on groups, whose data is this incarnation. Their keys are hashed with seed.
func newServer(cfg config.Config, log *slog.Logger, warnings *console.Warnings, incarnation string, seed uint64, opens ...replica.OpenGroup) (*Server, error) {
	srv := &Server{
		log: log, warnings: warnings, started: time.Now(), runID: fmt.Sprintf("%016x%016x%08x", rand.Uint64(), rand.Uint64(), rand.Uint32()),
		feedBudget: readerBudget(), streamBudget: streamBudget(),
		incarnation: incarnation, watches: newWatchRegistry(), hub: newHub(), linked: make(chan struct{}), fatal: make(chan error, 1), stopping: make(chan struct{}), accepting: make(chan struct{}), ready: make(chan struct{}),
		drainTimeout: drainTimeout,
	}
	for i := range srv.limits {
		srv.limits[i].log.To = log
	}
	srv.stats.bytesIn, srv.stats.bytesOut = engine.NewStriped(), engine.NewStriped()
	srv.stats.reads = commands.ReadStats{Hits: engine.NewStriped(), Misses: engine.NewStriped()}
	srv.cfg.Store(&cfg)
	srv.notifier.use(cfg.Notify)
	srv.tracking = newTracking(srv)
	srv.clients.sessions = map[int64]*Session{}
	srv.table, srv.handlers = buildTable()
	srv.catalog = catalogOf(srv.table)
	if err := srv.loadSettingUsers(&cfg); err != nil {
		return nil, err
	}
	srv.netCalls = make([]atomic.Int64, len(srv.table.All()))
	srv.rejected = make([]atomic.Int64, len(srv.table.All()))
	srv.failed = make([]atomic.Int64, len(srv.table.All()))
	srv.stats.startMemory = heapBytes()
	srv.startTiming()
	if err := srv.openReplicas(seed, opens); err != nil {
		return nil, err
	}
	if cfg.UsesLocal() {
		srv.useAhead()
	}
	srv.metrics = newMetricsPage(srv)
	srv.tasks.start(2)
	srv.transport = transport.New(host{srv}, transport.Options{Goroutines: cfg.Transport == "net", Loops: cfg.IOLoops, Log: log})
	return srv, nil
}

// replicaOptions are those of a replica on the group that open makes.
func (srv *Server) replicaOptions(seed uint64, open replica.OpenGroup) replica.Options {
	cfg := srv.config()
	return replica.Options{
		Table: srv.table, Databases: cfg.Databases, Seed: seed, Open: open, WriteTimeout: cfg.WriteTimeout, Log: srv.log,
		Group: replication.Config{
			Dir: cfg.Dir, Logger: srv.log, SnapshotLogBytes: cfg.SnapshotBytes,
			SegmentBytes: cfg.SegmentBytes, OnFatal: srv.fail, CheckEvery: cfg.ChecksumEvery,
		},
		Observers: []replica.Observer{
			{Told: srv.watches.changed, Interest: &srv.watches.count}, {Told: srv.keyChanged, Interest: &srv.notifier.interest},
			{Told: srv.tracking.changed, Interest: &srv.tracking.clients},
		},
		FeedBytes: cfg.FeedRing,
		RingBytes: int(cfg.Regions.Ring),
		FeedBase:  rand.Uint64(),
		LocalKeys: func(key []byte) bool { return srv.config().KeyIsLocal(key) },
		Frequency: func(db int, key []byte) int64 { return srv.hot.frequency(srv.meter.Clock(), db, key) },
		Ahead: func() replica.AheadLimits {
			cfg := srv.config()
			return replica.AheadLimits{Interval: cfg.LocalInterval, MaxAge: cfg.LocalMaxAge, MaxBytes: cfg.LocalMaxBytes}
		},
		Loading: srv.whileLoading,
		Reading: func(read func()) bool {
			if !srv.reading.TryRLock() { // a turn that waited here would be waited for (loading.go)
				return false
			}
			defer srv.reading.RUnlock()
			read()
			return true
		},
		Watches:      srv.watchSet,
		CountError:   srv.stats.errors.count,
		Failed:       srv.commandFailed,
		UsersChanged: srv.readUsers,
		LongLock:     srv.awaitLoops,
		Meter:        &srv.meter,
		Reclaimed:    func(keys int) { srv.stats.expiredKeys.Add(int64(keys)) },
	}
}

// openReplicas opens a replica for each group, or none.
func (srv *Server) openReplicas(seed uint64, opens []replica.OpenGroup) error {
	for _, open := range opens {
		r, err := replica.Open(srv.replicaOptions(seed, open))
		if err != nil {
			return errors.Join(err, srv.closeReplicas(false, false))
		}
		srv.replicas = append(srv.replicas, r)
	}
	return nil
}

// Commands is the table of all commands of a node, for tests and documentation.
func Commands() *commands.Table {
	table, _ := buildTable()
	return table
}

// buildTable joins the families of package commands with the handlers, which it returns by Command.ID; commands that
// have none get a zero handler.
func buildTable() (*commands.Table, []handler) {
	var list []handler
	list = append(list, connectionHandlers()...)
	list = append(list, transactionHandlers()...)
	list = append(list, clientHandlers(), configHandlers(), memoryHandlers(), slowlogHandlers(), latencyHandlers(), backupHandler(), feedHandler(), aclHandlers(), regionHandler())
	list = append(list, nodeHandlers()...)
	list = append(list, pubsubHandlers()...)
	list = append(list, clusterHandlers()...)

	entries := make([]*commands.Command, len(list))
	byName := map[string]*handler{}
	for i := range list {
		h := &list[i]
		byName[h.entry.Name] = h
		for j := range h.subs {
			sub := &h.subs[j]
			h.entry.Sub = append(h.entry.Sub, &sub.entry)
			byName[h.entry.Name+"|"+sub.entry.Name] = sub
		}
		entries[i] = &h.entry
	}
	table := commands.NewTable(entries...)
	handlers := make([]handler, len(table.All()))
	for _, cmd := range table.All() {
		if h := byName[cmd.FullName()]; h != nil {
			handlers[cmd.ID()] = *h
		}
	}
	return table, handlers
}

// Run listens and serves until ctx ends, then stops gracefully, or until the node fails. nil means that everything
// acknowledged is on disk and a snapshot was taken.
func (srv *Server) Run(ctx context.Context) error {
	cfg := srv.config()
	if err := srv.useTLS(cfg); err != nil {
		return errors.Join(err, srv.shutdown(false))
	}
	if err := srv.transport.Listen(transport.Addresses{
		TCP: cfg.Port != 0 || cfg.AnyPort, Hosts: cfg.Bind, Port: cfg.Port,
		TLS: cfg.TLS.Port != 0, TLSPort: cfg.TLS.Port, Unix: cfg.UnixSocket, UnixPerm: os.FileMode(cfg.UnixPerm),
	}); err != nil {
		return errors.Join(err, srv.shutdown(false))
	}
	if err := srv.transport.Serve(); err != nil {
		return errors.Join(err, srv.shutdown(false))
	}
	port, err := srv.listenHTTP()
	if err != nil {
		return errors.Join(err, srv.shutdown(false))
	}
	srv.http = port
	house, stopHouse := context.WithCancel(context.Background())
	defer stopHouse()
	srv.serving.Go(func() { srv.housekeeping(house) })
	for _, r := range srv.replicas {
		srv.serving.Go(func() { r.Run(house) })
	}
	srv.serving.Go(func() { srv.runRegions(house) })
	close(srv.accepting)
	select {
	case <-ctx.Done():
	case <-srv.stopping:
	case err := <-srv.fatal:
		stopHouse()
		// Nothing may be acknowledged any more: connections are cut, not drained.
		_ = srv.shutdown(false)
		return err
	}
	srv.log.Info("stopping: finishing queued commands, then a snapshot")
	stopHouse()
	return srv.shutdown(true)
}

// Serving is closed when Run accepts clients.
func (srv *Server) Serving() <-chan struct{} { return srv.accepting }

// Addr is the address of the first listener, for tests that bind to any port. Valid from Serving on.
func (srv *Server) Addr() net.Addr { return srv.transport.Addr() }

// housekeeping makes the node ready when all logs have been replayed, then reclaims expired keys and ticks log time.
func (srv *Server) housekeeping(ctx context.Context) {
	for _, r := range srv.replicas {
		select {
		case <-ctx.Done():
			return
		case <-r.Group.Ready():
		case <-r.Group.Done():
			return
		}
	}
	srv.log.Info("ready to accept connections", "keys", srv.dbStats(0).Keys, "took", time.Since(srv.started).Round(time.Millisecond))
	srv.stats.loadTime.Store(int64(time.Since(srv.started)))
	srv.usersAreKnown()
	srv.readyFlag.Store(true)
	close(srv.ready)
	var rest restWatch
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			srv.reading.RLock()
			pause := houseEvery
			for _, r := range srv.replicas {
				pause = min(pause, r.Reclaim())
			}
			srv.reading.RUnlock()
			if srv.stats.sample(srv) {
				srv.settleTimes()
				srv.hot.second(srv.meter.Clock())
				srv.tracking.tidy()
				srv.evictAgain()
				srv.giveBack(&rest)
			}
			timer.Reset(pause)
		}
	}
}

// houseEvery is how often housekeeping looks around while no key is about to expire. A node that rests pays for each time it
// wakes: Go's monitor thread stays awake for a millisecond (docs/performance.md, several nodes).
const houseEvery = 250 * time.Millisecond

const (
	drainTimeout = 30 * time.Second // most time for a graceful stop to finish what is queued
	crashTimeout = 5 * time.Second  // most time for a node that has failed to close its files: its disk may stand still
)

func (srv *Server) stopContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), srv.drainTimeout)
}

// shutdown stops everything. A graceful one answers what has been read from clients and takes a snapshot first.
func (srv *Server) shutdown(graceful bool) error {
	if graceful {
		for _, r := range srv.replicas {
			r.Group.Stopping(true) // at once: other nodes may be told to stop at the same time
		}
	}
	srv.transport.StopListening()
	srv.draining.Store(true)
	srv.http.stop()
	if graceful {
		ctx, cancel := srv.stopContext()
		srv.awaitTurns(ctx.Done())
		cancel()
	}
	err := srv.stopReplicas(graceful)
	resigned := true
	if graceful {
		for _, r := range srv.replicas {
			resigned = r.Resigned() && resigned
		}
	}
	srv.transport.Stop()
	srv.feedWaits.stop()
	srv.notifier.stop()
	srv.serving.Wait()
	srv.stopPause()
	srv.tasks.stop()
	// A log that takes no entries would not let a snapshot end either. A leader that nobody has taken over from must end at
	// once, for one to be elected; a snapshot may take long.
	return errors.Join(err, srv.closeReplicas(graceful, err == nil && resigned))
}

// awaitTurns waits until the turns of workers are over that may have begun before the caller set a flag (draining, loading),
// and what they gathered is handed over; giveUp ends it.
func (srv *Server) awaitTurns(giveUp <-chan struct{}) {
	done := map[*worker]bool{}
	for _, s := range srv.clients.all() {
		if !done[s.worker] {
			done[s.worker] = true
			s.worker.awaitTurn(giveUp)
		}
	}
}

// stopReplicas ends all writes, see replica.Stop.
func (srv *Server) stopReplicas(graceful bool) error {
	var errs []error
	ctx, cancel := srv.stopContext()
	defer cancel()
	for _, r := range srv.replicas {
		errs = append(errs, r.Stop(ctx, graceful))
	}
	return errors.Join(errs...)
}

func (srv *Server) closeReplicas(graceful, snapshot bool) error {
	var errs []error
	limit := srv.drainTimeout
	if !graceful {
		limit = min(limit, crashTimeout)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, r := range srv.replicas {
		errs = append(errs, r.Close(ctx, graceful && snapshot))
	}
	return errors.Join(errs...)
}
