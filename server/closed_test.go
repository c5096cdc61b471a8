package server

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/certs"
	"quipu/internal/ports"
)

// TestClosedWhileBusy closes clients from outside, by CLIENT KILL and for their memory, whatever they are at: in the middle of a
// command, with writes in the log, while they wait, with replies that do not leave, with and without TLS. Redis and Valkey had
// their worst faults of 2026 here (CVE-2026-23479, -56684, -81934, -130822): something still used what was given back.
func TestClosedWhileBusy(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		tlsPort, err := ports.Keep()
		if err != nil {
			t.Fatal(err)
		}
		dir, with := withCertificates(t, func(c *config.Config) {
			transport(c)
			c.TLS.Port, c.TLS.AuthClients = tlsPort, "no"
			c.MaxClientMemory = 400 << 10
		})
		n := startNode(t, with)
		pool, err := loadAuthorities(filepath.Join(dir, certs.AuthorityCert), "")
		if err != nil {
			t.Fatal(err)
		}
		admin := n.dial()
		callArgs(t, admin, "CLIENT", "NO-EVICT", "ON")
		callArgs(t, admin, "SET", "big", strings.Repeat("x", 60<<10))
		callArgs(t, admin, "PFADD", "pf", "a")
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for i := range 12 {
			addr, secure := n.srv.transport.Addr(), (*tls.Config)(nil)
			if i%2 == 0 {
				addr, secure = n.srv.transport.TLSAddr(), &tls.Config{RootCAs: pool, ServerName: "localhost"}
			}
			clients.Go(func() { beBusy(stop, rand.New(rand.NewPCG(1, uint64(i))), addr, secure, busyStates()) })
		}
		kills := 0
		for range 50 {
			reply := call(t, admin, "CLIENT KILL TYPE normal")
			if _, err := fmt.Sscanf(reply, ":%d", new(int)); err != nil {
				t.Fatalf("CLIENT KILL: %q", reply)
			}
			if reply != ":0\r\n" {
				kills++
			}
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // anything may be under way when the next one comes
		}
		eventually(t, "clients to be closed for their memory", func() bool { return n.srv.limits.times(limitMemory) > 0 })
		close(stop)
		clients.Wait()
		call(t, admin, "CLIENT UNPAUSE")
		eventually(t, "all to be gone", func() bool { return n.srv.clients.count.Load() == 1 })
		if sum, going := n.srv.clientMemory.sum.Load(), n.srv.clientMemory.going.Load(); sum != 0 || going != 0 {
			t.Errorf("%d bytes are counted for clients that are gone, and %d as going", sum, going)
		}
		if blocked := n.srv.stats.blocked.Load(); blocked != 0 {
			t.Errorf("%d clients still wait", blocked)
		}
		eventually(t, "the replies that are under way to come", func() bool { return n.srv.bulk.bytes.Load() == 0 })
		if kills == 0 {
			t.Error("nobody was there to be killed")
		}
		before := call(t, admin, "GET n")
		expect(t, admin, "INCR n", ":", "PING", "+PONG\r\n")
		t.Logf("%d clients closed for their memory, n was %q", n.srv.limits.times(limitMemory), before)
	})
}

// busyStates is what clients send to be at something when they are closed.
func busyStates() []string {
	big := strings.Repeat("y", 100<<10)
	return []string{
		"*2\r\n$4\r\nECHO\r\n$500000\r\n" + big,
		"MULTI\r\n" + fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s\r\n", len(big), big),
		strings.Repeat("INCR n\r\n", 1000),
		strings.Repeat("INCR n\r\nGET n\r\n", 100) + "WAIT 1 0\r\n" + strings.Repeat("INCR n\r\n", 100),
		"FEED READ $ BLOCK 0\r\n",
		strings.Repeat("GET big\r\n", 30),
		strings.Repeat("INCR n\r\nGET big\r\n", 30),
		"WATCH n\r\nMULTI\r\nINCR n\r\nGET big\r\nEXEC\r\nWAITAOF 1 0 0\r\n",
		"KEYS *\r\nPFCOUNT pf n\r\nKEYS *\r\n",
		"CLIENT PAUSE 1 WRITE\r\nINCR n\r\n",
	}
}

// beBusy connects again and again, sends one of the states, reads a part of the replies, and leaves or is closed, until stop is
// closed.
func beBusy(stop chan struct{}, rnd *rand.Rand, addr net.Addr, secure *tls.Config, states []string) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			continue
		}
		if secure != nil {
			c = tls.Client(c, secure) // its handshake comes with the first words, and may be closed too
		}
		_ = c.SetDeadline(time.Now().Add(time.Duration(1+rnd.IntN(50)) * time.Millisecond))
		_, err = c.Write([]byte(states[rnd.IntN(len(states))]))
		if rnd.IntN(2) == 0 {
			_, _ = c.Read(make([]byte, 1<<rnd.IntN(16)))
		}
		if rnd.IntN(3) > 0 { // else it leaves by itself
			_ = c.SetDeadline(time.Now().Add(time.Second))
			for err == nil {
				_, err = c.Read(make([]byte, 100))
			}
		}
		c.Close()
	}
}
