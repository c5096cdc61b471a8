package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/internal/certs"
)

// logged collects what a node logs.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testPeer(id string, log io.Writer) Config {
	return Config{
		Self: func() Hello {
			return Hello{Level: 1, Databases: 16, Boot: 3, Cluster: "counts", Incarnation: "cafe", Sender: id, PeerAddress: id + ":1", ClientAddress: id + ":2"}
		},
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
}

func listen(t *testing.T, cfg Config) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestRaftConnection(t *testing.T) {
	l := listen(t, testPeer("b", io.Discard))
	a := testPeer("a", io.Discard)
	c, answer, err := a.Dial(t.Context(), l.Addr().String(), ForRaft, "b")
	if err != nil || answer.Sender != "b" || answer.ClientAddress != "b:2" || answer.Boot != 3 {
		t.Fatal(answer, err)
	}
	defer c.Close()
	s, err := l.AcceptRaft()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := c.Write([]byte("vote")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "vote" {
		t.Errorf("%q, %v", got, err)
	}
	l.mu.Lock()
	if len(l.strangers) != 0 {
		t.Errorf("%d strangers", len(l.strangers))
	}
	l.mu.Unlock()
}

func TestStatus(t *testing.T) {
	l := listen(t, testPeer("b", io.Discard))
	a := testPeer("a", io.Discard)
	c, answer, err := a.Dial(t.Context(), l.Addr().String(), ForStatus, "")
	if err != nil || answer.Sender != "b" || answer.PeerAddress != "b:1" {
		t.Fatal(answer, err)
	}
	c.Close()
}

func TestRefused(t *testing.T) {
	log := &logged{}
	l := listen(t, testPeer("b", log))
	for _, tc := range []struct {
		name    string
		change  func(*Hello)
		purpose Purpose
		target  string
		why     string
	}{
		{"another node", nil, ForRaft, "c", "this is node b, not c"},
		{"no target", nil, ForRaft, "", "this is node b, not "},
		{"its double", func(h *Hello) { h.Sender, h.Boot = "b", 4 }, ForRaft, "b", "a copy of its data runs elsewhere"},
		{"another cluster", func(h *Hello) { h.Cluster = "views" }, ForStatus, "", `belongs to cluster "counts", the caller to "views"`},
		{"other data", func(h *Hello) { h.Incarnation = "beef" }, ForRaft, "b", "another cluster of the same name"},
		{"databases", func(h *Hello) { h.Databases = 4 }, ForRaft, "b", "this node has 16 databases, the caller 4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := testPeer("a", io.Discard)
			if self := a.Self(); tc.change != nil {
				tc.change(&self)
				a.Self = func() Hello { return self }
			}
			c, _, err := a.Dial(t.Context(), l.Addr().String(), tc.purpose, tc.target)
			var refused *RefusedError
			if c != nil || !errors.As(err, &refused) || !strings.Contains(refused.Why, tc.why) {
				t.Errorf("%v", err)
			}
		})
	}
	select {
	case c := <-l.raft:
		t.Errorf("Raft was given a connection that was refused: %v", c.RemoteAddr())
	default:
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines in the log within a second:\n%s", n, log.String())
	}
}

// The node that answers must be the one that was wanted, whatever it accepts.
func TestWrongAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		readHello(c)
		exchange(c, Hello{Purpose: ForRaft, Sender: "x"})
		io.Copy(io.Discard, c)
	}()
	a := testPeer("a", io.Discard)
	c, _, err := a.Dial(t.Context(), l.Addr().String(), ForRaft, "b")
	if c != nil || err == nil || !strings.Contains(err.Error(), "it is node x, not b") {
		t.Errorf("%v", err)
	}
}

// Garbage, silence and many connections at once neither reach Raft nor keep a node out, and are hardly logged.
func TestStrangers(t *testing.T) {
	log := &logged{}
	l := listen(t, testPeer("b", log))
	address := l.Addr().String()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	begin := time.Now()
	for i := range 3 * maxStrangers {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		switch i % 4 {
		case 0: // silence
		case 1:
			c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		case 2:
			c.Write([]byte("QPHI\x01\x01\xff\xff")) // a length that is too large
		case 3:
			c.Write([]byte("QPHI\x01\x01\x80\x00")) // the rest never comes
		}
	}
	a := testPeer("a", io.Discard)
	c, _, err := a.Dial(t.Context(), address, ForRaft, "b")
	if err != nil {
		t.Fatalf("a node was kept out by strangers: %v", err)
	}
	open = append(open, c)
	l.mu.Lock()
	if len(l.strangers) > maxStrangers {
		t.Errorf("%d strangers", len(l.strangers))
	}
	l.mu.Unlock()
	s, err := l.AcceptRaft()
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if n, most := strings.Count(log.String(), "\n"), int(time.Since(begin).Seconds())+1; n > most {
		t.Errorf("%d lines in the log, at most %d are wanted:\n%s", n, most, log.String())
	}
	// They do not stay.
	one := open[3*maxStrangers-4] // silent
	one.SetReadDeadline(time.Now().Add(helloTime + 3*time.Second))
	if _, err := one.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a silent connection: %v", err)
	} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		t.Error("a silent connection is still open")
	}
}

// authority makes the certificates of a cluster in a directory of their own.
func authority(t *testing.T) string {
	dir := t.TempDir()
	if err := certs.Init(dir, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// loadTLS loads a certificate and its key, and the authority of a directory.
func loadTLS(t *testing.T, dir, certFile, keyFile string) *tls.Config {
	t.Helper()
	config, err := LoadTLS(filepath.Join(dir, certFile), filepath.Join(dir, keyFile), filepath.Join(dir, certs.AuthorityCert))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Nobody without a certificate of the cluster gets as far as a hello.
func TestTLS(t *testing.T) {
	ours, others := authority(t), authority(t)
	member := func(dir string) *tls.Config { return loadTLS(t, dir, certs.PeerCert, certs.PeerKey) }
	node := func(id string, config *tls.Config) Config {
		cfg := testPeer(id, io.Discard)
		if config != nil {
			cfg.TLS = func() *tls.Config { return config }
		}
		return cfg
	}
	l := listen(t, node("b", member(ours)))
	address := l.Addr().String()
	a := node("a", member(ours))
	c, _, err := a.Dial(t.Context(), address, ForRaft, "b")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.AcceptRaft()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go c.Write([]byte("vote"))
	got := make([]byte, 4)
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "vote" {
		t.Errorf("%q, %v", got, err)
	}

	none := member(ours)
	none.Certificates = nil
	foreign := member(others) // but trusts our servers
	foreign.RootCAs = none.RootCAs
	old := member(ours)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, config := range map[string]*tls.Config{
		"no certificate":                 none,
		"the certificate of a client":    loadTLS(t, ours, certs.ClientCert, certs.ClientKey),
		"the certificate of a server":    loadTLS(t, ours, certs.ServerCert, certs.ServerKey),
		"the certificate of other nodes": foreign,
		"a server that is not trusted":   member(others),
		"no TLS":                         nil,
		"TLS 1.2":                        old,
	} {
		stranger := node("a", config)
		c, _, err := stranger.Dial(t.Context(), address, ForRaft, "b")
		if err == nil {
			t.Errorf("%s: accepted", name)
			c.Close()
		}
	}
	select {
	case c := <-l.raft:
		t.Errorf("Raft was given the connection of a stranger: %v", c.RemoteAddr())
	default:
	}
}
