package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/internal/certs"
)

// clientTLS trusts anybody: what certificates are good for is tested where they are loaded.
var clientTLS = &tls.Config{InsecureSkipVerify: true}

func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	dir := t.TempDir()
	if err := certs.Init(dir, nil); err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, certs.ServerCert), filepath.Join(dir, certs.ServerKey))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain: ", what)
		}
	}
}

// TestRecordSizes sends records of any size, cut at any place of the socket's stream, in both versions of TLS.
func TestRecordSizes(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		forEachOf(t, &echoHost{}, true, func(t *testing.T, tr *Transport) {
			raw, err := net.Dial("tcp", tr.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			cut := &cutter{Conn: raw}
			c := tls.Client(cut, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
			if err := c.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
				t.Fatal(err)
			}
			var sent bytes.Buffer
			var writing sync.WaitGroup
			for _, n := range []int{1, 2, 100, 16383, 16384, 16385, 40000, 65536, 200000} {
				sent.WriteString(strings.Repeat("y", n-1) + "\n")
			}
			all := sent.Bytes()
			writing.Go(func() {
				for rest, size := all, 1; len(rest) > 0; size = size*3%65521 + 1 {
					n := min(size, len(rest))
					if _, err := c.Write(rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
			})
			got := make([]byte, len(all))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, all) {
				t.Errorf("version %x: %v", version, err)
			}
			writing.Wait()
		})
	}
}

// cutter sends each write in pieces.
type cutter struct {
	net.Conn
	size int
}

func (c *cutter) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		c.size = c.size*7%9973 + 1
		n, err := c.Conn.Write(b[done:min(len(b), done+c.size)])
		if done += n; err != nil {
			return done, err
		}
	}
	return len(b), nil
}

// TestEarlyData has a client send its first commands together with the end of the handshake: no event of the socket will
// tell of them again.
func TestEarlyData(t *testing.T) {
	forEachOf(t, &echoHost{}, true, func(t *testing.T, tr *Transport) {
		raw, err := net.Dial("tcp", tr.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		held := &holder{Conn: raw}
		c := tls.Client(held, clientTLS)
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		held.hold = func(writes int) bool { return writes > 1 } // all but the first message
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "a\nb\n"); err != nil {
			t.Fatal(err)
		}
		if err := held.release(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "a\nb\n" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// holder holds writes back until they are released, all at once.
type holder struct {
	net.Conn
	hold   func(writes int) bool
	writes int
	held   []byte
}

func (h *holder) Write(b []byte) (int, error) {
	if h.writes++; h.hold(h.writes) {
		h.held = append(h.held, b...)
		return len(b), nil
	}
	return h.Conn.Write(b)
}

func (h *holder) release() error {
	h.hold = func(int) bool { return false }
	_, err := h.Conn.Write(h.held)
	return err
}

// recorder keeps what it reads.
type recorder struct {
	net.Conn
	read []byte
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.read = append(r.read, b[:n]...)
	return n, err
}

// lastRecord is the type of the last record that was read.
func (r *recorder) lastRecord() (kind byte) {
	for rest := r.read; len(rest) >= 5; {
		kind = rest[0]
		rest = rest[min(len(rest), 5+int(rest[3])<<8+int(rest[4])):]
	}
	return kind
}

// dialRecorded is dial with TLS 1.2, where the types of records are not sealed.
func dialRecorded(t *testing.T, tr *Transport) (*tls.Conn, *recorder) {
	t.Helper()
	raw, err := net.Dial("tcp", tr.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	r := &recorder{Conn: raw}
	c := tls.Client(r, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c, r
}

// TestSaysGoodbye: the end of a connection is told (close_notify), whoever ends it.
func TestSaysGoodbye(t *testing.T) {
	const alert = 21
	forEachOf(t, &echoHost{}, true, func(t *testing.T, tr *Transport) {
		ended, endedRecords := dialRecorded(t, tr)
		stopped, stoppedRecords := dialRecorded(t, tr)
		if _, err := io.WriteString(ended, "last\nend\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(ended); string(got) != "last\n" || err != nil || endedRecords.lastRecord() != alert {
			t.Errorf("%q, %v, then a record of type %d", got, err, endedRecords.lastRecord())
		}
		if _, err := io.WriteString(stopped, "x\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(stopped, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		stranger, err := net.Dial("tcp", tr.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		eventually(t, "a handshake is under way", func() bool { return tr.Handshakes() == 1 })
		began := time.Now()
		tr.StopListening()
		tr.Stop()
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("stopping took %v, because of a handshake", took)
		}
		if got, err := io.ReadAll(stopped); len(got) > 0 || err != nil || stoppedRecords.lastRecord() != alert {
			t.Errorf("at a stop: %q, %v, then a record of type %d", got, err, stoppedRecords.lastRecord())
		}
	})
}

// TestBrokenRecord changes a byte on the way: the connection ends and the commands in the record are not run.
func TestBrokenRecord(t *testing.T) {
	forEachOf(t, &echoHost{}, true, func(t *testing.T, tr *Transport) {
		raw, err := net.Dial("tcp", tr.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		held := &holder{Conn: raw, hold: func(int) bool { return false }}
		c := tls.Client(held, clientTLS)
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "good\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		held.hold = func(int) bool { return true }
		if _, err := io.WriteString(c, "evil\n"); err != nil {
			t.Fatal(err)
		}
		held.held[len(held.held)-1] ^= 1
		if err := held.release(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if len(got) > 0 || err == nil || !strings.Contains(err.Error(), "remote error: tls: bad record MAC") {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestHandshakeTimeout: who says nothing, or not enough, is closed in time, and was never among the clients.
func TestHandshakeTimeout(t *testing.T) {
	host := &echoHost{timeout: 300 * time.Millisecond}
	forEachOf(t, host, true, func(t *testing.T, tr *Transport) {
		failed := host.failed.Load()
		other := dial(t, tr)
		for _, text := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
			c, err := net.Dial("tcp", tr.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if n := host.admitted.Load(); n > 1 {
				t.Errorf("%d clients", n)
			}
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q: not closed", text)
			}
		}
		eventually(t, "both have failed", func() bool { return host.failed.Load() == failed+2 && tr.Handshakes() == 0 })
		if _, err := io.WriteString(other, "x\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(other, make([]byte, 2)); err != nil {
			t.Errorf("the time limit holds for a client as well: %v", err)
		}
	})
}

// TestHandshakesLimit fills all places with handshakes that are begun and left: whoever comes then gets one of them, once
// its client has kept it waiting for long enough, and the others keep theirs.
func TestHandshakesLimit(t *testing.T) {
	host := &echoHost{limit: 3}
	forEachOf(t, host, true, func(t *testing.T, tr *Transport) {
		failed := host.failed.Load()
		var left []net.Conn
		began := time.Now()
		for range 3 {
			c, err := net.Dial("tcp", tr.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			left = append(left, c)
		}
		eventually(t, "all places are taken", func() bool { return tr.Handshakes() == 3 })
		c := dial(t, tr)
		if _, err := io.WriteString(c, "x\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < handshakeGrace {
			t.Errorf("a client had only %v for its handshake", took)
		}
		eventually(t, "one handshake to have failed", func() bool { return host.failed.Load() == failed+1 })
		if n := tr.Handshakes(); n != 2 {
			t.Errorf("%d handshakes are under way", n)
		}
		if err := left[0].SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := left[0].Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it was not the oldest that ended")
		}
	})
}

// TestHandshakesCompute: a handshake that waits for its client holds no token, one that computes does.
func TestHandshakesCompute(t *testing.T) {
	hs := newHandshakes()
	client, server := net.Pipe()
	defer client.Close()
	h := hs.begin(server, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2 {
			if _, err := h.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
		}
		if len(hs.workers) != 1 {
			t.Errorf("%d tokens between reads", len(hs.workers))
		}
	}()
	for range 2 {
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	if err := h.leave(); err != nil || len(hs.workers) != 0 || hs.number() != 0 {
		t.Errorf("%v, %d tokens, %d under way", err, len(hs.workers), hs.number())
	}
	// While all tokens are taken, a client that is read waits for one, and that is not its own fault.
	for range cap(hs.workers) {
		hs.workers <- struct{}{}
	}
	client, server = net.Pipe()
	defer client.Close()
	h = hs.begin(server, 1)
	go func() { _, _ = h.Read(make([]byte, 1)) }()
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the wait for the client is over", func() bool {
		hs.mu.Lock()
		defer hs.mu.Unlock()
		return h.since.IsZero()
	})
	hs.mu.Lock()
	if hs.endOldest(time.Now().Add(time.Hour)) {
		t.Error("a client that waits for the server was closed")
	}
	hs.mu.Unlock()
	<-hs.workers
	eventually(t, "it computes", func() bool { return len(hs.workers) == cap(hs.workers) })
}
