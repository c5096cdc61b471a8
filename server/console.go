package server

import (
	"log/slog"
	"net"
	"net/http"

	"quipu/server/console"
)

// consoleNode is this node as its console sees it (package console).
type consoleNode struct{ srv *Server }

var _ console.Node = consoleNode{}

// innerConn is one end of a connection within the process. It has the addresses of the browser's, by which ACL LOG, CLIENT LIST, the
// limit of failed logins and protected mode go.
type innerConn struct {
	net.Conn
	remote, local net.Addr
}

func (c innerConn) RemoteAddr() net.Addr { return c.remote }
func (c innerConn) LocalAddr() net.Addr  { return c.local }

// Dial implements console.Node.
func (n consoleNode) Dial(remote, local net.Addr) (net.Conn, error) {
	ours, theirs := net.Pipe()
	if err := n.srv.transport.Join(innerConn{theirs, remote, local}); err != nil {
		return nil, err
	}
	return ours, nil
}

// Open implements console.Node.
func (n consoleNode) Open() bool { return n.srv.users.Load().Open }

// Secret implements console.Node.
func (n consoleNode) Secret() bool { return n.srv.config().TLS.HTTP }

// admitConsole lets requests for the console pass. Who it is that asks, the console finds itself: a browser's own form for passwords, which
// admitHTTP would bring up, knows no end of a login.
func (srv *Server) admitConsole(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cfg := srv.config()
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		ip := net.ParseIP(host)
		switch {
		case !cfg.Console:
			http.NotFound(w, r)
		case srv.protects(cfg, ip != nil && ip.IsLoopback()):
			http.Error(w, errHTTPProtected, http.StatusForbidden)
		case srv.users.Load().Open && !localName(r.Host):
			http.Error(w, errHTTPName, http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// What strangers to http-addr are told. A web page may have its name resolve to this machine, and then read what its visitor may.
const (
	errHTTPProtected = "There is no password, so only this machine may ask. Set requirepass."
	errHTTPName      = "Ask for an address, or localhost: there is no password, and a name may be a web page's."
)

// keepWarnings has the console show the warnings of a log.
func keepWarnings(log *slog.Logger) (*slog.Logger, *console.Warnings) {
	w := &console.Warnings{}
	if log == nil {
		return slog.New(w.Beside(slog.DiscardHandler)), w
	}
	return slog.New(w.Beside(log.Handler())), w
}
