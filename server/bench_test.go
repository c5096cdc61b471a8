package server

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// hotCommands are those that must not allocate, from socket to socket. A line of
// their replies is counted; a bulk reply has two.
var hotCommands = []struct {
	name    string
	command string // %d: the number of a key
	lines   int
}{
	{"INCR", "INCR key:%06d", 1},
	{"INCR_hot", "INCR hot", 1},
	{"INCRBY", "INCRBY key:%06d 3", 1},
	{"GET", "GET key:%06d", 2},
	{"SET", "SET key:%06d 12345", 1},
	{"PFADD", "PFADD elements item:%06d", 1}, // none of which is new from the second burst on
}

// pipelineClient sends one burst of commands again and again and counts the lines
// of the replies. It allocates nothing, so whatever is allocated is the node's.
type pipelineClient struct {
	conn  *redistest.Conn
	burst []byte
	lines int // that answer one burst
	buf   []byte
}

// hotDepth is the commands of one burst. What is allocated once for each commit
// (by Raft and its log, some dozen objects) is shared by that many.
const hotDepth = 1000

func newPipelineClient(conn *redistest.Conn, command string, lines int) *pipelineClient {
	p := &pipelineClient{conn: conn, lines: lines * hotDepth, buf: make([]byte, 64<<10)}
	for i := range hotDepth {
		text := command
		if strings.Contains(text, "%") {
			text = fmt.Sprintf(command, i)
		}
		p.burst = redistest.AppendCommand(p.burst, strings.Fields(text)...)
	}
	return p
}

// roundTrip uses the connection below the deadlines of redistest: setting one
// allocates.
func (p *pipelineClient) roundTrip(tb testing.TB) {
	if _, err := p.conn.Conn.Write(p.burst); err != nil {
		tb.Fatal(err)
	}
	for seen := 0; seen < p.lines; {
		n, err := p.conn.Conn.Read(p.buf)
		if err != nil {
			tb.Fatal(err)
		}
		if n > 0 && seen == 0 && p.buf[0] == '-' {
			tb.Fatalf("error reply %.200q", p.buf[:n])
		}
		seen += bytes.Count(p.buf[:n], []byte{'\n'})
	}
}

// startHot starts a node and fills its counters, so that GET finds them.
func startHot(tb testing.TB, change func(*config.Config)) *testNode {
	n := startNode(tb, change)
	newPipelineClient(n.dial(), "SET key:%06d 20000", 1).roundTrip(tb)
	return n
}

// BenchmarkPipeline measures one client that pipelines, over loopback, into a
// node on disk: time and allocations of the whole process for each command.
func BenchmarkPipeline(b *testing.B) {
	n := startHot(b, func(c *config.Config) { c.SegmentBytes = 64 << 20 })
	for _, h := range hotCommands {
		b.Run(h.name, func(b *testing.B) {
			p := newPipelineClient(n.dial(), h.command, h.lines)
			p.roundTrip(b)
			b.ReportAllocs()
			b.ResetTimer()
			for sent := 0; sent < b.N; sent += hotDepth { // the last burst is sent whole
				p.roundTrip(b)
			}
		})
	}
}

// TestHotCommandsDoNotAllocate counts objects rather than time: one for each
// command would be hotDepth in a burst.
func TestHotCommandsDoNotAllocate(t *testing.T) {
	n := startHot(t, nil)
	for _, h := range hotCommands {
		p := newPipelineClient(n.dial(), h.command, h.lines)
		const bursts = 50
		for range bursts { // buffers grow to their size
			p.roundTrip(t)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range bursts {
			p.roundTrip(t)
		}
		runtime.ReadMemStats(&after)
		each := float64(after.Mallocs-before.Mallocs) / (bursts * hotDepth)
		t.Logf("%s: %.3f objects for each command", h.name, each)
		if each > 0.5 {
			t.Errorf("%s: %.3f objects for each command, want only those of the commit", h.name, each)
		}
	}
}
