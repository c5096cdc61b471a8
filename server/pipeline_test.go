package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// step is a command of a conversation; mute says that it gets no reply.
type step struct {
	command string
	mute    bool
}

// conversation is a random mixture of everything a session treats differently: writes, reads, slow reads, replies of
// the connection, commands that wait for earlier writes, refusals, transactions, modes of CLIENT REPLY.
func conversation(r *rand.Rand, n int) []step {
	var steps []step
	say := func(format string, args ...any) { steps = append(steps, step{command: fmt.Sprintf(format, args...)}) }
	mute := func(commands ...string) {
		for _, c := range commands {
			steps = append(steps, step{c, true})
		}
	}
	kinds := []func(){
		func() { say("INCR k%d", r.IntN(4)) },
		func() { say("INCRBY k%d %d", r.IntN(4), r.IntN(100)-50) },
		func() { say("SET s%d v%d", r.IntN(3), r.IntN(1000)) },
		func() { say("GET k%d", r.IntN(4)) },
		func() { say("MGET k0 k1 s0 s1 none") },
		func() { say("APPEND s%d x", r.IntN(3)) },
		func() { say("INCR s%d", r.IntN(3)) }, // sometimes an error
		func() { say("DEL k%d s%d", r.IntN(4), r.IntN(3)) },
		func() { say("DBSIZE") },
		func() { say("KEYS k%d", r.IntN(4)) }, // slow: in the task pool
		func() { say("PING") },
		func() { say("ECHO word%d", r.IntN(100)) },
		func() { say("SELECT %d", r.IntN(3)) },
		func() { say("SELECT 99") },
		func() { say("HELLO %d", 2+r.IntN(2)) },
		func() { say("CLIENT SETNAME n%d", r.IntN(10)) },
		func() { say("CLIENT GETNAME") },
		func() { say("WAIT 0 0") },
		func() { say("WAITAOF 1 0 0") },
		func() { say("NONSENSE a b") },
		func() { say("GET") },
		func() { say("FLUSHDB") },
		func() { say("EXEC") },
		// A write that is queued aborts EXEC even if it turns out to change nothing: no FLUSHDB or DEL may follow here.
		func() { say("WATCH k%d", r.IntN(4)); say("DBSIZE"); say("UNWATCH") },
		func() { say("WATCH k%d", r.IntN(4)); say("GET k0"); say("MULTI"); say("INCR k1"); say("EXEC") },
		func() { say("CONFIG GET maxclients") },
		func() { say("OBJECT ENCODING k%d", r.IntN(4)) },
		func() { say("RESET") },
		func() {
			say("MULTI")
			say("INCR k0")
			say("SELECT 1")
			say("INCR k0")
			say("GET k0")
			say("PING")
			say("EXEC")
		},
		func() {
			say("MULTI")
			say("GET k1")
			say("KEYS k1")
			say("HELLO 3")
			say("GET none")
			say("EXEC")
		},
		func() { say("MULTI"); say("INCR k1"); say("NONSENSE"); say("EXEC") },
		func() { say("MULTI"); say("INCR k1"); say("DISCARD") },
		func() { say("WATCH k2"); say("INCR k2"); say("MULTI"); say("INCR k3"); say("EXEC") },
		func() { mute("CLIENT REPLY SKIP", "INCR k0") },
		func() { mute("CLIENT REPLY SKIP", "KEYS k*") },
		func() { mute("CLIENT REPLY SKIP", "ECHO x") },
		func() { mute("CLIENT REPLY OFF", "INCR k1", "GET k1", "KEYS *"); say("CLIENT REPLY ON") },
		func() { mute("CLIENT REPLY OFF", "SET s0 1"); say("RESET") },
	}
	for range n {
		kinds[r.IntN(len(kinds))]()
	}
	say("MGET k0 k1 k2 k3 s0 s1 s2")
	return steps
}

// TestPipelineEqualsSteps holds the same conversation one command at a time, in one packet, and cut into pieces at
// random places: the replies are the same bytes.
func TestPipelineEqualsSteps(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		for range 6 {
			seed := rand.Uint64()
			steps := conversation(rand.New(rand.NewPCG(seed, 1)), 150)
			want := converse(t, transport, func(c *redistest.Conn) []string {
				var replies []string
				for _, s := range steps {
					send(t, c, s.command)
					if !s.mute {
						replies = append(replies, readRaw(t, c))
					}
				}
				return replies
			})
			var all []byte
			for _, s := range steps {
				all = redistest.AppendCommand(all, strings.Fields(s.command)...)
			}
			for _, pieces := range []int{1, 40} {
				r := rand.New(rand.NewPCG(seed, uint64(pieces)))
				got := converse(t, transport, func(c *redistest.Conn) []string {
					sendInPieces(t, c, all, pieces, r)
					replies := make([]string, 0, len(want))
					for range want {
						replies = append(replies, readRaw(t, c))
					}
					return replies
				})
				compareReplies(t, steps, got, want, fmt.Sprintf("seed %d in %d pieces", seed, pieces))
			}
		}
	})
}

// converse has a conversation with a fresh node, so that ids and state are the same each time.
func converse(t *testing.T, transport func(*config.Config), talk func(c *redistest.Conn) []string) []string {
	t.Helper()
	n := startGroupNode(t, &testGroup{}, transport)
	c := n.dial()
	replies := talk(c)
	expect(t, c, "ECHO end", "$3\r\nend\r\n")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	return replies
}

func sendInPieces(t *testing.T, c *redistest.Conn, all []byte, pieces int, r *rand.Rand) {
	t.Helper()
	cuts := []int{0, len(all)}
	for range pieces - 1 {
		cuts = append(cuts, r.IntN(len(all)))
	}
	slices.Sort(cuts)
	for i := range len(cuts) - 1 {
		if err := c.Send(all[cuts[i]:cuts[i+1]]); err != nil {
			t.Fatal(err)
		}
	}
}

func compareReplies(t *testing.T, steps []step, got, want []string, how string) {
	t.Helper()
	i := 0
	for _, s := range steps {
		if s.mute {
			continue
		}
		if got[i] != want[i] {
			t.Fatalf("%s: %q (reply %d) got %q, want %q", how, s.command, i, got[i], want[i])
		}
		i++
	}
}

// TestParallelPipelines has many clients increment the same keys: sums are exact, and no reply to an INCR comes twice.
func TestParallelPipelines(t *testing.T) {
	const clients, rounds, depth, keys = 6, 15, 40, 3
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startNode(t, func(c *config.Config) { transport(c); c.IOLoops = 2 })
		var mu sync.Mutex
		var seen [keys]map[int64]bool
		for k := range seen {
			seen[k] = map[int64]bool{}
		}
		var group sync.WaitGroup
		for id := range clients {
			c := n.dial()
			group.Go(func() {
				for round := range rounds {
					var commands [][]string
					for i := range depth {
						commands = append(commands, []string{"INCR", "shared" + strconv.Itoa((i+id)%keys)}, []string{"GET", "shared0"})
					}
					replies, err := c.Pipeline(commands...)
					if err != nil {
						t.Errorf("client %d, round %d: %v", id, round, err)
						return
					}
					mu.Lock()
					for i := range depth {
						v, err := replies[2*i].Int()
						if k := (i + id) % keys; err != nil || seen[k][v] {
							t.Errorf("shared%d: reply %v, %v: not distinct", k, replies[2*i], err)
						} else {
							seen[k][v] = true
						}
					}
					mu.Unlock()
				}
			})
		}
		group.Wait()
		total := 0
		c := n.dial()
		for k := range seen {
			checkReply(t, "sum", callArgs(t, c, "GET", "shared"+strconv.Itoa(k)), bulk(strconv.Itoa(len(seen[k]))))
			total += len(seen[k])
		}
		if total != clients*rounds*depth {
			t.Errorf("%d increments were answered, %d were sent", total, clients*rounds*depth)
		}
	})
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// TestBarriersDoNotStarveOthers has one client pipeline commands each of which waits for a commit, while another one is
// served all the same.
func TestBarriersDoNotStarveOthers(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startNode(t, func(c *config.Config) { transport(c); c.IOLoops = 1 })
		greedy, other := n.dial(), n.dial()
		const pairs = 8000
		var b []byte
		for range pairs {
			b = redistest.AppendCommand(b, "INCR", "a")
			b = redistest.AppendCommand(b, "WAIT", "0", "0")
		}
		if err := greedy.Send(b); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			expect(t, other, "INCR b", fmt.Sprintf(":%d\r\n", i+1))
		}
		v, err := other.Do("GET", "a")
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := v.Int(); got >= pairs {
			t.Errorf("the other client was served only after all %d of the first", pairs)
		}
		// The greedy one goes away in the middle.
	})
}

func TestQuitBehindWrites(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startNode(t, transport)
		c := n.dial()
		send(t, c, "INCR a", "GET a", "QUIT", "INCR a")
		for _, want := range []string{":1\r\n", "$1\r\n1\r\n", "+OK\r\n"} {
			checkReply(t, "pipeline with QUIT", readRaw(t, c), want)
		}
		expectClosed(t, c, "")
		expect(t, n.dial(), "GET a", "$1\r\n1\r\n")
	})
}

// TestHalfClose has a client that ends its side of the connection behind its commands, as nc does.
func TestHalfClose(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startNode(t, transport)
		c := n.dial()
		send(t, c, "INCR a", "KEYS a", "INCR a")
		if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{":1\r\n", "*1\r\n$1\r\na\r\n", ":2\r\n"} {
			checkReply(t, "half-closed", readRaw(t, c), want)
		}
		expectClosed(t, c, "")
		eventually(t, "the session to be forgotten", func() bool { return n.srv.clients.count.Load() == 0 })
	})
}

// TestNoRepliesBehindOverflow has one submission lose its replies: those of a later one must not take their place.
func TestNoRepliesBehindOverflow(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, nil)
	c := n.dial()
	expect(t, c, "PING", "+PONG\r\n")
	g.hold()
	list := []string{"SETRANGE k 1000000 x"}
	for range 40 {
		list = append(list, "GET k")
	}
	send(t, c, list...)
	n.reached(c, "get")
	eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
	send(t, c, "INCR a")
	n.reached(c, "incr")
	g.release()
	if reply, err := c.ReadRaw(); err == nil {
		t.Errorf("the first reply is %.40q, to a command behind those whose replies are lost", reply)
	}
}
