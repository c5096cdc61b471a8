//go:build linux

package systest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestTLSHandshakesLeft has 1,000 strangers begin a handshake and leave it, while 50 clients go on and others come.
func TestTLSHandshakesLeft(t *testing.T) {
	t.Parallel()
	n := startTLS(t, "--tls-handshakes", "700", "--tls-handshake-timeout", "3s")
	v := &victim{Server: n.Server}
	v.fds = v.countFDs(t)
	config := n.ca.Good(t)
	v.attack(t, "left", func(t *testing.T) {
		answered, end := countOverTLS(t, n, config, 50, 0)
		hello := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
		var strangers []net.Conn
		for i := range 1000 {
			c, err := net.Dial("tcp", n.secure)
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				_, _ = c.Write(hello) // it may be closed already
			}
			strangers = append(strangers, c)
		}
		before := answered.Load()
		if err := n.tryTLS(config); err != nil { // waits until there is a place
			t.Errorf("a client that comes now: %v", err)
		}
		admin := n.Dial(t)
		if now := infoInt(t, admin, "tls_handshakes_under_way"); now > 700 {
			t.Errorf("%d handshakes are under way", now)
		}
		if clients := infoInt(t, admin, "connected_clients"); clients > 100 {
			t.Errorf("strangers are among the %d clients", clients)
		}
		eventually(t, 30*time.Second, func() (string, bool) {
			now := infoInt(t, admin, "tls_handshakes_under_way")
			return fmt.Sprint(now, " handshakes are under way"), now == 0
		})
		if done := answered.Load() - before; done < 1000 {
			t.Errorf("the others got %d replies meanwhile", done)
		}
		end()
		if failed := infoInt(t, admin, "tls_handshakes_failed"); failed != 1000 {
			t.Errorf("%d handshakes have failed", failed)
		}
		if lines := strings.Count(n.Output(), "TLS handshake failed"); lines == 0 || lines > 60 {
			t.Errorf("%d log lines about 1000 handshakes", lines)
		}
		for _, c := range strangers {
			c.Close()
		}
	})
}

// TestTLSAllAtOnce has many more honest clients come at once than handshakes may be under way: they wait for each other, and
// none is turned away.
func TestTLSAllAtOnce(t *testing.T) {
	t.Parallel()
	// Few at a time: they compute on the processors of this process, and one that does not come to it within handshakeGrace is turned
	// away. Under the race detector, beside other tests, 30 at a time did not.
	n := startTLS(t, "--tls-handshakes", "8")
	config := n.ca.Good(t)
	const many = 100
	var clients sync.WaitGroup
	start := make(chan struct{})
	for range many {
		clients.Go(func() {
			<-start
			if err := n.tryTLS(config); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	clients.Wait()
	admin := n.Dial(t)
	if done, failed := infoInt(t, admin, "tls_handshakes"), infoInt(t, admin, "tls_handshakes_failed"); done != many || failed != 0 {
		t.Errorf("%d handshakes, %d failed", done, failed)
	}
}

// TestTLSSlowReader: who reads nothing stops being read, and is closed in time.
func TestTLSSlowReader(t *testing.T) {
	t.Parallel()
	n := startTLS(t, "--client-output-timeout", "2s")
	config := n.ca.Good(t)
	admin := n.dialTLS(t, config)
	do(t, admin, "SET", "big", strings.Repeat("v", 1<<20))
	before, err := n.RSS()
	if err != nil {
		t.Fatal(err)
	}
	var slow []*redistest.Conn
	for range 10 {
		c := n.dialTLS(t, config)
		if err := c.Send([]byte(strings.Repeat("GET big\r\n", 100))); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	for infoInt(t, admin, "clients_closed_timeout") < len(slow) {
		if after, err := n.RSS(); err != nil || after > before+150<<20 {
			t.Fatalf("memory grew from %d to %d bytes (%v)", before, after, err)
		}
		if !n.Alive() {
			t.Fatal(n.Output())
		}
	}
}

// TestTLSKeyChange has OpenSSL's client change the keys (TLS 1.3), and ask for another handshake (TLS 1.2), which no server
// should do.
func TestTLSKeyChange(t *testing.T) {
	t.Parallel()
	openssl := redistest.Tool(t, "openssl")
	for _, transport := range []string{"epoll", "net"} {
		n := startTLS(t, "--transport", transport, "--tls-auth-clients", "no")
		for flag, letter := range map[string]string{"-tls1_3": "K", "-tls1_2": "R"} {
			c := startSClient(t, openssl, "-connect", n.secure, flag)
			if !c.say("INCR a", ":1") {
				t.Fatalf("%s: no answer: %s", flag, n.Output())
			}
			// The next line must not come together with the letter: the client looks at the first of what it reads only.
			if _, err := io.WriteString(c.in, letter+"\n"); err != nil || !hears(c.errors, map[string]string{"K": "KEYUPDATE", "R": "RENEGOTIATING"}[letter]) {
				t.Fatalf("%s: %s: not done, %v", flag, letter, err)
			}
			if after := c.say("INCR a", ":2"); after != (letter == "K") {
				t.Errorf("%s, %s: an answer afterwards: %v", transport, flag, after)
			}
			do(t, n.Dial(t), "DEL", "a")
		}
		checkOutput(t, n.Server)
	}
}

// sClient is `openssl s_client`.
type sClient struct {
	in          io.WriteCloser
	out, errors *bufio.Reader
}

func startSClient(t *testing.T, path string, args ...string) *sClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cmd := exec.CommandContext(ctx, path, append([]string{"s_client"}, args...)...)
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	messages, errMessages := cmd.StderrPipe()
	if err := errors.Join(errIn, errOut, errMessages); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	return &sClient{in, bufio.NewReader(out), bufio.NewReader(messages)}
}

// say sends a line, and reports whether a line comes that begins with answer.
func (c *sClient) say(line, answer string) bool {
	_, err := io.WriteString(c.in, line+"\n")
	return err == nil && hears(c.out, answer)
}

func hears(r *bufio.Reader, beginning string) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, beginning) {
			return err == nil
		}
	}
}

// tlsConnMax is how much more memory a connection that rests may take with TLS than without, in bytes: crypto/tls with its
// buffers. It is on the heap of Go, which may grow by half before it is collected.
const tlsConnMax = 24 << 10

// TestTLSMemory measures what 5,000 connections take.
func TestTLSMemory(t *testing.T) {
	if testing.Short() || os.Getenv("QUIPU_TEST_RACE") != "" {
		t.Skip("takes some seconds; the race detector takes memory")
	}
	n := startTLS(t)
	config := n.ca.Good(t)
	plain := n.memoryOf(t, 2000, func() (*redistest.Conn, error) { return redistest.Dial(n.Addr) })
	secure := n.memoryOf(t, 5000, func() (*redistest.Conn, error) { return redistest.DialTLS(n.secure, config) })
	t.Logf("%d bytes a connection, %d with TLS", plain, secure)
	if secure > plain+tlsConnMax {
		t.Errorf("%d bytes a connection, %d with TLS", plain, secure)
	}
}

// memoryOf is by how many bytes the node grows for each of the connections that are then open.
func (n *tlsNode) memoryOf(t *testing.T, clients int, dial func() (*redistest.Conn, error)) int64 {
	t.Helper()
	admin := n.Dial(t)
	before, err := n.RSS()
	if err != nil {
		t.Fatal(err)
	}
	var dialing sync.WaitGroup
	for range 4 {
		dialing.Go(func() {
			for range clients / 4 {
				c, err := dial()
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { c.Close() })
				if r, err := c.Do("INCR", "a"); err != nil || r.IsError() {
					t.Error(r, err)
				}
			}
		})
	}
	dialing.Wait()
	if got := infoInt(t, admin, "connected_clients"); got < clients { // one of before may be on its way out
		t.Fatalf("%d clients", got)
	}
	after, err := n.RSS()
	if err != nil {
		t.Fatal(err)
	}
	return (after - before) / int64(clients)
}
