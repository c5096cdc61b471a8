//go:build linux

package server

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/transport"
)

// benchLoop is a loop and a link for a session without a socket.
type benchLoop struct{}

func (benchLoop) Post(func()) {}
func (benchLoop) Completed()  {}
func (benchLoop) Resume()     {}
func (benchLoop) Interrupt()  {}

const benchKeys = 1_000_000

// newBenchSession returns a session of a node at ack level local with a million counters.
func newBenchSession(b *testing.B, change func(*config.Config)) *Session {
	n := startGroupNode(b, &testGroup{}, func(c *config.Config) {
		c.AckLocal = true
		if change != nil {
			change(c)
		}
	})
	t := n.srv.replicas[0].Keyspace.Txn(0, 1, true)
	for i := range benchKeys {
		t.SetInt(fmt.Appendf(nil, "likes:post:%08d", i), 20_000, 0)
	}
	w := newWorker(n.srv, benchLoop{}, make([]atomic.Int64, len(n.srv.table.All())))
	return newSession(w, benchLoop{}, transport.Peer{Trusted: true})
}

// benchPipelines are packets of 100 commands on random keys.
func benchPipelines(command string, keys uint64) [][]byte {
	packets := make([][]byte, 2000)
	r := uint64(1)
	for i := range packets {
		for range 100 {
			r = r*6364136223846793005 + 1442695040888963407
			packets[i] = redistest.AppendCommand(packets[i], command, fmt.Sprintf("likes:post:%08d", r>>33%keys))
		}
	}
	return packets
}

// processCPU is the CPU time of the process, interval goroutine and log included.
func processCPU() time.Duration {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkSession is a command's way from the bytes received to the bytes to be sent. cpu-ns/op has everything that
// follows from it on other goroutines as well.
func BenchmarkSession(b *testing.B) {
	for _, c := range []struct {
		name, command string
		keys          uint64
	}{{"INCR", "INCR", benchKeys}, {"INCR hot", "INCR", 1}, {"GET", "GET", benchKeys}} {
		b.Run(c.name, func(b *testing.B) {
			s := newBenchSession(b, nil)
			packets := benchPipelines(c.command, c.keys)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := processCPU()
			for i := 0; i*100 < b.N; i++ {
				packet := packets[i%len(packets)]
				if used := s.Process(packet, 0); used != len(packet) || s.pending() {
					b.Fatalf("%d of %d bytes used, pending: %v", used, len(packet), s.pending())
				}
				s.worker.CarryOut()
				s.out.B = s.out.B[:0]
			}
			b.ReportMetric(float64(processCPU()-cpu)/float64(b.N), "cpu-ns/op")
			b.StopTimer()
			s.srv.replicas[0].Keyspace.CloseAhead()
		})
	}
}
