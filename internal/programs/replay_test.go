package programs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// tally is what all workers of a test have sent and were told.
type tally struct {
	mu   sync.Mutex
	keys map[string]*counted
}

// counted is one counter as its clients see it.
type counted struct {
	sent  int64  // the sum of what may have taken effect
	spans []span // what was answered
	ttl   int64  // the longest expiry in seconds, 0 for none
}

// span is one answered increment: the counter went from (exclusive) to (inclusive).
type span struct{ from, to int64 }

func (t *tally) key(key string) *counted {
	c := t.keys[key]
	if c == nil {
		c = &counted{}
		t.keys[key] = c
	}
	return c
}

// sends notes an increment before it is sent.
func (t *tally) sends(key string, n, ttl int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.key(key)
	c.sent += n
	c.ttl = ttl
}

// answered notes the reply to an increment: the counter's new value.
func (t *tally) answered(key string, n int64, r redistest.Reply) error {
	value, err := r.Int()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.key(key)
	if n != 0 {
		c.spans = append(c.spans, span{value - n, value})
	}
	return nil
}

// answers is how many increments were answered.
func (t *tally) answers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, c := range t.keys {
		n += len(c.spans)
	}
	return n
}

// check compares what the clients were told with what the server holds. exact: every increment was answered.
func (t *tally) check(tb testing.TB, s *redistest.Server, exact bool) {
	tb.Helper()
	conn := s.Dial(tb)
	for key, c := range t.keys {
		replies, err := conn.Pipeline([]string{"GET", key}, []string{"TTL", key})
		if err != nil {
			tb.Fatal(err)
		}
		total, ttl := int64(0), int64(-1)
		if !replies[0].IsNull() {
			if total, err = replies[0].Int(); err != nil {
				tb.Fatal(err)
			}
		}
		if ttl, err = replies[1].Int(); err != nil {
			tb.Fatal(err)
		}
		if problem := c.judge(total, ttl, exact); problem != "" {
			tb.Errorf("%s: %s", key, problem)
		}
	}
}

func (c *counted) judge(total, ttl int64, exact bool) string {
	slices.SortFunc(c.spans, func(a, b span) int { return int(a.from - b.from) })
	at, acknowledged := int64(0), int64(0)
	for _, s := range c.spans {
		if s.from < at || exact && s.from > at {
			return fmt.Sprintf("counted to %d, then an increment went from %d to %d", at, s.from, s.to)
		}
		acknowledged += s.to - s.from
		at = s.to
	}
	switch {
	case at > total:
		return fmt.Sprintf("a client was told %d, the server holds %d", at, total)
	case acknowledged > total || total > c.sent:
		return fmt.Sprintf("%d acknowledged, %d sent, the server holds %d", acknowledged, c.sent, total)
	case exact && acknowledged != total:
		return fmt.Sprintf("%d acknowledged, the server holds %d", acknowledged, total)
	case exact && c.ttl > 0 && (ttl <= 0 || ttl > c.ttl), c.ttl == 0 && ttl > 0:
		return fmt.Sprintf("the expiry is %d s, of at most %d", ttl, c.ttl)
	}
	return ""
}

func newTally() *tally { return &tally{keys: map[string]*counted{}} }

// TestTraffic replays each program's traffic with several clients at once: every increment gets a number of its own and
// the numbers have no gaps, so that a limit is reached at exactly its number, whoever asks.
func TestTraffic(t *testing.T) {
	t.Run("quipu", func(t *testing.T) { replayAll(t, redistest.Quipu{}.Start(t)) })
	if !testing.Short() { // redis-server proves the expectations; it is not what -short tests
		t.Run("redis", func(t *testing.T) { replayAll(t, redistest.StartRedis(t)) })
	}
}

func replayAll(t *testing.T, s *redistest.Server) {
	const clients, each = 8, 100
	for _, tr := range traffics {
		t.Run(tr.name, func(t *testing.T) {
			t.Log(tr.source)
			seen := newTally()
			var wg sync.WaitGroup
			for range clients {
				h := &hit{conn: s.Dial(t), seen: seen, rand: rand.New(rand.NewPCG(rand.Uint64(), 0))}
				wg.Go(func() {
					for range each {
						h.now = time.Now().Unix()
						if err := tr.hit(h); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			seen.check(t, s, true)
			if n := seen.answers(); n < clients*each {
				t.Errorf("only %d increments were answered", n)
			}
		})
	}
}

// TestTrafficCrash kills the node under all traffics at once and starts it again: nothing that was answered is lost or
// counted twice, and what was not answered is counted once or not at all.
func TestTrafficCrash(t *testing.T) {
	const clients, enough = 3, 200
	s := redistest.Quipu{}.Start(t)
	seen := make([]*tally, len(traffics))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, tr := range traffics {
		seen[i] = newTally()
		for range clients {
			wg.Go(func() { hitUntil(stop, s.Addr, tr, seen[i]) })
		}
	}
	more := func() {
		for i, tr := range traffics {
			answersReach(t, tr.name, seen[i], seen[i].answers()+enough)
		}
	}
	more()
	err := s.Restart(time.Minute)
	if err == nil {
		more()
	}
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for i, tr := range traffics {
		t.Run(tr.name, func(t *testing.T) { seen[i].check(t, s, false) })
	}
}

// hitUntil counts until stop is closed, and connects again whenever the server is gone.
func hitUntil(stop chan struct{}, addr string, tr traffic, seen *tally) {
	h := &hit{seen: seen, rand: rand.New(rand.NewPCG(rand.Uint64(), 0))}
	defer func() {
		if h.conn != nil {
			h.conn.Close()
		}
	}()
	for {
		select {
		case <-stop:
			return
		default:
		}
		if h.conn == nil {
			c, err := redistest.Dial(addr)
			if err != nil {
				time.Sleep(5 * time.Millisecond)
				continue
			}
			h.conn = c
		}
		h.now = time.Now().Unix()
		if err := tr.hit(h); err != nil {
			h.conn.Close()
			h.conn = nil
		}
	}
}

// answersReach waits until n increments were answered.
func answersReach(tb testing.TB, name string, seen *tally, n int) {
	tb.Helper()
	deadline := time.Now().Add(time.Minute)
	for seen.answers() < n && time.Now().Before(deadline) {
		time.Sleep(2 * time.Millisecond)
	}
	if got := seen.answers(); got < n {
		tb.Errorf("%s: %d increments were answered in a minute, %d wanted", name, got, n)
	}
}

// TestJudge shows that a wrong count would be found.
func TestJudge(t *testing.T) {
	oneToThree := []span{{0, 1}, {2, 3}, {1, 2}}
	for _, c := range []struct {
		counted    counted
		total, ttl int64
		exact      bool
		want       string
	}{
		{counted{3, oneToThree, 60}, 3, 60, true, ""},
		{counted{4, oneToThree, 60}, 4, 60, false, ""},
		{counted{4, oneToThree, 60}, 4, 60, true, "3 acknowledged, the server holds 4"},
		{counted{4, oneToThree, 60}, 5, 60, false, "3 acknowledged, 4 sent, the server holds 5"},
		{counted{4, oneToThree, 60}, 2, 60, false, "a client was told 3, the server holds 2"},
		{counted{3, []span{{0, 1}, {0, 1}, {1, 2}}, 0}, 3, -1, false, "counted to 1, then an increment went from 0 to 1"},
		{counted{3, []span{{0, 1}, {2, 3}}, 0}, 3, -1, false, ""},
		{counted{3, []span{{0, 1}, {2, 3}}, 0}, 3, -1, true, "counted to 1, then an increment went from 2 to 3"},
		{counted{3, oneToThree, 60}, 3, -1, true, "the expiry is -1 s, of at most 60"},
		{counted{3, oneToThree, 60}, 3, 61, true, "the expiry is 61 s, of at most 60"},
		{counted{3, oneToThree, 0}, 3, 5, true, "the expiry is 5 s, of at most 0"},
	} {
		if got := c.counted.judge(c.total, c.ttl, c.exact); got != c.want {
			t.Errorf("%+v, total %d, expiry %d: %q, expected %q", c.counted, c.total, c.ttl, got, c.want)
		}
	}
}
