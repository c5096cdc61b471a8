package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/connect/internal/testbed"
)

// recounted runs recount as a process, and returns what it wrote, and its exit status.
func recounted(t *testing.T, args ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, testbed.Program(t, "./cmd/quipu-connect"), append([]string{"recount"}, args...)...)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// expectRecount demands an exit status and texts. Blanks of a report are one.
func expectRecount(t *testing.T, wanted int, texts []string, args ...string) {
	t.Helper()
	out, status := recounted(t, args...)
	plain := strings.Join(strings.Fields(out), " ")
	for _, text := range texts {
		if !strings.Contains(plain, text) {
			t.Errorf("recount %v does not say %q", args, text)
		}
	}
	if status != wanted {
		t.Errorf("recount %v ends with status %d, want %d", args, status, wanted)
	}
	if t.Failed() {
		t.Fatalf("it says\n%s", out)
	}
}

// values compares counters with what they should be.
func values(t *testing.T, c *redis.Client, want map[string]int64) {
	t.Helper()
	for key, n := range want {
		got, err := c.Get(t.Context(), key).Int64()
		if err != nil && !errors.Is(err, redis.Nil) || got != n {
			t.Errorf("%s is %d, %v, want %d", key, got, err, n)
		}
	}
}

// gate stands before a server. It holds the transaction with the number at, of those that have a text in them, until open is closed; held is
// closed when it is there. With late it is let through, and its answer is held.
type gate struct {
	addr string
	text string
	at   int
	late bool
	held chan struct{}
	open chan struct{}

	mu   sync.Mutex
	seen int
}

func newGate(t *testing.T, server, text string, at int, late bool) *gate {
	g := &gate{text: text, at: at, late: late, held: make(chan struct{}), open: make(chan struct{})}
	hold := func() {
		close(g.held)
		<-g.open
	}
	g.addr = testbed.Relay(t, server, func() testbed.Traffic {
		answers := make(chan struct{}, 1) // taken while one is held
		return testbed.Traffic{
			Request: func(sent []byte) bool {
				switch {
				case !g.stops(sent):
				case g.late:
					answers <- struct{}{}
				default:
					hold()
				}
				return true
			},
			Answer: func([]byte) bool {
				select {
				case <-answers: // of the transaction: it is applied
					hold()
				default:
				}
				return true
			},
		}
	})
	return g
}

// stops reports whether what is sent is the transaction to be held.
func (g *gate) stops(sent []byte) bool {
	sent = bytes.ToUpper(sent)
	if !bytes.Contains(sent, []byte("\r\nEXEC\r\n")) || !bytes.Contains(sent, []byte(g.text)) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen++
	return g.seen == g.at
}

const (
	increments = "INCRBY" // in a gate: of transactions that repair
	reads      = "PEXPIRETIME"
)

// repairs is a file that is counted, with keys that differ.
type repairs struct {
	*testing.T
	server *testbed.Quipu
	c      *redis.Client
	log    string
	want   map[string]int64
}

const repairKeys = 40

func newRepairs(t *testing.T, nodes int) *repairs {
	r := &repairs{T: t, server: testbed.StartQuipu(t, nodes), want: map[string]int64{}}
	r.c = r.server.Client(r.server.Leader())
	var text strings.Builder
	for i := range repairKeys {
		for range i + 1 {
			fmt.Fprintf(&text, "{\"k\":\"%d\"}\n", i)
		}
		r.want[fmt.Sprintf("n:%d", i)] = int64(i + 1)
	}
	r.log = write(t, "log.jsonl", text.String())
	if _, _, err := play(t, "", "run", "-until-end", r.conf(r.server.Addrs[0])); err != nil {
		t.Fatal(err)
	}
	return r
}

// conf is the configuration for nodes.
func (r *repairs) conf(addr ...string) string {
	return write(r.T, "t.conf", fmt.Sprintf("quipu %s\nsource s\n  file %s\n  INCR n:{k}\n", strings.Join(addr, " "), r.log))
}

// spoil makes all keys differ.
func (r *repairs) spoil() {
	r.Helper()
	pipe := r.c.Pipeline()
	for i := range repairKeys {
		pipe.IncrBy(r.Context(), fmt.Sprintf("n:%d", i), int64(i%7-10))
	}
	if _, err := pipe.Exec(r.Context()); err != nil {
		r.Fatal(err)
	}
}

// chunk is how many chunks the last run has repaired.
func (r *repairs) chunk() (n int) {
	r.Helper()
	at, err := r.c.Do(r.Context(), "INGEST", "POSITION", "recount:s").StringSlice()
	if err != nil || len(at) != 2 {
		r.Fatalf("the position of repairs is %q, %v", at, err)
	}
	run := ""
	if _, err := fmt.Sscan(at[1], &run, &n); err != nil {
		r.Fatalf("the position of repairs is %q: %v", at, err)
	}
	return n
}

// restored is a server with the state that another one has now: from a backup.
func restored(t *testing.T, of *testbed.Quipu) *testbed.Quipu {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup")
	again := testbed.StartQuipu(t, 1)
	again.Kill(0)
	node := again.Nodes[0]
	dir := node.Args[slices.Index(node.Args, "--dir")+1]
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"backup", file, "--addr", of.Addrs[0]}, {"restore", file, "--dir", dir}} {
		if out, err := exec.Command(node.Path, args...).CombinedOutput(); err != nil {
			t.Fatalf("quipu %v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	again.Start(0)
	return again
}
