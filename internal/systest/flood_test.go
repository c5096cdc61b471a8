//go:build linux

package systest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestSlowReaders asks for far more than it reads: the node's memory stays bounded and the clients are closed.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	v := newVictim(t, "--client-output-timeout", "3s")
	c := v.Dial(t)
	do(t, c, "SET", "big", strings.Repeat("v", 1<<20))
	do(t, c, "MSET", "small", strings.Repeat("v", 1000))
	c.Close()
	before, err := v.RSS()
	if err != nil {
		t.Fatal(err)
	}
	gets := strings.Repeat("GET big\r\n", 1500)
	for _, a := range []struct {
		name, request string
		times         int
	}{
		{"large replies", "GET big\r\n", 20_000},
		{"small replies", "GET small\r\n", 20_000},
		{"replies of 16 MiB", "MGET" + strings.Repeat(" big", 16) + "\r\n", 10_000},
		{"a reply of 1.5 GiB", "MGET" + strings.Repeat(" big", 1500) + "\r\n", 1},
		{"a transaction's reply of 1.5 GiB", "MULTI\r\n" + gets + "EXEC\r\n", 1},
		{"replies of 1.5 GiB behind a write", "INCR n\r\n" + gets, 1},
	} {
		v.attack(t, a.name, func(t *testing.T) {
			for range 10 {
				c := v.Dial(t)
				c.Timeout = time.Second
				if err := c.Send([]byte(strings.Repeat(a.request, a.times))); err != nil &&
					!redistest.IsClosed(err) && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
			}
			v.checkOthers(t)
			// 10 clients of at most 32 MiB, twice while a buffer grows, and what the allocator keeps.
			allowed := int64(1000 << 20)
			if os.Getenv("QUIPU_TEST_RACE") != "" {
				allowed *= 4 // the race detector shadows memory in several times its size
			}
			if after, err := v.RSS(); err != nil || after > before+allowed {
				t.Errorf("memory grew from %d to %d MiB (%v)", before>>20, after>>20, err)
			}
			// checkRecovered waits until all are closed, by the server.
		})
	}
}

// TestMillionCommandsBeforeReading sends a million commands and reads only then.
func TestMillionCommandsBeforeReading(t *testing.T) {
	v := newVictim(t)
	n := 1_000_000
	if testing.Short() {
		n = 200_000
	}
	v.attack(t, "INCR", func(t *testing.T) {
		c := v.Dial(t)
		c.Timeout = 2 * time.Minute
		if err := c.Send([]byte(strings.Repeat("INCR a\r\n", n))); err != nil {
			t.Fatalf("sending: %v", err)
		}
		for i := range n {
			r, err := c.ReadRaw()
			if err != nil {
				t.Fatalf("after %d replies: %v", i, err)
			}
			if want := fmt.Sprintf(":%d\r\n", i+1); string(r) != want {
				t.Fatalf("reply %d is %q", i+1, r)
			}
		}
		c.Close()
	})
}

// TestManyConnections opens as many connections as the node takes, and some more.
func TestManyConnections(t *testing.T) {
	limit := 10_000
	if testing.Short() {
		limit = 500
	}
	v := newVictim(t, "--maxclients", fmt.Sprint(limit))
	v.attack(t, "maxclients", func(t *testing.T) {
		conns := make([]*redistest.Conn, 0, limit)
		defer func() {
			for _, c := range conns {
				c.Close()
			}
		}()
		for len(conns) < limit {
			c, err := redistest.Dial(v.Addr)
			if err != nil {
				t.Skipf("this machine cannot open %d connections: %v", limit, err)
			}
			conns = append(conns, c)
			if len(conns)%1000 == 0 || len(conns) == limit {
				if r := do(t, c, "PING"); r.Text != "PONG" {
					t.Fatalf("connection %d: %v", len(conns), r)
				}
			}
		}
		for range 20 {
			c := v.Dial(t)
			r, err := c.Read()
			if err != nil || r.Text != "ERR max number of clients reached" {
				t.Fatalf("connection above maxclients: %v, %v", r, err)
			}
			if err := c.ReadEOF(); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := do(t, conns[0], "INCR", "n").Int()
		for i, c := range conns {
			if i%97 == 0 {
				if after, _ := do(t, c, "INCR", "n").Int(); after != before+1 {
					t.Fatalf("connection %d: %d after %d", i, after, before)
				}
				before++
			}
		}
		// A place that becomes free is given to the next.
		conns[len(conns)-1].Close()
		eventually(t, prompt, func() (string, bool) {
			c, err := redistest.Dial(v.Addr)
			if err != nil {
				return err.Error(), false
			}
			defer c.Close()
			r, err := c.Do("PING")
			return fmt.Sprint(r, err), err == nil && r.Text == "PONG"
		})
	})
}

// TestConnectionStorm opens and drops connections as fast as it can, politely and not, while another client counts.
func TestConnectionStorm(t *testing.T) {
	v := newVictim(t)
	v.attack(t, "storm", func(t *testing.T) {
		var wg sync.WaitGroup
		var opened atomic.Int64
		for i := range 8 {
			wg.Go(func() {
				for j := range 500 {
					nc, err := net.Dial("tcp", v.Addr)
					if err != nil {
						continue
					}
					opened.Add(1)
					switch (i + j) % 4 {
					case 0:
						_, _ = nc.Write([]byte("INCR storm\r\n"))
					case 1:
						_ = nc.(*net.TCPConn).SetLinger(0) // a reset instead of a FIN
					case 2:
						_, _ = nc.Write([]byte("*2\r\n$3\r\nGET\r\n$1"))
						_ = nc.(*net.TCPConn).SetLinger(0)
					}
					nc.Close()
				}
			})
		}
		c := v.Dial(t)
		c.Timeout = prompt
		for i := range 200 {
			if r := do(t, c, "INCR", "during"); r.Text != fmt.Sprint(i+1) {
				t.Fatalf("INCR %d during the storm: %v", i+1, r)
			}
		}
		wg.Wait()
		c.Close()
		if opened.Load() < 3000 {
			t.Errorf("only %d connections were accepted", opened.Load())
		}
	})
}

// TestSlowCommands runs what touches every key of a large database while others want to be served.
func TestSlowCommands(t *testing.T) {
	v := newVictim(t)
	c := v.Dial(t)
	n := redistest.Size(50_000, 100_000, 300_000)
	for i := 0; i < n; i += 5000 {
		var commands [][]string
		for j := range 5000 {
			commands = append(commands, []string{"SET", fmt.Sprint("key:", i+j), "1"})
		}
		if _, err := c.Pipeline(commands...); err != nil {
			t.Fatal(err)
		}
	}
	v.attack(t, "KEYS", func(t *testing.T) {
		for range 5 {
			if err := c.SendCommand("KEYS", "*"); err != nil {
				t.Fatal(err)
			}
			v.checkOthers(t)
			if r, err := c.Read(); err != nil || len(r.Elems) < n {
				t.Fatalf("KEYS: %d keys, %v", len(r.Elems), err)
			}
		}
		if err := c.SendCommand("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
		v.checkOthers(t)
		if r, err := c.Read(); err != nil || r.Text != "OK" {
			t.Fatalf("FLUSHALL: %v, %v", r, err)
		}
		c.Close()
	})
}
