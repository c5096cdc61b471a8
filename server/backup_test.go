package server

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// readBackup takes a backup through a connection, in small pieces.
func readBackup(t *testing.T, c *redistest.Conn) []byte {
	t.Helper()
	begun, err := c.Do("BACKUP", "BEGIN")
	if err != nil || len(begun.Elems) != 2 {
		t.Fatal(begun, err)
	}
	size, _ := begun.Elems[1].Int()
	var b []byte
	for int64(len(b)) < size {
		piece, err := c.Do("BACKUP", "READ", fmt.Sprint(len(b)), "1000")
		if err != nil || piece.IsError() || piece.Text == "" {
			t.Fatalf("at %d of %d: %v, %v", len(b), size, piece, err)
		}
		b = append(b, piece.Text...)
	}
	if len(b) != int(size) {
		t.Fatalf("%d bytes of %d", len(b), size)
	}
	return b
}

// TestBackup: a backup from a node that does not lead has what was answered before by another node; restored, it is a cluster of its
// own. A file that is damaged is refused.
func TestBackup(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	writer, reader := c.nodes[lead].dial(), c.nodes[(lead+1)%3].dial()
	expect(t, reader, "BACKUP READ 0 10", "-ERR no backup is open", "BACKUP END", "+OK\r\n")
	var b []byte
	for i := 1; i <= 5; i++ {
		expect(t, writer, "INCR k", fmt.Sprintf(":%d\r\n", i), "SET text x EX 1000", "+OK\r\n", "PFADD h a b c", "")
		b = readBackup(t, reader)
		old := c.nodes[lead].srv.replicas[0].Group.Status().Incarnation

		path := filepath.Join(t.TempDir(), "backup")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := testConfig(t, func(cfg *config.Config) { cfg.Dir = redistest.FastDir(t) })
		var told bytes.Buffer
		if err := Restore(cfg, path, &told); err != nil {
			t.Fatal(err)
		}
		if err := Restore(cfg, path, &told); err == nil || !strings.Contains(err.Error(), "has data already") {
			t.Errorf("restored over data: %v", err)
		}
		srv, err := New(t.Context(), cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := runNode(t, srv)
		expect(t, n.dial(), "GET k", bulk(fmt.Sprint(i)), "GET text", bulk("x"), "PFCOUNT h", ":3\r\n", "INCR k", fmt.Sprintf(":%d\r\n", i+1))
		if now := srv.replicas[0].Group.Status().Incarnation; now == old || now == "" {
			t.Errorf("incarnation %q, that of the cluster was %q", now, old)
		}
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	}
	expect(t, reader, "BACKUP END", "+OK\r\n", "BACKUP READ 0 10", "-ERR no backup is open")
	for _, at := range []int{9, len(b) / 2, len(b) - 3} {
		path := filepath.Join(t.TempDir(), "damaged")
		bad := bytes.Clone(b)
		bad[at] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := VerifyBackup(path); err == nil {
			t.Errorf("byte %d of %d changed, and it is taken for sound", at, len(b))
		}
	}
}

// TestForgetKeepsMajority: no node is taken out whose going would leave no majority; one that is down may go.
func TestForgetKeepsMajority(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	id := func(i int) string { return c.nodes[i].srv.replicas[0].Group.Status().NodeID }
	down, up := id((lead+1)%3), id((lead+2)%3)
	c.stop((lead + 1) % 3)
	conn := c.nodes[lead].dial()
	eventually(t, "the leader to notice", func() bool {
		return strings.Contains(call(t, conn, "CLUSTER STATUS"), "down")
	})
	if got := call(t, conn, "CLUSTER FORGET "+up); !strings.Contains(got, "no majority") {
		t.Errorf("FORGET of the other node that is up: %q", got)
	}
	expect(t, conn, "CLUSTER FORGET "+down, "+OK\r\n", "INCR k", ":1\r\n")
}

// TestBackupCloses: the file of a backup is let go of whatever becomes of its client.
func TestBackupCloses(t *testing.T) {
	n := startNode(t, nil)
	for range 5 {
		c := n.dial()
		send(t, c, "CLIENT REPLY OFF", "INCR a", "BACKUP BEGIN", "CLIENT REPLY ON")
		checkReply(t, "CLIENT REPLY ON", readRaw(t, c), "+OK\r\n")
		c.Close()
		c = n.dial()
		send(t, c, "INCR a", "BACKUP BEGIN")
		c.Close()
	}
	c := n.dial()
	eventually(t, "old snapshots to go", func() bool {
		expect(t, c, "INCR a", "", "SAVE", "+OK\r\n")
		files, err := filepath.Glob(filepath.Join(n.srv.config().Dir, "group", "snapshots", "*.snap"))
		return err == nil && len(files) <= 2
	})
}

// TestRecoveredSeed: what is recovered of a log without a snapshot keeps the seed of the key hash. It cannot be guessed, and regions know the
// data by it.
func TestRecoveredSeed(t *testing.T) {
	dir := redistest.FastDir(t)
	n := startNode(t, func(c *config.Config) { c.Dir = dir })
	expect(t, n.dial(), "INCR k", ":1\r\n")
	was := n.srv.replicas[0].Keyspace.Seed()
	killed := filepath.Join(t.TempDir(), "killed") // a node that stops in order leaves a snapshot
	redistest.CopyDir(t, dir, killed)
	cfg := testConfig(t, func(cfg *config.Config) { cfg.Dir = redistest.FastDir(t) })
	if err := Recover(cfg, killed, io.Discard); err != nil {
		t.Fatal(err)
	}
	srv, err := New(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	again := runNode(t, srv)
	expect(t, again.dial(), "INCR k", ":2\r\n")
	if is := again.srv.replicas[0].Keyspace.Seed(); is != was {
		t.Errorf("the seed is %x, it was %x", is, was)
	}
}

// TestRecover: what one node of a stopped cluster has is found, also where its last entry has it take a checksum, and a directory
// without data is left alone.
func TestRecover(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	lead := c.leader()
	conn := c.nodes[lead].dial()
	for i := range 2000 {
		send(t, conn, fmt.Sprintf("SET key%d %s", i, strings.Repeat("x", 100)))
	}
	for range 2000 {
		checkReply(t, "SET", readRaw(t, conn), "+OK\r\n")
	}
	expect(t, conn, "INCR k", ":1\r\n", "CLUSTER COMPARE", "+OK\r\n")
	c.agree()
	var stops sync.WaitGroup
	for i := range 3 {
		stops.Go(func() { c.stop(i) })
	}
	stops.Wait()
	from := c.configs[lead].Dir
	cfg := config.Default()
	cfg.Dir = ""
	var told bytes.Buffer
	for range 20 {
		if err := Recover(cfg, from, &told); err != nil {
			t.Fatal(err)
		}
	}
	cfg = testConfig(t, func(cfg *config.Config) { cfg.Dir = redistest.FastDir(t) })
	if err := Recover(cfg, from, &told); err != nil || !strings.Contains(told.String(), "of a cluster of 3") {
		t.Fatal(err, told.String())
	}
	srv, err := New(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := runNode(t, srv)
	expect(t, n.dial(), "INCR k", ":2\r\n", "DBSIZE", ":2001\r\n")
	none := filepath.Join(t.TempDir(), "none")
	if err := Recover(cfg, none, &told); err == nil {
		t.Error("recovered from nothing")
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a directory was made")
	}
}
