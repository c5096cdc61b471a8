package oracle

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// number reads an environment variable; def where it is not set.
func number(t testing.TB, name string, def uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// setupOf says on which servers a sequence is played: most on a node in memory.
func setupOf(number uint64) setup {
	s := setup{transport: "auto"}
	switch n := number % 64; {
	case n < 6:
		s.password = true
	case n < 16:
		s.transport = "net"
	case n < 18:
		s.disk = true
	case n < 30:
		s.local = true
	}
	return s
}

// campaign is a run over many sequences, shared by its workers.
type campaign struct {
	t        *testing.T
	lib      string
	seed     uint64
	rules    *rules
	want     uint64
	only     uint64 // the number of the one sequence to play, if one is set
	commands atomic.Uint64
	next     atomic.Uint64
	failures atomic.Int32
}

const failuresMax = 3 // after which a campaign ends

// worker plays one sequence after the other until enough commands were run.
func (c *campaign) worker() {
	players := map[setup]*player{}
	for c.commands.Load() < c.want && c.failures.Load() < failuresMax {
		n := c.next.Add(1)
		if c.only != 0 {
			if n > 1 {
				return
			}
			n = c.only
		}
		s := setupOf(n)
		p := players[s]
		if p == nil {
			p = &player{pair: startPair(c.t, c.lib, s), rules: c.rules}
			players[s] = p
		}
		seq := newGenerator(c.seed, n, s.password).sequence()
		same, err := p.play(seq)
		c.commands.Add(uint64(seq.commands()))
		if err != nil {
			c.failures.Add(1)
			c.t.Errorf("QUIPU_TEST_SEED=%d QUIPU_ORACLE_SEQUENCE=%d (%+v): %v\n%s", c.seed, n, s, err, printLog(p.log))
		} else if !same {
			c.failures.Add(1)
			c.report(p, n, seq)
		}
		if err != nil || !same { // what it has left behind must not fail the next
			delete(players, s)
		}
	}
	for _, p := range players {
		p.end()
	}
}

// end closes the player's connections and servers.
func (p *player) end() {
	for _, c := range p.control {
		if c != nil {
			c.Close()
		}
	}
	p.close()
}

// report shrinks a failing sequence on fresh servers and prints what is left of it.
func (c *campaign) report(p *player, n uint64, seq sequence) {
	whole := printLog(p.log)
	s := p.setup
	p.end()
	p = &player{pair: startPair(c.t, c.lib, s), rules: c.rules, twist: p.twist}
	small, err := shrink(p, seq, 30*time.Second)
	same := true
	if err == nil {
		same, err = p.play(small)
	}
	if same || err != nil {
		c.t.Errorf("QUIPU_TEST_SEED=%d QUIPU_ORACLE_SEQUENCE=%d (%+v): failed once, but not on fresh servers (%v):\n%s", c.seed, n, s, err, whole)
	} else {
		c.t.Errorf("QUIPU_TEST_SEED=%d QUIPU_ORACLE_SEQUENCE=%d (%+v): Quipu (q) does not answer as Redis:\n%s", c.seed, n, s, printLog(p.log))
	}
	p.end()
}

// everydaySeed is that of a run of ordinary length: whoever changes something else should not be the one to find what
// a million commands have not found yet. Long runs look for that, each with a seed of its own.
const everydaySeed uint64 = 70

// TestAgainstRedis plays random sequences on both servers.
func TestAgainstRedis(t *testing.T) {
	long := os.Getenv("QUIPU_ORACLE_COMMANDS") != ""
	seed := everydaySeed
	if long {
		seed = rand.Uint64()
	}
	c := &campaign{
		t: t, lib: shim(t), rules: newRules(), seed: number(t, "QUIPU_TEST_SEED", seed),
		want: uint64(redistest.Size(22_000, 40_000, 220_000)), only: number(t, "QUIPU_ORACLE_SEQUENCE", 0),
	}
	c.want = number(t, "QUIPU_ORACLE_COMMANDS", c.want)
	t.Logf("QUIPU_TEST_SEED=%d", c.seed)
	start := time.Now()
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(c.worker)
	}
	workers.Wait()
	t.Logf("%d commands in %d sequences, %.0f a second", c.commands.Load(), c.next.Load(), float64(c.commands.Load())/time.Since(start).Seconds())
	if unused := c.rules.unused(); long && c.only == 0 {
		for _, name := range unused {
			t.Errorf("the rule %q has let nothing pass: is it still needed?", name)
		}
	} else if len(unused) > 0 {
		t.Logf("rules not needed: %s", strings.Join(unused, "; "))
	}
}
