//go:build linux

package systest

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestMemoryAfterLoad loads counters through one connection as fast as it can, and then waits: what the load has left
// behind beside the data is given back, although somebody looks at the node all the time.
func TestMemoryAfterLoad(t *testing.T) {
	t.Parallel()
	n := redistest.Size(500_000, 1_000_000, 3_000_000)
	for _, level := range []string{"quorum", "local"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			// The race detector makes the node so slow that writes of a deep pipeline would time out.
			s := redistest.Quipu{Flags: []string{"--ack", level, "--write-timeout", "60s"}}.Start(t)
			c := s.Dial(t)
			load(t, s, n)
			if r := do(t, c, "DBSIZE"); r.Text != strconv.Itoa(n) {
				t.Fatalf("%v keys, %d were counted", r, n)
			}
			mapped := infoField(t, c, "data_mapped")
			beside := func() int64 { return memoryBeside(t, s, c, mapped) }
			t.Logf("after the load: %.1f MiB of data, %.1f resident beside it", mib(mapped), mib(beside()))
			// The program's own pages are 11 to 12 MiB of it. Where the end of a region, or a hole in it, lies in a huge page, all
			// of that page is resident: that is the data's share (engine/pages.go).
			const region, hugePage = 64 << 20, 2 << 20
			allowed := 20<<20 + (mapped+region-1)/region*hugePage
			eventually(t, 40*time.Second, func() (string, bool) {
				left := beside()
				state := fmt.Sprintf("%.1f MiB resident beside the data, at most %.1f are expected", mib(left), mib(allowed))
				if left <= allowed {
					t.Log("at rest:", state)
				}
				return state, left <= allowed
			})
			if r := do(t, c, "INCRBY", "key:7", "0"); r.Text != "7" {
				t.Errorf("key:7 is %v", r)
			}
		})
	}
}

// memoryBeside is what a node with so many bytes of data mapped has resident beside it. Under the race detector, whose
// shadow memory stays resident, it is what Go's runtime holds.
func memoryBeside(t *testing.T, s *redistest.Server, c *redistest.Conn, mapped int64) int64 {
	t.Helper()
	if os.Getenv("QUIPU_TEST_RACE") != "" {
		const ballast = 16 << 20 // never touched (server/process.go)
		return infoField(t, c, "go_sys_bytes") - ballast
	}
	do(t, c, "PING")
	resident, err := s.RSS()
	if err != nil {
		t.Fatal(err)
	}
	return resident - mapped
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// load increments n counters by 7 through one connection, without waiting for replies.
func load(t *testing.T, s *redistest.Server, n int) {
	t.Helper()
	c := s.Dial(t)
	defer c.Close()
	c.Timeout = time.Minute
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(c, 1<<20)
		var command []byte
		for i := range n {
			command = redistest.AppendCommand(command[:0], "INCRBY", "key:"+strconv.Itoa(i), "7")
			if _, err := w.Write(command); err != nil {
				break // Flush returns it too
			}
		}
		sent <- w.Flush()
	}()
	for i := range n {
		if r, err := c.ReadRaw(); err != nil || string(r) != ":7\r\n" {
			t.Fatalf("reply %d: %q, %v", i, r, err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// infoField is a number of INFO.
func infoField(t *testing.T, c *redistest.Conn, name string) int64 {
	t.Helper()
	for line := range strings.Lines(do(t, c, "INFO", "memory").Text) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("INFO has no %s", name)
	return 0
}
