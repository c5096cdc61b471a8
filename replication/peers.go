package replication

import (
	"crypto/tls"
	"log/slog"
	"sync/atomic"
	"time"

	"quipu/replication/peer"
)

// Member is a node as the others know it: its ID, and the address of its peer port.
type Member = peer.Member

// PeerOptions say how a node reaches the other nodes of its cluster, and they reach it.
type PeerOptions struct {
	Address       string   // host:port of the peer port, under which other nodes reach it
	Bind          string   // host:port to listen on; empty: Address
	ClientAddress string   // host:port under which clients reach this node
	Join          []string // peer addresses of members, or of all nodes that found a cluster together
	Voters        int      // how many nodes found a cluster together, and up to how many voters it grows by itself
	Cluster       string   // name of the cluster; empty: DefaultCluster
	Databases     int
	CertFile      string // PEM; empty: no TLS between nodes, and the next two are not used
	KeyFile       string
	CAFile        string
	Network       peer.Network // nil: TCP
	Logger        *slog.Logger
}

// Peers is a node's peer port and what belongs to it. It is open before the node has data: the nodes that found a cluster
// find each other over it (form.go).
type Peers struct {
	opt       PeerOptions
	directory *Directory
	listener  *peer.Listener
	links     *peer.Links
	notices   *peer.Notices
	heard     atomic.Pointer[func(kind uint8, body []byte)] // nil: nobody listens
	secure    atomic.Pointer[tls.Config]                    // nil: no TLS
	formed    atomic.Pointer[string]                        // incarnation of the data; nil: there are none yet
	group     atomic.Pointer[raftGroup]                     // nil: not open yet
}

// OpenPeers opens the peer port of the node whose directory is d. Give it to a group (Config.Peers), which closes it, or
// close it.
func OpenPeers(d *Directory, opt PeerOptions) (*Peers, error) {
	setDefault(&opt.Cluster, DefaultCluster)
	setDefault(&opt.Bind, opt.Address)
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Peers{opt: opt, directory: d}
	if d.Incarnation() != "" {
		p.setIncarnation(d.Incarnation())
	}
	if err := p.ReloadTLS(); err != nil {
		return nil, err
	}
	cfg := peer.Config{Self: p.hello, Logger: opt.Logger, Network: opt.Network}
	if opt.CertFile != "" {
		cfg.TLS = p.secure.Load
	}
	l, err := peer.Listen(opt.Bind, cfg)
	if err != nil {
		return nil, err
	}
	p.listener = l
	p.links = peer.NewLinks(l, p.committed, p.answered)
	p.notices = peer.NewNotices(l)
	return p, nil
}

// ReloadTLS reads the files of certificates again, for connections from now on. After an error the old ones stay.
func (p *Peers) ReloadTLS() error {
	if p.opt.CertFile == "" {
		return nil
	}
	secure, err := peer.LoadTLS(p.opt.CertFile, p.opt.KeyFile, p.opt.CAFile)
	if err != nil {
		return err
	}
	p.secure.Store(secure)
	return nil
}

// Close closes the port and all connections to other nodes.
func (p *Peers) Close() error {
	p.links.Close()
	p.notices.Close()
	return p.listener.Close()
}

// Tell sends a message to all other nodes of the cluster, to each at most once, and waits for nobody. kind is up to who hears it. body must
// not change any more.
func (p *Peers) Tell(kind uint8, body []byte) { p.notices.Tell(kind, body) }

// Hear has fn called with what other nodes tell, by one goroutine for each of them. body may be used during the call only.
func (p *Peers) Hear(fn func(kind uint8, body []byte)) { p.heard.Store(&fn) }

// Told is how many messages were sent to other nodes, and dropped because one was slow or not connected, and how many nodes are connected.
func (p *Peers) Told() (sent, dropped int64, connected int) {
	sent, dropped = p.notices.Counts()
	return sent, dropped, p.notices.Connected()
}

func (p *Peers) setIncarnation(s string) { p.formed.Store(&s) }

// hello is what this node says of itself.
func (p *Peers) hello() peer.Hello {
	h := peer.Hello{
		Level: SemanticsLevel, Databases: uint32(p.opt.Databases), WallTime: time.Now().UnixMilli(), Cluster: p.opt.Cluster,
		Sender: p.directory.NodeID(), PeerAddress: p.opt.Address, ClientAddress: p.opt.ClientAddress,
	}
	if s := p.formed.Load(); s != nil {
		h.Incarnation = *s
	} else {
		h.Founders = p.foundersDigest()
	}
	if g := p.group.Load(); g != nil {
		h.Boot = g.boot
		address, _ := g.raft().LeaderWithID()
		h.Leader = string(address)
	}
	return h
}

// serve has a group that is open answer other nodes.
func (p *Peers) serve(g *raftGroup) {
	p.group.Store(g)
	p.listener.Handle(handler{g})
}

// committed is up to where the log is committed, as far as this node knows.
func (p *Peers) committed() uint64 {
	if g := p.group.Load(); g != nil {
		return g.raft().CommitIndex()
	}
	return 0
}

// answered is called with the state of another member.
func (p *Peers) answered(id string, round uint64, s peer.Status) {
	if g := p.group.Load(); g != nil {
		g.heard(id, round, s)
	}
}

// handler answers for a group.
type handler struct{ g *raftGroup }

var _ peer.Handler = handler{}

// Status implements peer.Handler. The term is read last: what is said beside it is of this term or an earlier one.
func (h handler) Status() peer.Status {
	g := h.g
	s := peer.Status{Applied: g.AppliedIndex(), LogTime: g.cfg.Clock.Now(), Full: g.guard.Full() != nil, Ready: g.hasBeenReady(), Doubtful: g.Doubtful(), Stops: g.stopping.Load(), Drains: g.drains.Load()}
	s.Last = g.raft().LastIndex()
	c := g.checksum()
	s.CheckedIndex, s.Checksum = c.Index, c.Sum
	office := g.office.Load()
	s.Term = g.raft().CurrentTerm()
	s.Serves = office.term != 0 && office.term == s.Term
	return s
}

// Join implements peer.Handler.
func (h handler) Join(hello peer.Hello) string {
	if err := h.g.admit(hello); err != nil {
		return err.Error()
	}
	return ""
}
