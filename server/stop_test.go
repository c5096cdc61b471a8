package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/config"
)

// TestGracefulStop stops a node right behind commands: they are answered, a snapshot is there, and a node that opens the
// directory again has every count.
func TestGracefulStop(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		dir := t.TempDir()
		inDir := func(c *config.Config) { transport(c); c.Dir = dir }
		n := startNode(t, inDir)
		c := n.dial()
		const count = 500
		var commands []string
		for range count {
			commands = append(commands, "INCR a", "GET a")
		}
		send(t, c, commands...)
		checkReply(t, "INCR", readRaw(t, c), ":1\r\n")
		checkReply(t, "GET", readRaw(t, c), "$1\r\n1\r\n")
		eventually(t, "all commands to be taken", func() bool { return n.srv.totalCalls() >= 2*count }) // they may come in several pieces
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		for i := 2; i <= count; i++ {
			checkReply(t, "INCR", readRaw(t, c), fmt.Sprintf(":%d\r\n", i))
			checkReply(t, "GET", readRaw(t, c), bulk(fmt.Sprint(i)))
		}
		expectClosed(t, c, "")
		if n.srv.replicas[0].Group.Status().SnapshotIndex == 0 {
			t.Error("no snapshot was taken")
		}
		again := startNode(t, inDir)
		expect(t, again.dial(), "GET a", bulk(fmt.Sprint(count)), "INCR a", fmt.Sprintf(":%d\r\n", count+1))
	})
}

// TestStopUnderLoad stops a node while clients go on sending: what was acknowledged is there afterwards.
func TestStopUnderLoad(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		dir := t.TempDir()
		inDir := func(c *config.Config) { transport(c); c.Dir = dir }
		n := startNode(t, inDir)
		const clients = 4
		var acknowledged [clients]int
		var started, group sync.WaitGroup
		for id := range clients {
			c := n.dial()
			started.Add(1)
			group.Go(func() {
				for first := true; ; first = false {
					replies, err := c.Pipeline([]string{"INCR", fmt.Sprint("k", id)}, []string{"INCR", fmt.Sprint("k", id)}, []string{"KEYS", "x"})
					for _, r := range replies {
						if v, err := r.Int(); err == nil && r.Type == ':' {
							acknowledged[id] = int(v)
						}
					}
					if first {
						started.Done()
					}
					if err != nil {
						return
					}
				}
			})
		}
		started.Wait()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		group.Wait()
		again := startNode(t, inDir)
		c := again.dial()
		for id, want := range acknowledged {
			r, err := c.Do("GET", fmt.Sprint("k", id))
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := r.Int(); int(got) < want {
				t.Errorf("client %d was told %d, the node has %d", id, want, got)
			}
		}
	})
}

func TestShutdownCommand(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startNode(t, transport)
		c, waiting := n.dial(), n.dial()
		send(t, waiting, "WAIT 1 0")
		eventually(t, "a client that waits", func() bool { return n.srv.stats.blocked.Load() == 1 })
		expect(t, c, "SHUTDOWN NONSENSE", "-ERR syntax error\r\n")
		send(t, c, "INCR a", "SHUTDOWN", "INCR a")
		checkReply(t, "INCR", readRaw(t, c), ":1\r\n")
		expectClosed(t, c, "")
		if err := n.wait(); err != nil {
			t.Error(err)
		}
		expectClosed(t, waiting, "")
		if v, _ := n.srv.replicas[0].Group.Status(), 0; v.SnapshotIndex == 0 {
			t.Error("no snapshot was taken")
		}
	})
}

// TestStopWhileGathering stops a node in the middle of a turn that has read an increment and not yet handed it over.
func TestStopWhileGathering(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startNode(t, transport)
		c := n.dial()
		expect(t, c, "PING", "+PONG\r\n")
		s := n.session(c)
		gathered, goOn := make(chan struct{}), make(chan struct{})
		s.worker.loop.Post(func() {
			s.Process([]byte("INCR a\r\n"), 0)
			close(gathered)
			<-goOn
		})
		<-gathered
		n.cancel()
		eventually(t, "the node to read no more", n.srv.draining.Load)
		time.Sleep(50 * time.Millisecond) // in which a node that does not wait refuses everything
		close(goOn)
		checkReply(t, "INCR", readRaw(t, c), ":1\r\n")
		if err := n.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestReplyThatIsSlowlyTaken has a client read its replies only after the node began to stop.
func TestReplyThatIsSlowlyTaken(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startNode(t, transport)
		c := n.dial()
		big := strings.Repeat("x", 1<<20)
		if got := callArgs(t, c, "SET", "big", big); got != "+OK\r\n" {
			t.Fatal(got)
		}
		var all []string
		for range 12 { // more than the sockets' buffers hold
			all = append(all, "GET big")
		}
		send(t, c, all...)
		eventually(t, "replies that wait", func() bool { return n.srv.stats.bytesOut.Sum() > 1<<20 })
		n.cancel()
		eventually(t, "the node to begin to stop", n.srv.draining.Load)
		var whole int
		for {
			raw, err := c.ReadRaw()
			if err != nil {
				break
			}
			if len(raw) != len(bulk(big)) {
				t.Fatalf("a reply of %d bytes", len(raw))
			}
			whole++
		}
		if err := n.wait(); err != nil {
			t.Error(err)
		}
		if ran := n.srv.commandCalls()[n.srv.table.Lookup([]byte("get")).ID()]; int64(whole) != ran {
			t.Errorf("%d commands ran, %d replies arrived", ran, whole)
		}
	})
}

func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, func(c *config.Config) { c.Dir = dir })
	if _, err := New(t.Context(), testConfig(t, func(c *config.Config) { c.Dir = dir }), nil); err == nil {
		t.Error("two nodes opened one data directory")
	}
	// A port in use: everything that was opened is closed again.
	port := n.srv.Addr().String()[strings.LastIndex(n.srv.Addr().String(), ":")+1:]
	cfg := testConfig(t, nil)
	if err := cfg.Set("port", port); err != nil {
		t.Fatal(err)
	}
	srv, err := New(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-srv.replicas[0].Group.Ready() // Raft leaves goroutines behind when it is stopped while it starts
	if err := srv.Run(t.Context()); err == nil || !strings.Contains(err.Error(), port) {
		t.Errorf("Run on a port in use: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), testConfig(t, func(c *config.Config) { c.Dir = file }), nil); err == nil {
		t.Error("a file serves as data directory")
	}
}
