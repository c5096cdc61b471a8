// Package server is a node: it takes commands from clients over TCP and unix sockets, answers reads from the keyspace
// and sends writes through the log. server.New assembles one; several can run in one process.
package server

import (
	"crypto/tls"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"quipu/acl"
	"quipu/commands"
	"quipu/config"
	"quipu/exec"
	"quipu/internal/regionlink"
	"quipu/replica"
	"quipu/replication"
	"quipu/transport"
)

// redisVersion is what clients that check a version are told; Version is our own.
const (
	redisVersion = "7.4.0"
	Version      = "0.1.0"
)

// Server is one node. Run serves until its context ends or the node fails.
type Server struct {
	cfg      atomic.Pointer[config.Config]
	cfgMu    sync.Mutex // serializes CONFIG SET
	log      *slog.Logger
	logLevel *slog.LevelVar
	started  time.Time
	runID    string
	table    *commands.Table
	handlers []handler // by Command.ID

	replicas []*replica.Replica // at least one; does not change

	lastLeader atomic.Pointer[string] // node ID of the last leader that this node knew; nil: none yet

	incarnation string // of the data

	watches      *watchRegistry
	hub          *hub
	tracking     *tracking
	notifier     notifier
	monitors     monitors
	waits        waitList
	feedWaits    feedWaits
	http         *httpPort    // nil: none
	feedStreams  atomic.Int32 // clients of /feed
	metrics      *metricsPage
	readiness    readiness
	clients      clientRegistry
	nextClient   atomic.Int64
	failures     failureLimiter
	catalog      *acl.Catalog
	users        atomic.Pointer[acl.Users]
	userState    userState
	denials      acl.Log
	tasks        taskPool
	pause        pauseState
	stats        statistics
	meter        exec.Meter
	times        timings
	slow         slowLog
	latency      latencyEvents
	limits       limitsMet
	clientMemory clientMemory
	feedBudget   *feedBudget // of FEED READ
	streamBudget *feedBudget // of /feed
	nextStripe   atomic.Uint32

	links  []*regionlink.Link // to other regions
	linked chan struct{}      // closed when links is there

	tls   atomic.Pointer[tls.Config] // for clients; nil: not used
	peers *replication.Peers         // nil: no peer port

	transport    *transport.Transport
	accepting    chan struct{} // closed when clients are accepted
	loops        eventLoops
	netCalls     []atomic.Int64 // of all other workers together
	rejected     []atomic.Int64 // calls refused before they ran, by Command.ID
	drainTimeout time.Duration
	serving      sync.WaitGroup // housekeeping, replicas

	bulk      bulkReplies
	readyFlag atomic.Bool
	ready     chan struct{} // closed when readyFlag is set for the first time
	loading   atomic.Int32  // replicas whose keyspace a snapshot from the leader is about to replace
	reading   sync.RWMutex  // held to read by whoever uses a keyspace outside of a session's turn and of the log
	draining  atomic.Bool   // nothing more is read from clients
	pausing   atomic.Bool   // pause may be in force
	saving    atomic.Bool   // BGSAVE is at work
	stopOnce  sync.Once
	stopping  chan struct{} // closed by SHUTDOWN
	fatalOnce sync.Once
	fatal     chan error
}

func (srv *Server) config() *config.Config { return srv.cfg.Load() }

func (srv *Server) newRunner(of *replica.Replica) *exec.Runner {
	r := of.NewRunner()
	r.CountReads(&srv.stats.reads, srv.nextStripe.Add(1))
	return r
}

// isReady reports whether the log has been replayed, or a snapshot loaded, and the node may serve.
func (srv *Server) isReady() bool { return srv.readyFlag.Load() && srv.loading.Load() == 0 }

// fail stops the node for a reason that must not be survived: Run returns the first one.
func (srv *Server) fail(err error) {
	srv.fatalOnce.Do(func() { srv.fatal <- err })
}
