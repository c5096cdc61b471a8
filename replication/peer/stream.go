package peer

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"quipu/replication/storage"
)

// stream is Raft's part of the peer port: a raft.StreamLayer.
type stream struct {
	listener *Listener
	// nodeAt is there because Raft knows whom it calls by address only, and a hello names the node.
	nodeAt func(address string) (id string)
	self   address
}

var _ raft.StreamLayer = (*stream)(nil)

const (
	// raftTimeout bounds one message of Raft, without the time for a snapshot's bytes. 0 would be no limit.
	raftTimeout = 10 * time.Second
	// raftPool is how many idle connections are kept to each node: heartbeats and entries have one each.
	raftPool = 3
)

// Transport is Raft's transport over a peer port.
type Transport struct{ *raft.NetworkTransport }

// NewTransport returns Raft's transport over a peer port, for a node that others reach under the address advertised. nodeAt
// returns the ID of the member with a peer address, or nothing.
func NewTransport(l *Listener, advertised string, nodeAt func(address string) string) *Transport {
	return &Transport{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &stream{l, nodeAt, address(advertised)}, MaxPool: raftPool, Timeout: raftTimeout,
		MaxRPCsInFlight: 1, // no pipeline: it can deadlock (hashicorp/raft issues 611 and 612)
		Logger:          storage.NewHCLog(l.cfg.Logger, "peer"),
	})}
}

// Close closes the peer port and all connections of Raft: its own Close leaves them to the other side.
func (t *Transport) Close() error {
	err := t.NetworkTransport.Close()
	t.CloseStreams() // behind Close, so that none is put back
	return err
}

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// Dial implements raft.StreamLayer.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id := s.nodeAt(string(to))
	if id == "" {
		return nil, fmt.Errorf("no member of the cluster has the peer address %s", to)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, _, err := s.listener.Dial(ctx, string(to), ForRaft, id)
	if err != nil {
		return nil, err
	}
	if c = s.listener.serve(c); c == nil {
		return nil, net.ErrClosed
	}
	return c, nil
}

// Accept implements net.Listener.
func (s *stream) Accept() (net.Conn, error) { return s.listener.AcceptRaft() }

// Addr implements net.Listener: the address under which other nodes reach this one.
func (s *stream) Addr() net.Addr { return s.self }

// Close implements net.Listener. It closes the peer port.
func (s *stream) Close() error { return s.listener.Close() }
