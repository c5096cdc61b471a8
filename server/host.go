package server

import (
	"net"
	"sync/atomic"

	"quipu/config"
	"quipu/protocol"
	"quipu/transport"
)

// host is the server as its transport sees it.
type host struct{ srv *Server }

var _ transport.Host = host{}

// NewWorker implements transport.Host. Workers that serve a single connection count their calls together, because their
// counts outlive them.
func (h host) NewWorker(l transport.Loop, shared bool) transport.Worker {
	srv := h.srv
	if !shared {
		return newWorker(srv, l, srv.netCalls)
	}
	w := newWorker(srv, l, make([]atomic.Int64, len(srv.table.All())))
	srv.loops.add(w)
	return w
}

// Admit implements transport.Host.
func (h host) Admit(client net.Addr, sameHost bool) (refusal []byte) {
	srv := h.srv
	srv.stats.connections.Add(1)
	cfg := srv.config()
	switch {
	case srv.protects(cfg, sameHost):
		refusal = errorLine(protocol.ErrDenied)
	case !srv.clients.admit(srv.maxClients(cfg)):
		refusal = errorLine(protocol.ErrMaxClients)
	default:
		return nil
	}
	srv.limits.met(limitConnections, client.String(), "reason", string(refusal[1:len(refusal)-2]))
	return refusal
}

// errorLine is an error reply to a client of which nothing is known.
func errorLine(text string) []byte { return []byte("-" + text + "\r\n") }

// Dismiss implements transport.Host.
func (h host) Dismiss() { h.srv.clients.leave() }

// AcceptFailed implements transport.Host.
func (h host) AcceptFailed() { h.srv.stats.acceptErrors.Add(1) }

// Settings implements transport.Host.
func (h host) Settings() transport.Settings {
	cfg := h.srv.config()
	return transport.Settings{Keepalive: cfg.TCPKeepalive, OutputTimeout: cfg.OutputTimeout}
}

// Fail implements transport.Host.
func (h host) Fail(err error) { h.srv.fail(err) }

// protects reports whether protected mode turns a connection away; sameHost says that it comes from this machine.
func (srv *Server) protects(cfg *config.Config, sameHost bool) bool {
	return cfg.ProtectedMode && !sameHost && srv.users.Load().Default.NoPass
}
