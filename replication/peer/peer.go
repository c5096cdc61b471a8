// Package peer connects the nodes of a cluster: one port, on which each connection begins with a hello (hello.go) that says
// who calls, whom it wants, and what for. Only then is the connection handed to whoever serves that purpose.
//
// Files:
//
//	hello.go      the first message and its answer      listener.go  accepts and judges connections
//	dial.go       connects to another node              stream.go    Raft's connections
//	frame.go      messages behind the hello             links.go     asks all other members about their state
//	courier.go    sends batches to the leader           absorb.go    takes those of other nodes
//	tls.go        certificates                          log.go       one line a second
//	notices.go    what clients publish
package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Config is what a node needs to talk to others.
type Config struct {
	Self   func() Hello       // what this node says of itself. Purpose, Target and Refusal are filled in here
	TLS    func() *tls.Config // for each connection anew; nil: plain TCP, for loopback and trusted tests
	Logger *slog.Logger

	Network Network // nil: TCP
}

// Network is what connects nodes: TCP, or what a simulation has in its place.
type Network interface {
	Listen(address string) (net.Listener, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// Member is a node of the cluster as the others know it.
type Member struct{ ID, Address string }

// Handler answers what other nodes ask. It may be called from many goroutines.
type Handler interface {
	// Status is the state of this node now.
	Status() Status
	// Join adds the node that sent h to the cluster; the refusal says why not, or is empty.
	Join(h Hello) (refusal string)
	// Lead has the node that sent h lead in place of this one; the refusal says why not, or is empty.
	Lead(h Hello) (refusal string)
	// Forwards says why the node that sent h must not send batches to this one, or nothing.
	Forwards(h Hello) (refusal string)
	// Absorbs begins a connection over which the node with the ID from sends batches; reads says that they have no writes.
	Absorbs(from string, reads bool) Absorber
	// Hears says why the node that sent h must not send notices to this one, or nothing.
	Hears(h Hello) (refusal string)
	// Notice takes a message of another node for the clients of this one. The body may be used during the call only.
	Notice(from string, kind uint8, body []byte)
}

// Absorber takes the batches that come over one connection.
type Absorber interface {
	// Absorb hands over a batch that another node has sent to the leader of a term. The body may be used during the call only.
	// wait blocks until the outcome is known.
	Absorb(body []byte, term uint64) (wait func() Answer)
	// Close says that the connection has ended, or is about to. A batch may be under way.
	Close()
}

// keepAlive ends a connection whose other side has vanished, with its power or its network, within about four seconds. A
// node that receives a snapshot can neither vote nor lead meanwhile, and Go's default is two and a half minutes.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}

type tcp struct{}

// Listen implements Network.
func (tcp) Listen(address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	return lc.Listen(context.Background(), "tcp", address)
}

// Dial implements Network.
func (tcp) Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive}
	return d.DialContext(ctx, "tcp", address)
}

// helloTime is how long a connection may take until its hello is answered, TLS included.
const helloTime = 5 * time.Second

// judge says why this node, self, does not want a connection that begins with h; empty: it does.
//
// A node without data grants any vote in hashicorp/raft, so the target must be right: otherwise an address that was given to
// another node would let a node vote in a cluster that it does not belong to.
func judge(self, h Hello) string {
	switch {
	case h.Target != self.Sender && (h.Target != "" || h.Purpose == ForRaft):
		return fmt.Sprintf("this is node %s, not %s", self.Sender, h.Target)
	case h.Sender == self.Sender && h.Boot != self.Boot:
		return "this node has the same ID as the caller: a copy of its data runs elsewhere"
	case h.Cluster != self.Cluster:
		return fmt.Sprintf("this node belongs to cluster %q, the caller to %q", self.Cluster, h.Cluster)
	case h.Purpose == ForStatus && h.Target == "":
		return ""
	case h.Incarnation != self.Incarnation:
		return "this node has the data of another cluster of the same name"
	case h.Databases != self.Databases:
		return fmt.Sprintf("this node has %d databases, the caller %d: they must be the same", self.Databases, h.Databases)
	}
	return ""
}

// exchange sends this node's part of the hello under the deadline that is set on c.
func exchange(c net.Conn, h Hello) error {
	b, err := h.encode()
	if err == nil {
		_, err = c.Write(b)
	}
	return err
}
