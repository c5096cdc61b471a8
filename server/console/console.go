// Package console is a page that shows how a node does: requests, times, memory, nodes, keys and more, for a browser. It is served on
// http-addr below /console/.
//
// Nothing here reads the node's state by itself. All figures are replies to ordinary commands (reads.go), sent by an ordinary client of the
// node that has logged in as the user of the page: a connection without a socket, served by a goroutine of its own. So ACL rules, limits,
// CLIENT LIST and CLIENT KILL hold for it as for anybody, no event loop does anything for it, and it cannot write: it has no command that does.
//
// What it costs is bounded: one sample a second for all browsers of a user together, and only while one asks (sample.go); some pages of keys
// a second for all (keys.go); some logins at a time (login.go); one line of the log as many bytes as it keeps of it (warnings.go).
package console

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Path is where the console is: everything below it belongs to it.
const Path = "/console/"

// Node is what the console asks of the node that it shows.
type Node interface {
	// Dial makes a connection to the node, which is served like that of any client at remote.
	Dial(remote, local net.Addr) (net.Conn, error)
	// Open reports whether nobody has to log in.
	Open() bool
	// Secret reports whether the console is served by TLS.
	Secret() bool
}

//go:embed page
var page embed.FS

// policy: the page is made of its own files and nothing else, and no other page may show it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const (
	mostSamples = 64 // a second, of all browsers; each asks once
	mostPages   = 10 // of keys a second, of all browsers
	answerLimit = 20 * time.Second
)

// Console is the console of one node.
type Console struct {
	node     Node
	warnings *Warnings
	handler  http.Handler
	samples  budget
	pages    budget

	mu      sync.Mutex
	closed  bool
	logins  map[[32]byte]*login // by the hash of their token
	anybody *login              // of those who need not log in; nil: there is none now
	views   map[string]*view    // by user
	trying  int                 // logins under way
}

// New makes the console of a node, whose log passes by warnings.
func New(node Node, warnings *Warnings) *Console {
	c := &Console{
		node: node, warnings: warnings, logins: map[[32]byte]*login{}, views: map[string]*view{},
		samples: budget{most: mostSamples}, pages: budget{most: mostPages},
	}
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, http.StripPrefix(Path, http.FileServerFS(files)))
	mux.HandleFunc("GET "+Path+"sample", c.serveSample)
	mux.HandleFunc("GET "+Path+"keys", c.serveKeys)
	mux.HandleFunc("POST "+Path+"login", c.serveLogin)
	mux.HandleFunc("POST "+Path+"logout", c.serveLogout)
	c.handler = http.NewCrossOriginProtection().Handler(mux)
	return c
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default: // a link from elsewhere may lead here, and nothing else; another port of this machine is elsewhere
		if r.Header.Get("Sec-Fetch-Mode") == "navigate" {
			break
		}
		http.Error(w, "This is for the console's own page.", http.StatusForbidden)
		return
	}
	if http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerLimit)) != nil {
		return
	}
	c.handler.ServeHTTP(w, r)
}

// Close ends all logins.
func (c *Console) Close() {
	c.mu.Lock()
	c.closed = true
	all := []*login{c.anybody}
	for _, l := range c.logins {
		all = append(all, l)
	}
	c.mu.Unlock()
	for _, l := range all {
		c.end(l)
	}
}

// serveSample answers with the newest sample of the user.
func (c *Console) serveSample(w http.ResponseWriter, r *http.Request) {
	c.serve(w, r, &c.samples, c.sample)
}

// serveKeys answers with a page of keys.
func (c *Console) serveKeys(w http.ResponseWriter, r *http.Request) {
	ask, text := parseKeys(r.URL.Query())
	if text != "" {
		http.Error(w, text, http.StatusBadRequest)
		return
	}
	c.serve(w, r, &c.pages, func(ctx context.Context, l *login) ([]byte, error) { return browse(ctx, l.client, &ask) })
}

// serve has a login of the browser, or that of anybody, make an answer. Who has to log in first takes nothing of the others' budget.
func (c *Console) serve(w http.ResponseWriter, r *http.Request, b *budget, make func(context.Context, *login) ([]byte, error)) {
	l, err := c.loginOf(r)
	if err == nil {
		if !b.take(time.Now()) {
			tooMany(w)
			return
		}
		// A browser that leaves must not end the connection for the others of its user.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), commandLimit)
		defer cancel()
		var answer []byte
		if answer, err = make(ctx, l); err == nil {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer) // who asked has gone: nobody cares
			return
		}
		if l.client.ended() {
			c.end(l)
			if !l.anybody {
				err = errNoLogin // the user is gone, or an operator has ended the connection
			}
		}
	}
	if errors.Is(err, errNoLogin) {
		http.Error(w, "Log in.", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, "The node does not answer: "+err.Error(), http.StatusServiceUnavailable)
}

func tooMany(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "More ask than a node answers. Wait a second.", http.StatusTooManyRequests)
}

// budget lets most things happen in a second.
type budget struct {
	most int

	mu     sync.Mutex
	second int64
	taken  int
}

func (b *budget) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := now.Unix(); s != b.second {
		b.second, b.taken = s, 0
	}
	b.taken++
	return b.taken <= b.most
}

// panel is what a part of the page gets: its figures, or why there are none.
type panel struct {
	Error string `json:"error,omitempty"`
	Data  any    `json:"data,omitempty"`
}

// encode is JSON of what is made here, which has nothing that JSON does not.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return text
}

// printable is bytes as a person may read them: text as it is, other bytes as \x00.
func printable(b []byte) string {
	var text strings.Builder
	for s := string(b); s != ""; {
		s = appendPrintable(&text, s)
	}
	return text.String()
}
