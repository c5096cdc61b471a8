//go:build linux

package systest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quipu/internal/certs"
	"quipu/internal/ports"
	"quipu/internal/redistest"
)

// tlsNode is a server with a port for TLS.
type tlsNode struct {
	*redistest.Server
	ca     *redistest.Authority
	secure string // address
}

// startTLS starts a node with a port for TLS.
func startTLS(t testing.TB, settings ...string) *tlsNode {
	t.Helper()
	ca, port := redistest.NewAuthority(t), redistest.FreePort(t)
	n := redistest.Quipu{Flags: append(ca.Settings(port), settings...)}.Start(t)
	return &tlsNode{n, ca, "127.0.0.1:" + strconv.Itoa(port)}
}

// startRedisTLS starts redis-server with a port for TLS.
func startRedisTLS(t testing.TB, settings ...string) *tlsNode {
	t.Helper()
	ca, port := redistest.NewAuthority(t), redistest.FreePort(t)
	n := redistest.StartRedis(t, append(ca.Settings(port), settings...)...)
	return &tlsNode{n, ca, "127.0.0.1:" + strconv.Itoa(port)}
}

// onBoth runs a test on Quipu, with each of its transports, and on redis-server, which shows that the expectations are right.
func onBoth(t *testing.T, test func(t *testing.T, n *tlsNode)) {
	t.Run("quipu", func(t *testing.T) { test(t, startTLS(t)) })
	t.Run("quipu net", func(t *testing.T) { test(t, startTLS(t, "--transport", "net")) })
	t.Run("redis", func(t *testing.T) { test(t, startRedisTLS(t)) })
}

func (n *tlsNode) dialTLS(t testing.TB, config *tls.Config) *redistest.Conn {
	t.Helper()
	c, err := redistest.DialTLS(n.secure, config)
	if err != nil {
		t.Fatalf("%v\n%s", err, n.Output())
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// tryTLS is what a client sees that connects and says PING.
func (n *tlsNode) tryTLS(config *tls.Config) error {
	c, err := redistest.DialTLS(n.secure, config)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Do("PING")
	if err == nil && r.Text != "PONG" {
		return errors.New(r.String())
	}
	return err
}

// infoInt is a number in INFO.
func infoInt(t testing.TB, c *redistest.Conn, field string) int {
	t.Helper()
	for line := range strings.Lines(do(t, c, "INFO").Text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("INFO has no %s", field)
	return 0
}

// TestTLSCertificates: who gets in with which certificate, as tls-auth-clients says.
func TestTLSCertificates(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, n *tlsNode) {
		stranger := redistest.NewAuthority(t)
		n.ca.Sign(t, "expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
		n.ca.Sign(t, "early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })
		shown := map[string]*tls.Config{
			"none": n.ca.Trusting(t), "good": n.ca.Good(t), "expired": n.ca.Client(t, n.ca, "expired.crt", "expired.key"), "early": n.ca.Client(t, n.ca, "early.crt", "early.key"),
			"a stranger's": n.ca.Client(t, stranger, certs.ClientCert, certs.ClientKey), "a server's": n.ca.Client(t, n.ca, certs.ServerCert, certs.ServerKey),
		}
		admin := n.Dial(t)
		for auth, allowed := range map[string][]string{"yes": {"good"}, "optional": {"good", "none"}, "no": {"good", "none", "expired", "early", "a stranger's", "a server's"}} {
			do(t, admin, "CONFIG", "SET", "tls-auth-clients", auth)
			for name, config := range shown {
				want := strings.Contains(strings.Join(allowed, ","), name)
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					config.MinVersion, config.MaxVersion = version, version
					if err := n.tryTLS(config); (err == nil) != want {
						t.Errorf("tls-auth-clients %s, certificate %s, TLS %x: %v", auth, name, version, err)
					}
				}
			}
		}
		good := n.ca.Good(t)
		good.ServerName = "other.example"
		if err := n.tryTLS(good); !errors.As(err, new(x509.HostnameError)) {
			t.Errorf("the server's certificate is good for any name: %v", err)
		}
	})
}

// TestTLSVersions: nothing older than TLS 1.2, and what tls-protocols says.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, n *tlsNode) {
		admin := n.Dial(t)
		for setting, versions := range map[string][]uint16{"TLSv1.2": {tls.VersionTLS12}, "TLSv1.3": {tls.VersionTLS13}, "TLSv1.2 TLSv1.3": {tls.VersionTLS12, tls.VersionTLS13}} {
			do(t, admin, "CONFIG", "SET", "tls-protocols", setting)
			for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
				config := n.ca.Good(t)
				config.MinVersion, config.MaxVersion = v, v
				want := v == versions[0] || v == versions[len(versions)-1]
				if err := n.tryTLS(config); (err == nil) != want {
					t.Errorf("tls-protocols %s: %x: %v", setting, v, err)
				}
			}
		}
	})
}

// TestTLSMixedUp has clients take one port for the other, and send garbage: they get nothing, and nobody else notices.
func TestTLSMixedUp(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, n *tlsNode) {
		other := n.dialTLS(t, n.ca.Good(t))
		for _, text := range []string{"PING\r\n", "*1\r\n$4\r\nPING\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70000), "\x80\x00\x01"} {
			c, err := redistest.Dial(n.secure)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Send([]byte(text)); err != nil && !redistest.IsClosed(err) {
				t.Fatal(err)
			}
			if tcp := c.Conn.(*net.TCPConn); len(text) < 5 {
				_ = tcp.CloseWrite() // too short to be judged
			}
			got, err := io.ReadAll(c.Conn)
			if err != nil && !redistest.IsClosed(err) || bytes.ContainsAny(got, "+-") {
				t.Errorf("%.20q on the port for TLS: %q, %v", text, got, err)
			}
			c.Close()
		}
		rng := newRand(t)
		for range 100 {
			garbage := make([]byte, rng.IntN(2000))
			for i := range garbage {
				garbage[i] = byte(rng.Uint32())
			}
			c, err := redistest.Dial(n.secure)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Send(append([]byte{22, 3, 1}[:rng.IntN(4)], garbage...)) // it may be closed already
			c.Close()
		}
		// A message of TLS on the other port is a command that has begun; neither server says anything.
		c := n.Dial(t)
		if err := c.Send([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if b, err := c.Conn.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("TLS on the plain port: %d bytes, %v", b, err)
		}
		do(t, other, "PING")
		do(t, n.Dial(t), "PING")
		checkOutput(t, n.Server)
	})
}

// TestTLSOnly: with port 0 there is TLS only, and CLIENT LIST, CLIENT KILL and half-closed connections are as without TLS.
func TestTLSOnly(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"epoll", "net"} {
		ca, port := redistest.NewAuthority(t), redistest.FreePort(t)
		socket := t.TempDir() + "/s"
		plain := redistest.FreePort(t)
		s := redistest.Quipu{Port: plain, Flags: append(ca.Settings(port), "--port", "0", "--unixsocket", socket, "--transport", transport)}.Launch(t)
		s.Addr = socket
		if err := s.WaitReady(time.Minute); err != nil {
			t.Fatal(err)
		}
		n := &tlsNode{s, ca, "127.0.0.1:" + strconv.Itoa(port)}
		if c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(plain)); err == nil {
			c.Close()
			t.Error("there is a plain port")
		}
		a, b := n.dialTLS(t, ca.Good(t)), n.dialTLS(t, ca.Good(t))
		do(t, b, "PING") // in TLS 1.3 the client is done before the server
		addr := b.LocalAddr().String()
		if list := do(t, a, "CLIENT", "LIST").Text; !strings.Contains(list, " addr="+addr+" laddr="+n.secure+" ") {
			t.Errorf("CLIENT LIST: %s", list)
		}
		do(t, a, "CLIENT", "KILL", addr)
		if err := b.ReadEOF(); err != nil {
			t.Errorf("the connection that was killed: %v", err)
		}
		if err := a.Send([]byte("INCR half\r\nPING\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := a.Conn.(*tls.Conn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(a.Conn); string(got) != ":1\r\n+PONG\r\n" || err != nil {
			t.Errorf("half-closed: %q, %v", got, err)
		}
	}
}

// TestTLSReload replaces the certificates under load: nobody is dropped, new connections get the new ones, broken ones are
// refused with a line in the log.
func TestTLSReload(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"epoll", "net"} {
		t.Run(transport, func(t *testing.T) {
			n := startTLS(t, "--transport", transport)
			config := n.ca.Good(t)
			_, end := countOverTLS(t, n, config, 20, 4)
			serial := func() string {
				c := n.dialTLS(t, config)
				do(t, c, "PING")
				return c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
			}
			hangUp := func(log string) {
				t.Helper()
				before := strings.Count(n.Output(), log)
				if err := syscall.Kill(n.Pid(), syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				eventually(t, prompt, func() (string, bool) { return n.Output(), strings.Count(n.Output(), log) > before })
			}
			seen := map[string]bool{serial(): true}
			for range 3 {
				n.ca.Sign(t, "server", func(c *x509.Certificate) {
					c.ExtKeyUsage, c.DNSNames = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []string{"localhost"}
				})
				hangUp("certificate for clients loaded")
				if s := serial(); seen[s] {
					t.Error("the old certificate was shown")
				} else {
					seen[s] = true
				}
			}
			last := serial()
			if err := os.WriteFile(n.ca.File(certs.ServerCert), []byte("-----BEGIN CERTIFICATE-----\nbroken"), 0o600); err != nil {
				t.Fatal(err)
			}
			hangUp("certificates for clients were not loaded again, the old ones stay")
			if serial() != last {
				t.Error("a broken file replaced the certificate")
			}
			end()
		})
	}
}

// TestPeerTLSReload: the port for other nodes shows new certificates as well, and keeps the old ones where those are broken.
func TestPeerTLSReload(t *testing.T) {
	t.Parallel()
	ca := redistest.NewAuthority(t)
	port := redistest.FreePort(t)
	peer := "127.0.0.1:" + strconv.Itoa(port+ports.PeerOffset)
	n := redistest.Quipu{Port: port, Flags: []string{"--peer-addr", peer, "--peer-tls-cert-file", ca.File(certs.PeerCert),
		"--peer-tls-key-file", ca.File(certs.PeerKey), "--peer-tls-ca-cert-file", ca.File(certs.AuthorityCert)}}.Start(t)
	config := ca.Client(t, ca, certs.PeerCert, certs.PeerKey)
	config.ServerName = certs.PeerName
	serial := func() string {
		t.Helper()
		c, err := redistest.DialTLS(peer, config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	hangUp := func() {
		if err := syscall.Kill(n.Pid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	old := serial()
	ca.Sign(t, "peer", func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{certs.PeerName}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	})
	hangUp()
	eventually(t, prompt, func() (string, bool) { return n.Output(), serial() != old })
	last := serial()
	if err := os.Remove(ca.File(certs.PeerKey)); err != nil {
		t.Fatal(err)
	}
	hangUp()
	eventually(t, prompt, func() (string, bool) {
		return n.Output(), strings.Contains(n.Output(), "certificates for other nodes were not loaded again, the old ones stay")
	})
	if serial() != last {
		t.Error("files that are missing replaced the certificate")
	}
}

// countOverTLS has clients count, each over its connection, and the first of them over a new one each time, until end is
// called. They check that nothing is lost; answered is how many replies they got.
func countOverTLS(t *testing.T, n *tlsNode, config *tls.Config, clients, connecting int) (answered *atomic.Int64, end func()) {
	t.Helper()
	answered = new(atomic.Int64)
	stop := make(chan struct{})
	var counting sync.WaitGroup
	for i := range clients {
		c := n.dialTLS(t, config)
		counting.Go(func() {
			for count := 1; ; count++ {
				select {
				case <-stop:
					c.Close()
					return
				default:
				}
				if r, err := c.Do("INCR", fmt.Sprint("load:", i)); err != nil || r.Text != strconv.Itoa(count) {
					t.Errorf("client %d: %v, %v", i, r, err)
					return
				}
				answered.Add(1)
				if i >= connecting {
					continue
				}
				c.Close()
				next, err := redistest.DialTLS(n.secure, config)
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				c = next
			}
		})
	}
	return answered, func() {
		close(stop)
		counting.Wait()
	}
}

// TestTLSConfigSet changes certificates at run time, in the words of Redis.
func TestTLSConfigSet(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, n *tlsNode) {
		admin := n.Dial(t)
		other := redistest.NewAuthority(t)
		const failed = "ERR CONFIG SET failed (possibly related to argument '%s') - Unable to update TLS configuration. Check server logs."
		for _, set := range [][2]string{{"tls-cert-file", "/nonexistent"}, {"tls-key-file", other.File(certs.ServerKey)}, {"tls-ca-cert-file", other.File(certs.ClientKey)}, {"tls-ca-cert-file", ""}} {
			if r, err := admin.Do("CONFIG", "SET", set[0], set[1]); err != nil || r.Text != fmt.Sprintf(failed, set[0]) {
				t.Errorf("%s: %v, %v", set[0], r, err)
			}
		}
		if r := do(t, admin, "CONFIG", "GET", "tls-cert-file"); r.Elems[1].Text != n.ca.File(certs.ServerCert) {
			t.Errorf("tls-cert-file is %v after it was refused", r)
		}
		old := n.ca.Good(t)
		old.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for range 2 { // the second time, the session is resumed
			if err := n.tryTLS(old); err != nil {
				t.Fatal(err)
			}
		}
		do(t, admin, "CONFIG", "SET", "tls-cert-file", other.File(certs.ServerCert), "tls-key-file", other.File(certs.ServerKey), "tls-ca-cert-file", other.File(certs.AuthorityCert))
		if err := n.tryTLS(other.Good(t)); err != nil {
			t.Errorf("with the new authority: %v", err)
		}
		old.RootCAs = other.Trusting(t).RootCAs
		if err := n.tryTLS(old); err == nil {
			t.Error("a client of the old authority was let in, by its session")
		}
	})
}

// TestTLSResume: a client that comes again does not need the whole handshake, unless the setting forbids it.
func TestTLSResume(t *testing.T) {
	t.Parallel()
	n := startTLS(t)
	config := n.ca.Good(t)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	resumed := func() bool {
		c := n.dialTLS(t, config)
		do(t, c, "PING")
		return c.Conn.(*tls.Conn).ConnectionState().DidResume
	}
	if resumed() || !resumed() {
		t.Error("the second connection did not resume the session")
	}
	do(t, n.Dial(t), "CONFIG", "SET", "tls-session-caching", "no")
	if resumed() || resumed() {
		t.Error("resumed with tls-session-caching no")
	}
}

// TestTLSStop: a node that stops tells its clients so.
func TestTLSStop(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"epoll", "net"} {
		n := startTLS(t, "--transport", transport)
		c := n.dialTLS(t, n.ca.Good(t))
		do(t, c, "INCR", "a")
		stranger, err := net.Dial("tcp", n.secure)
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		if status, ok := n.Terminate(20 * time.Second); status != 0 || !ok {
			t.Errorf("%s: status %d: %s", transport, status, n.Output())
		}
		if _, err := c.Conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: the end of the connection: %v", transport, err)
		}
	}
}
