package systest

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// smallFiles makes snapshots and log truncation frequent enough for short rounds.
var smallFiles = []string{"--snapshot-log-bytes", "1mb", "--log-segment-bytes", "1mb"}

// fleet is the load of the crash tests: clients that know what they were promised.
type fleet struct {
	hot     *hotCounter
	writers []*soleWriter
	expiry  *expiryWriter
}

func newFleet(rng *rand.Rand) *fleet {
	r := func() *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), 0)) }
	return &fleet{
		hot: newHotCounter("hot"),
		writers: []*soleWriter{
			newSoleWriter("cold counters", 1, 64, r(), coldUnit),
			newSoleWriter("positions", 2, 8, r(), positionUnit),
			newSoleWriter("single transactions", 3, 1, r(), positionUnit),
			newSoleWriter("mixed", 4, 32, r(), mixedUnit),
			newSoleWriter("mixed, no pipeline", 5, 1, r(), mixedUnit),
		},
		expiry: newExpiryWriter(6, r()),
	}
}

// start lets all clients work on the server until it goes away. The returned function waits for them and fails the
// test when one of them was told something wrong.
func (f *fleet) start(t *testing.T, s *redistest.Server) (wait func()) {
	var wg sync.WaitGroup
	client := func(work func(c *redistest.Conn) error) {
		wg.Go(func() {
			c, err := redistest.Dial(s.Addr)
			if err != nil {
				return // the server is gone already
			}
			defer c.Close()
			if err := work(c); err != nil {
				t.Error(err)
			}
		})
	}
	for _, depth := range []int{1, 8, 100} {
		client(func(c *redistest.Conn) error { return f.hot.load(c, depth) })
	}
	client(f.hot.read)
	for _, o := range f.writers {
		client(o.load)
	}
	client(f.expiry.load)
	return wg.Wait
}

// verify checks what every client was promised against a restarted server.
func (f *fleet) verify(t *testing.T, s *redistest.Server) {
	t.Helper()
	c, err := redistest.Dial(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := f.hot.verify(c); err != nil {
		t.Fatal(err)
	}
	for _, o := range f.writers {
		if err := o.verify(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.expiry.verify(c); err != nil {
		t.Fatal(err)
	}
}

// TestKill9 kills the node at random moments under load and checks each time that nothing acknowledged is lost, nothing
// is counted twice, and transactions are whole.
func TestKill9(t *testing.T) {
	rounds := redistest.Size(10, 12, 60)
	rng := newRand(t)
	f := newFleet(rng)
	node := redistest.Quipu{Dir: t.TempDir(), Port: redistest.FreePort(t)}
	for round := range rounds {
		node.Flags = nil
		if round%3 != 0 {
			node.Flags = smallFiles
		}
		if round%5 == 4 {
			// Killed while it replays: the next start must not mind.
			s := node.Launch(t)
			time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
			s.Kill9()
		}
		s := node.Start(t)
		f.verify(t, s)
		wait := f.start(t, s)
		time.Sleep(time.Duration(20+rng.IntN(480)) * time.Millisecond)
		s.Kill9()
		wait()
		checkOutput(t, s)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	s := node.Start(t)
	f.verify(t, s)
	for _, o := range f.writers {
		if o.units == 0 {
			t.Errorf("%s: nothing was acknowledged in %d rounds: the test tests nothing", o.name, rounds)
		}
		t.Logf("%s: %d acknowledged", o.name, o.units)
	}
	t.Logf("hot: %d", f.hot.base)
}

// TestSIGTERM stops the node under load, with each transport: it exits with status 0 and loses nothing.
func TestSIGTERM(t *testing.T) {
	for _, transport := range []string{"auto", "net"} {
		t.Run(transport, func(t *testing.T) {
			f := newFleet(newRand(t))
			node := redistest.Quipu{Dir: t.TempDir(), Port: redistest.FreePort(t), Flags: []string{"--transport", transport}}
			for range 3 {
				s := node.Start(t)
				f.verify(t, s)
				wait := f.start(t, s)
				time.Sleep(300 * time.Millisecond)
				status, ok := s.Terminate(30 * time.Second)
				wait()
				checkOutput(t, s)
				if !ok || status != 0 {
					t.Fatalf("SIGTERM: exit status %d, in time %v: %s", status, ok, s.Output())
				}
			}
			f.verify(t, node.Start(t))
		})
	}
}

// TestTwoProcessesOneDirectory starts a second node on a directory that is in use.
func TestTwoProcessesOneDirectory(t *testing.T) {
	node := redistest.Quipu{Dir: t.TempDir()}
	s := node.Start(t)
	c := s.Dial(t)
	do(t, c, "INCR", "a")
	second := node.Launch(t)
	status, ok := second.Wait(20 * time.Second)
	if out := second.Output(); !ok || status <= 0 || !strings.Contains(out, node.Dir) {
		t.Errorf("the second process: ended %v, status %d, output (it must name %s): %s", ok, status, node.Dir, out)
	}
	if r := do(t, c, "INCR", "a"); r.Text != "2" {
		t.Errorf("the first process answered %v", r)
	}
	s.Kill9()
	s = node.Start(t)
	if r := do(t, s.Dial(t), "GET", "a"); r.Text != "2" {
		t.Errorf("after the restart: %v", r)
	}
}

// TestPortInUse starts a node on a port that another process has.
func TestPortInUse(t *testing.T) {
	s := redistest.Quipu{}.Start(t)
	second := redistest.Quipu{Port: s.Port}.Launch(t)
	if status, ok := second.Wait(20 * time.Second); !ok || status <= 0 || !strings.Contains(second.Output(), "in use") {
		t.Errorf("ended %v, status %d: %s", ok, status, second.Output())
	}
}
