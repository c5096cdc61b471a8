package server

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// hot is what HOTKEYS shows, one line a key: key, operations, reads, writes, database.
func hot(t testing.TB, c *redistest.Conn, args ...string) (list []string) {
	t.Helper()
	reply, err := c.Do(append([]string{"HOTKEYS"}, args...)...)
	if err != nil || reply.Type != '*' {
		t.Fatal(reply, err)
	}
	for _, k := range reply.Elems {
		var words []string
		for _, e := range k.Elems {
			words = append(words, e.Text)
		}
		list = append(list, strings.Join(words, " "))
	}
	return list
}

// TestHotKeysSeeEveryCommand: while little is going on all commands are counted, whichever way they take through the server.
func TestHotKeysSeeEveryCommand(t *testing.T) {
	for _, local := range []bool{false, true} {
		t.Run(fmt.Sprint("local ", local), func(t *testing.T) {
			bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
				n := startGroupNode(t, &testGroup{}, func(c *config.Config) {
					transport(c)
					c.AckLocal = local
				})
				c := n.dial()
				for _, step := range hotSteps {
					call(t, c, "HOTKEYS RESET")
					packet := strings.Split(step.packet, "; ")
					send(t, c, packet...)
					send(t, c, "ECHO end")
					for !strings.HasSuffix(readRaw(t, c), "end\r\n") {
					}
					got := hot(t, c)
					slices.Sort(got)
					if want := step.want; !slices.Equal(got, want) {
						t.Errorf("%.80s: %q, want %q", step.packet, got, want)
					}
				}
			})
		})
	}
}

var hotSteps = []struct {
	packet string
	want   []string
}{
	{"SET v 1; SET n 1", []string{"n 1 0 1 0", "v 1 0 1 0"}},
	{strings.Repeat("INCR n; ", 40) + "GET n", []string{"n 41 1 40 0"}},
	{strings.Repeat("GET n; ", 40) + "INCR n", []string{"n 41 40 1 0"}},
	{strings.Repeat("INCR n; INCR m; ", 20) + "DECRBY m 3", []string{"m 21 0 21 0", "n 20 0 20 0"}},
	{"CLIENT REPLY OFF; INCR n; INCR n; GET n; CLIENT REPLY ON", []string{"n 3 1 2 0"}},
	{"MULTI; INCR n; GET n; SET v 2; EXEC", []string{"n 2 1 1 0", "v 1 0 1 0"}},
	{"MULTI; GET n; GET v; EXEC", []string{"n 1 1 0 0", "v 1 1 0 0"}},
	{"MULTI; INCR n; DISCARD", nil},
	{"MSET v 1 u 2; MGET v u v; DEL u; EXISTS v", []string{"u 3 1 2 0", "v 4 3 1 0"}},
	{"COPY v w; TOUCH w; WATCH w; UNWATCH", []string{"v 1 1 0 0", "w 3 2 1 0"}},
	{"SELECT 1; INCR n; SELECT 0; INCR n", []string{"n 1 0 1 0", "n 1 0 1 1"}},
	{"PFADD h x; PFADD h x; PFCOUNT h", []string{"h 3 1 2 0"}},
	{"INCR; GET v v; NOSUCH v; INCR v x", nil},
	{"INCR " + strings.Repeat("y", 5000), nil}, // refused: too long
	{"OBJECT FREQ n; OBJECT ENCODING n; MEMORY USAGE n; PING; DBSIZE; SCAN 0; KEYS *", nil},
	{"CLIENT NO-TOUCH ON; GET n; INCR n; CLIENT NO-TOUCH OFF; GET n", []string{"n 1 1 0 0"}},
	{"ONCE OPEN p; ONCE p 1 1 INCR n", []string{"n 1 0 1 0"}},
}

// TestHotKeysCommand has what HOTKEYS and OBJECT FREQ reply, and the setting.
func TestHotKeysCommand(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	long := strings.Repeat("l", 200)
	for range 3 {
		call(t, c, "INCR a")
		call(t, c, "INCR "+long)
	}
	expect(t, c, "GET a", bulk("3"), "INCR b", ":1\r\n",
		"HOTKEYS COUNT 1", "*1\r\n*5\r\n$1\r\na\r\n:4\r\n:1\r\n:3\r\n:0\r\n",
		"HOTKEYS COUNT 0", "-ERR COUNT must", "HOTKEYS COUNT x", "-ERR COUNT must", "HOTKEYS COUNT", "-ERR syntax error", "HOTKEYS RESET 1", "-ERR syntax error",
		"OBJECT FREQ a", ":19\r\n", "OBJECT FREQ b", ":8\r\n", "OBJECT FREQ nope", "$-1\r\n", "SELECT 1", "+OK\r\n", "SET a 1", "+OK\r\n", "OBJECT FREQ a", ":8\r\n", "SELECT 0", "+OK\r\n")
	if got := hot(t, c, "count", "100"); !slices.Equal(got, []string{"a 4 1 3 0", long[:96] + "... (104 more bytes) 3 0 3 0", "b 1 0 1 0", "a 1 0 1 1"}) {
		t.Errorf("HOTKEYS: %q", got)
	}
	expect(t, c, "HOTKEYS RESET", "+OK\r\n", "HOTKEYS", "*0\r\n", "OBJECT FREQ a", ":0\r\n",
		"INCR a", ":4\r\n", "CONFIG SET hotkeys no", "+OK\r\n", "INCR a", ":5\r\n", "HOTKEYS", "-ERR hot keys are not counted", "OBJECT FREQ a", "-ERR An LFU maxmemory policy",
		"CONFIG SET hotkeys yes", "+OK\r\n", "HOTKEYS", "*0\r\n", "INCR a", ":6\r\n", "HOTKEYS", "*1\r\n*5\r\n$1\r\na\r\n:1\r\n:0\r\n:1\r\n:0\r\n",
		// The keys of others are shown to who may read them all.
		"ACL SETUSER bob on nopass ~a +@all", "+OK\r\n", "ACL SETUSER eve on nopass ~* +@all -@dangerous", "+OK\r\n", "ACL SETUSER joe on nopass ~* +hotkeys", "+OK\r\n",
		"AUTH bob x", "+OK\r\n", "HOTKEYS", "-NOPERM", "AUTH eve x", "+OK\r\n", "HOTKEYS", "-NOPERM", "AUTH joe x", "+OK\r\n", "HOTKEYS", "*1\r\n*5\r\n$1\r\na\r\n:1\r\n:0\r\n:1\r\n:0\r\n")
}

// TestHotKeysUnderLoad: above the budget a part of the commands stands for all.
func TestHotKeysUnderLoad(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	const bursts, depth = 100, 2000
	var packet []byte
	for i := range depth { // at the same places in each pipeline
		key := "hot"
		switch {
		case i%10 == 0:
			key = "warm"
		case i%2 == 0:
			key = fmt.Sprint("cold:", i)
		}
		packet = redistest.AppendCommand(packet, "INCR", key)
	}
	for range bursts {
		if err := c.Send(packet); err != nil {
			t.Fatal(err)
		}
		for range depth {
			readRaw(t, c)
		}
	}
	want := map[string]float64{"hot": bursts * depth / 2, "warm": bursts * depth / 10}
	list := hot(t, c, "COUNT", "2")
	for _, line := range list {
		var key string
		var operations float64
		if _, err := fmt.Sscan(line, &key, &operations); err != nil || want[key] == 0 || math.Abs(operations-want[key]) > want[key]/5 {
			t.Errorf("%q, want about %v", line, want[key])
		}
	}
	if len(list) != 2 {
		t.Errorf("HOTKEYS: %q", list)
	}
	if step := n.srv.hot.step.Load(); step < 4 {
		t.Errorf("at %d commands one of %d is looked at", bursts*depth, step)
	}
}

// TestHotKeysAreDrawnFairly: each command has the same chance, wherever it stands in whatever pattern, and what is looked at stands for as
// many as there were, also while the step changes.
func TestHotKeysAreDrawnFairly(t *testing.T) {
	const commands, period = 1 << 21, 16
	var d hotSampler
	var stood [period]int64
	var looked int
	d.use(64)
	for i := range commands {
		if i%1000 == 999 && i/1000%2 == 0 {
			d.use([]int64{1, 64, 256}[i/1000%3]) // at any moment
		}
		if d.left--; d.left < 0 {
			stood[i%period] += d.step
			looked++
			d.use(d.step)
		}
	}
	for at, n := range stood {
		// The deviation of the sum is below sqrt(commands/period · 256).
		if off := float64(n - commands/period); math.Abs(off) > 6*math.Sqrt(commands/period*256) {
			t.Errorf("place %d of a pattern: %d operations, there were %d", at, n, commands/period)
		}
	}
	if looked < commands/8 {
		t.Errorf("%d of %d commands were looked at", looked, commands)
	}
	d.use(0)
	if d.left != math.MaxInt64 {
		t.Errorf("turned off, the next one comes after %d commands", d.left)
	}
}

// TestHotKeysBudget: however many commands there are, about as many keys are looked at in a second.
func TestHotKeysBudget(t *testing.T) {
	var h hotKeys
	h.step.Store(1)
	second := func(commands int64) (looked int64) {
		for left := commands; left > 0; {
			step := h.step.Load()
			left -= step
			looked++
			h.counted(1, step)
		}
		h.second(0)
		return looked
	}
	for _, c := range []struct{ commands, most int64 }{
		{1000, 1000}, {1000, 1000}, {10_000_000, 13 * hotBudget}, {10_000_000, 2 * hotBudget}, {10_000_000, 2 * hotBudget}, {10_000, hotBudget}, {10_000_000, 6 * hotBudget},
	} {
		if looked := second(c.commands); looked > c.most || looked < min(c.commands/5000, hotBudget/4) {
			t.Errorf("%d of %d commands were looked at, want %d at most", looked, c.commands, c.most)
		}
	}
	for range 12 {
		second(0)
	}
	if step := h.step.Load(); step != 1 {
		t.Errorf("at rest one of %d is looked at", step)
	}
}

// TestHotKeysOfEachNode: a node counts what its own clients ask for, wherever that is executed, and answers for itself.
func TestHotKeysOfEachNode(t *testing.T) {
	c := startNodes(t, 3, nil)
	leader := c.leader()
	follower := (leader + 1) % 3
	own, other := c.nodes[follower].dial(), c.nodes[leader].dial()
	for range 20 {
		send(t, own, "INCR n", "GET n")
		readRaw(t, own)
		readRaw(t, own)
	}
	expect(t, other, "GET n", bulk("20"), "HOTKEYS", "*1\r\n*5\r\n$1\r\nn\r\n:1\r\n:1\r\n:0\r\n:0\r\n", "OBJECT FREQ n", ":8\r\n")
	if got := hot(t, own); !slices.Equal(got, []string{"n 40 20 20 0"}) {
		t.Errorf("the node of the client: %q", got)
	}
	c.agree()
	send(t, own, "INCR m", "OBJECT FREQ n")
	readRaw(t, own)
	checkReply(t, "OBJECT FREQ n", readRaw(t, own), ":43\r\n")
}

// BenchmarkHotKeys is what a command costs more: out of turn, and when it is looked at. In a second of 1,000,000 commands 4096 are.
func BenchmarkHotKeys(b *testing.B) {
	n := startGroupNode(b, &testGroup{}, nil)
	c := n.dial()
	call(b, c, "INCR n")
	s := n.session(c)
	cmd := n.srv.table.Lookup([]byte("incr"))
	args := [][]byte{[]byte("INCR"), []byte("likes:post:00000001")}
	b.Run("passed", func(b *testing.B) {
		s.worker.hot.use(0)
		for b.Loop() {
			if s.worker.called(cmd) {
				b.Fatal("it was turned off")
			}
		}
	})
	for _, keys := range []int{1, 1_000_000} {
		b.Run(fmt.Sprintf("looked at, of %d keys", keys), func(b *testing.B) {
			i := 0
			for b.Loop() {
				i++
				args[1] = fmt.Appendf(args[1][:0], "likes:post:%08d", i%keys)
				s.worker.hot.step = 1
				s.lookAtKeys(cmd, args)
			}
		})
	}
}
