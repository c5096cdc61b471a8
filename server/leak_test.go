package server

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/config"
	"quipu/replication"
)

// TestNothingIsLeftBehind has clients send random pipelines at both levels, some of which leave without reading their
// replies, while entries wait, fail, are given up and are refused. What writes set up beside the log is gone afterwards.
func TestNothingIsLeftBehind(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n, g := localNode(t, func(c *config.Config) {
			transport(c)
			c.LocalInterval, c.WriteTimeout = time.Millisecond, 20*time.Millisecond
		})
		var stop atomic.Bool
		var clients sync.WaitGroup
		for id := range 6 {
			r := rand.New(rand.NewPCG(uint64(id), 3))
			clients.Go(func() {
				for !stop.Load() {
					leaveEarly(t, n, r)
				}
			})
		}
		r := rand.New(rand.NewPCG(7, 7))
		for range 60 {
			g.hold()
			time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
			switch r.IntN(4) {
			case 0:
				g.abandon()
			case 1:
				g.refuse(replication.ErrNotLeader)
				g.release()
				time.Sleep(3 * time.Millisecond)
				g.refuse(nil)
			}
			g.release()
			time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
		}
		stop.Store(true)
		clients.Wait()
		rep := n.srv.replicas[0]
		eventually(t, "everything to end", func() bool {
			return n.srv.queued() == 0 && !rep.Keyspace.HasAhead() && len(n.srv.clients.all()) == 0
		})
		eventually(t, "watchers and budgets to go", func() bool { return n.srv.watches.count.Load() == 0 && n.srv.bulk.bytes.Load() == 0 })
		n.check()
		c := n.dial()
		expect(t, c, "SET k 1", "+OK\r\n", "INCR k", ":2\r\n", "CLIENT ACK QUORUM", "+OK\r\n", "GET k", bulk("2"))
		if !rep.MayAnswerAhead() {
			t.Error("increments are not answered ahead any more")
		}
	})
}

// leaveEarly is a connection that sends some pipelines, reads a few replies, and goes.
func leaveEarly(t *testing.T, n *testNode, r *rand.Rand) {
	c := n.dial()
	defer c.Close()
	for range 1 + r.IntN(4) {
		var list []string
		for range 1 + r.IntN(20) {
			k := fmt.Sprint("k", r.IntN(5))
			switch r.IntN(10) {
			case 0:
				list = append(list, "WATCH "+k, "MULTI", "SET "+k+" 1", "GET "+k, "SELECT 0", "EXEC")
			case 1:
				list = append(list, "WATCH "+k, "MULTI", "GET "+k, "EXEC", "MULTI", "DEL "+k, "EXEC")
			case 2:
				list = append(list, "FLUSHALL")
			case 3:
				list = append(list, "SET "+k+" 5 PX 20", "MGET "+k+" "+k)
			case 4:
				list = append(list, "DEL "+k, "DBSIZE")
			case 5:
				list = append(list, "CLIENT ACK "+[]string{"quorum", "local"}[r.IntN(2)])
			case 6:
				list = append(list, "CLIENT REPLY "+[]string{"SKIP", "OFF", "ON"}[r.IntN(3)])
			default:
				list = append(list, "INCR "+k)
			}
		}
		send(t, c, list...)
		if r.IntN(2) == 0 {
			time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
		}
	}
}
