package server

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quipu/config"
	"quipu/internal/redistest"
)

// localModel is what a node at both levels should say to clients that take turns. The log can be held; then only what
// does not need it is asked.
type localModel struct {
	t      *rapid.T
	tb     *testing.T
	n      *testNode
	g      *testGroup
	local  *redistest.Conn
	quorum *redistest.Conn
	all    map[string]int64 // with what is answered ahead
	held   bool
}

func (m *localModel) ask(c *redistest.Conn, command, want string) {
	if err := c.SendCommand(strings.Fields(command)...); err != nil {
		m.t.Fatalf("%s: %v", command, err)
	}
	if got, err := c.ReadRaw(); err != nil || string(got) != want {
		m.t.Fatalf("%s: %q, %v, want %q", command, got, err, want)
	}
}

// exec runs a transaction of one command.
func (m *localModel) exec(command, want string) {
	send(m.tb, m.quorum, "MULTI", command, "EXEC")
	want = "+OK\r\n+QUEUED\r\n" + want
	if got := readRaw(m.tb, m.quorum) + readRaw(m.tb, m.quorum) + readRaw(m.tb, m.quorum); got != want {
		m.t.Fatalf("%s in a transaction: %q, want %q", command, got, want)
	}
}

func (m *localModel) value(key string) string {
	if v, ok := m.all[key]; ok {
		return bulk(fmt.Sprint(v))
	}
	return "$-1\r\n"
}

func (m *localModel) step() {
	key := rapid.SampledFrom([]string{"a", "b", "{a}b", "c"}).Draw(m.t, "key")
	ops := []string{"local", "local", "local", "get", "hold"}
	if !m.held {
		ops = append(ops, "incr", "del", "set", "rename", "exec", "flush", "dbsize", "ack", "take", "watch")
	}
	switch op := rapid.SampledFrom(ops).Draw(m.t, "op"); op {
	case "local":
		delta := rapid.Int64Range(-5, 5).Draw(m.t, "delta")
		m.all[key] += delta
		m.ask(m.local, fmt.Sprintf("INCRBY %s %d", key, delta), fmt.Sprintf(":%d\r\n", m.all[key]))
	case "get":
		m.ask(m.local, "GET "+key, m.value(key))
	case "hold":
		if m.held = !m.held; m.held {
			m.g.hold()
		} else {
			m.g.release()
		}
	case "incr":
		m.all[key]++
		m.ask(m.quorum, "INCR "+key, fmt.Sprintf(":%d\r\n", m.all[key]))
	case "del":
		_, ok := m.all[key]
		m.ask(m.quorum, "DEL "+key, fmt.Sprintf(":%d\r\n", boolInt(ok)))
		delete(m.all, key)
	case "set":
		m.all[key] = 100
		m.ask(m.quorum, "SET "+key+" 100", "+OK\r\n")
	case "rename":
		if v, ok := m.all[key]; ok {
			delete(m.all, key)
			m.all["renamed"] = v
			m.ask(m.quorum, "RENAME "+key+" renamed", "+OK\r\n")
		}
	case "exec":
		m.all[key]++
		m.exec("INCR "+key, fmt.Sprintf("*1\r\n:%d\r\n", m.all[key]))
	case "watch":
		m.ask(m.quorum, "WATCH "+key, "+OK\r\n")
		changed := rapid.Bool().Draw(m.t, "changed")
		if changed {
			m.all[key]++
			m.ask(m.local, "INCR "+key, fmt.Sprintf(":%d\r\n", m.all[key]))
		}
		if changed {
			m.exec("SET "+key+" 7", "*-1\r\n")
		} else {
			m.all[key] = 7
			m.exec("SET "+key+" 7", "*1\r\n+OK\r\n")
		}
	case "flush":
		clear(m.all)
		m.ask(m.quorum, "FLUSHALL", "+OK\r\n")
	case "dbsize":
		m.ask(m.quorum, "DBSIZE", fmt.Sprintf(":%d\r\n", len(m.all)))
	case "ack":
		m.ask(m.quorum, "CLIENT ACK quorum", "+OK\r\n")
	case "take":
		m.n.srv.replicas[0].TakeAhead()
	}
}

func TestLocalModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, g := localNode(t, nil)
		m := &localModel{t: rt, tb: t, n: n, g: g, local: n.dial(), quorum: n.dial(), all: map[string]int64{}}
		m.ask(m.quorum, "CLIENT ACK quorum", "+OK\r\n")
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			m.step()
		}
		if m.held {
			g.release()
		}
		m.ask(m.quorum, "CLIENT ACK quorum", "+OK\r\n")
		for _, key := range []string{"a", "b", "{a}b", "c", "renamed"} {
			m.ask(m.quorum, "GET "+key, m.value(key))
		}
		if err := n.srv.replicas[0].Keyspace.Check(); err != nil || n.srv.replicas[0].Keyspace.HasAhead() {
			rt.Fatalf("%v, or something is answered ahead", err)
		}
		if err := n.stop(); err != nil {
			rt.Fatal(err)
		}
	})
}

// TestLocalUnderFailures has clients of both levels count a few keys while batches fail in every way: whatever was
// answered counts exactly once, and what has an unknown outcome at most once.
func TestLocalUnderFailures(t *testing.T) {
	n, g := localNode(t, func(c *config.Config) {
		c.LocalInterval, c.WriteTimeout = time.Millisecond, 30*time.Millisecond
	})
	const clients, keys = 4, 5
	var sure, maybe [keys]atomic.Int64
	var stop atomic.Bool
	var group sync.WaitGroup
	for id := range clients {
		c := n.dial()
		if id%2 == 1 {
			if got := call(t, c, "CLIENT ACK quorum"); got != "+OK\r\n" {
				t.Fatal(got)
			}
		}
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(id), 1))
			for !stop.Load() {
				k := r.IntN(keys)
				reply, err := c.Do("INCR", fmt.Sprint("k", k))
				switch {
				case err != nil:
					t.Error(err)
					return
				case reply.Type == ':':
					sure[k].Add(1)
				case len(reply.Text) >= 7 && reply.Text[:7] == "UNKNOWN":
					maybe[k].Add(1)
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(9, 9))
	for range 40 {
		g.hold()
		time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond) // some batches get a deadline, some do not
		if r.IntN(3) == 0 {
			g.abandon()
		}
		g.release()
		time.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
	}
	stop.Store(true)
	group.Wait()
	eventually(t, "everything to be in the log", func() bool { return !n.srv.replicas[0].Keyspace.HasAhead() && n.srv.queued() == 0 })
	c := n.dial()
	for k := range keys {
		reply, err := c.Do("GET", fmt.Sprint("k", k))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := reply.Int()
		if low, high := sure[k].Load(), sure[k].Load()+maybe[k].Load(); got < low || got > high {
			t.Errorf("k%d is %d, should be from %d to %d", k, got, low, high)
		}
	}
	st := n.srv.replicas[0].Keyspace.Ahead()
	if st.Landed == 0 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	t.Logf("%+v", st)
	n.check()
}
