package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"quipu/acl"
	"quipu/protocol"
	"quipu/server/console"
)

// The setting http-addr opens a port for browsers and tools that do not speak RESP. It has loops and goroutines of its own: nothing
// that a client does here holds up one that counts.

const (
	httpConns  = 512 // at a time; others wait to be accepted
	httpHeader = 16 << 10
	httpWait   = 10 * time.Second // for a request, and for a client to take what it is sent
	httpUnsent = 128 << 10        // bytes, of which the system makes twice as many: about two events of /feed
)

// httpPort is the port of http-addr. A nil one does nothing.
type httpPort struct {
	server  *http.Server
	console *console.Console
	cancel  context.CancelFunc // ends streams
	addr    net.Addr
	served  chan struct{} // closed when no connection is accepted any more

	mu       sync.Mutex
	stopped  bool
	requests sync.WaitGroup
}

// listenHTTP opens the port, if there is to be one.
func (srv *Server) listenHTTP() (*httpPort, error) {
	addr := srv.config().HTTPAddr
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s, the setting http-addr: %w", addr, err)
	}
	l = netutil.LimitListener(unsentListener{l}, httpConns)
	if srv.config().TLS.HTTP {
		l = tlsListener{l, srv}
	}
	data := http.NewServeMux()
	data.Handle("GET /feed", srv.whenReady(http.HandlerFunc(srv.serveFeed)))
	data.HandleFunc("GET /metrics", srv.metrics.serve)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", serveHealth)
	mux.HandleFunc("GET /readyz", srv.serveReady)
	mux.Handle("/", srv.admitHTTP(data))
	page := console.New(consoleNode{srv}, srv.warnings)
	mux.Handle(console.Path, srv.admitConsole(page))
	ctx, cancel := context.WithCancel(context.Background())
	p := &httpPort{console: page, cancel: cancel, addr: l.Addr(), served: make(chan struct{})}
	p.server = &http.Server{
		Handler: p.count(mux), BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(srv.log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: httpWait, ReadTimeout: httpWait, IdleTimeout: time.Minute, MaxHeaderBytes: httpHeader,
	}
	go func() {
		defer close(p.served)
		if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			srv.log.Error("http-addr is served no more", "error", err)
		}
	}()
	return p, nil
}

// unsentListener bounds what the system keeps for a client that does not read. By itself it takes some MB for each, and two hundred
// streams that nobody reads had as much made for them before they came to wait.
type unsentListener struct{ net.Listener }

// Accept implements net.Listener.
func (l unsentListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(httpUnsent) // if the connection has ended already, it is seen later
	}
	return c, err
}

// stop ends all requests, and returns when none uses the keyspace any more.
func (p *httpPort) stop() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.cancel()
	p.console.Close()
	_ = p.server.Close() // and not Shutdown, which waits for clients that read nothing
	<-p.served
	p.requests.Wait()
}

// count lets stop wait for requests, and none begin after it.
func (p *httpPort) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		stopped := p.stopped
		if !stopped {
			p.requests.Add(1)
		}
		p.mu.Unlock()
		if stopped {
			http.Error(w, "The node stops.", http.StatusServiceUnavailable)
			return
		}
		defer p.requests.Done()
		next.ServeHTTP(w, r)
	})
}

// admitHTTP lets requests pass that may see data: from this machine where nobody has to authenticate (protected mode), else those
// of a user, as `Authorization: Basic NAME:PASSWORD`, or of the default user, as `Bearer PASSWORD`. What the user may do, the
// handlers ask by mayCall. Probes of the node (health.go) do not come here.
func (srv *Server) admitHTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		cfg, users := srv.config(), srv.users.Load()
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		ip := net.ParseIP(host)
		name, password, given := credentials(r, users)
		asks := !users.Open || given && name != acl.DefaultName
		user := users.Default
		if asks {
			user = nil
		}
		switch {
		case srv.protects(cfg, ip != nil && ip.IsLoopback()):
			http.Error(w, errHTTPProtected, http.StatusForbidden)
			return
		case !asks && !localName(r.Host):
			http.Error(w, errHTTPName, http.StatusForbidden)
			return
		case asks && !srv.failures.allow(host, time.Now().Unix(), cfg.AuthFailures):
			http.Error(w, "Too many wrong passwords from this address.", http.StatusTooManyRequests)
			return
		case asks:
			user = users.Authenticate(name, []byte(password))
		}
		switch {
		case user == nil:
			srv.failures.failed(host, time.Now().Unix())
			srv.limits.met(limitAuth, r.RemoteAddr, "user", logged([]byte(name)), "port", "http")
			srv.stats.denied[acl.DeniedAuth].Add(1)
			srv.denials.Add(acl.LogEntry{Reason: acl.DeniedAuth, Object: "http", Username: name, Client: "addr=" + r.RemoteAddr, At: time.Now()}, cfg.ACLLogMax)
			h.Set("WWW-Authenticate", `Basic realm="quipu"`)
			http.Error(w, protocol.ErrWrongPass, http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), httpUser{}, user)))
		}
	})
}

// whenReady lets requests pass that need what is in the log.
func (srv *Server) whenReady(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !srv.isReady() {
			w.Header().Set("Retry-After", "1")
			http.Error(w, protocol.ErrLoading, http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// httpUser is the key of the request's user in its context.
type httpUser struct{}

// userOf is who asks, as admitHTTP has found.
func userOf(r *http.Request) *acl.Subject {
	user, ok := r.Context().Value(httpUser{}).(*acl.Subject)
	if !ok {
		panic("BUG: a request without a user")
	}
	return user
}

// mayFollow returns the error text if a user who has connected as u may not read the feed now, or "".
func (srv *Server) mayFollow(u *acl.Subject) string { return srv.mayCall(u, "feed", "read") }

// mayCall returns the error text if a user who has connected as u may not run a command now, or "".
func (srv *Server) mayCall(u *acl.Subject, words ...string) string {
	now := srv.users.Load().Find(u.Name)
	if !sameUser(u, now) {
		return protocol.ErrWrongPass
	}
	var args [][]byte
	for _, word := range words {
		args = append(args, []byte(word))
	}
	cmd := srv.table.Find(args)
	var call acl.Call
	callOf(&call, cmd, nil)
	switch reason, _ := now.Check(&call); reason {
	case acl.Allowed:
		return ""
	case acl.DeniedKey:
		return protocol.ErrNoPermKey
	}
	return protocol.ErrNoPermCommand(cmd.FullName())
}

// localName reports whether the Host of a request is an address or localhost.
func localName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return host == "localhost" || net.ParseIP(strings.Trim(host, "[]")) != nil
}

// credentials is who the request says that it is from. As long as there is nobody but the default user, it has any name.
func credentials(r *http.Request, users *acl.Users) (name, password string, given bool) {
	name, password, given = r.BasicAuth()
	if !given {
		password, given = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		return acl.DefaultName, password, given
	}
	if name == "" || len(users.Names()) == 1 && !users.Kept {
		name = acl.DefaultName
	}
	return name, password, given
}
