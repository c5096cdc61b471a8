package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// A very long count: clients count as fast as they can while one fault follows another, and when all is over every counter is
// compared with what was answered. One client writes a counter, so its value is known exactly:
//
//	answered ahead   a process that lives to the end, or has stopped in order, has everything in the log that it has answered;
//	                 one that was killed has what it had confirmed (CLIENT ACK), and not more than was sent to it
//	at quorum        everything that was answered, and not more than was sent: what got no answer is unknown
//	with ONCE        exactly what was sent: each transaction is sent again, through any node, until there is an answer
type soak struct {
	*run
	target   int64
	answered [levels]atomic.Int64
	happened atomic.Int64 // faults

	mu    sync.Mutex
	books []*book
}

type level int

const (
	ahead level = iota
	quorum
	withOnce
	levels
)

const (
	soakClients  = 6 // of each level, two on each node
	soakCounters = 16
	soakPipeline = 500
	soakBatch    = 200             // increments in a transaction, at most: up to about 120 the replies are kept by ONCE
	soakConfirm  = time.Second     // how often increments answered ahead are confirmed
	soakWrong    = 10_000          // lost and doubled increments, after which a check no longer names each counter
	soakFaults   = 8               // a short run goes on until there were so many
	soakShort    = 100_000_000     // increments; in a run of fewer there is a fault
	soakOften    = 3 * time.Second // so often, and else
	soakEvery    = 10 * time.Second
)

// book has the counters that one client writes; at ack level local, while its node is one process.
type book struct {
	level   level
	process string // run_id of the node
	list    []owned

	order []int  // the pipeline: places in list,
	raw   []byte // and the increments themselves
}

// owned is a counter that one client writes.
type owned struct {
	key                            string
	attempted, answered, confirmed int64
}

// TestSoak counts until QUIPU_SOAK_INCREMENTS are answered, and loses and doubles none. QUIPU_TEST_SEED chooses the faults, and
// QUIPU_CHAOS_FAULT, a part of a name, leaves out all others.
func TestSoak(t *testing.T) {
	target := number(t, "QUIPU_SOAK_INCREMENTS", 0)
	if target == 0 {
		t.Skip("make soak has it")
	}
	seed := firstSeed(t)
	t.Logf("seed %d", seed)
	s := &soak{run: begin(t, seed), target: int64(target)}
	var busy, watch sync.WaitGroup
	over := make(chan struct{})
	watch.Go(func() { s.watch(over) })
	s.load(&busy)
	s.faults(int(seed%uint64(len(faults))), s.more, s.rest)
	s.stop.Store(true)
	busy.Wait()
	close(over)
	watch.Wait()
	s.agree()
	living, ok := s.settle()
	if !ok {
		return
	}
	s.agree()
	s.check(append(s.stopped, living...))
	s.healthy()
}

func (s *soak) total() (n int64) {
	for i := range s.answered {
		n += s.answered[i].Load()
	}
	return n
}

// more tells after n faults whether there are to be others.
func (s *soak) more(n int) bool {
	s.happened.Store(int64(n))
	return s.total() < s.target || n < soakFaults
}

// rest is the time until the next fault: they begin at even intervals, if they are over by then.
func (s *soak) rest(n int) time.Duration {
	every := soakEvery
	if s.target < soakShort {
		every = soakOften
	}
	return max(s.between(1000, 1500), time.Duration(n+1)*every-s.now())
}

// watch says how far the count is.
func (s *soak) watch(over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(10 * time.Second):
			s.t.Logf("%8v %s", s.now().Round(time.Millisecond), s.counted())
		}
	}
}

func (s *soak) counted() string {
	return fmt.Sprintf("%s increments answered (%s ahead, %s at quorum, %s with ONCE), %d faults", grouped(s.total()),
		grouped(s.answered[ahead].Load()), grouped(s.answered[quorum].Load()), grouped(s.answered[withOnce].Load()), s.happened.Load())
}

// grouped writes n with commas.
func grouped(n int64) string {
	b := strconv.FormatInt(n, 10)
	for i := len(b) - 3; i > 0; i -= 3 {
		b = b[:i] + "," + b[i:]
	}
	return b
}

// load starts the clients.
func (s *soak) load(busy *sync.WaitGroup) {
	for i := range soakClients {
		for l := range levels {
			c := &client{run: s.run, node: i % nodeCount}
			rng := rand.New(rand.NewPCG(s.rng.Uint64(), 2))
			busy.Go(func() {
				if l == withOnce {
					s.transactions(c, fmt.Sprintf("once:%d", i), rng)
				} else {
					s.pipelines(c, l, rng)
				}
			})
		}
	}
}

// open begins a book.
func (s *soak) open(l level, process string, rng *rand.Rand) *book {
	b := &book{level: l, process: process, list: make([]owned, soakCounters)}
	prefix := [levels]string{"local", "quorum", "once"}[l] // local:* are at ack level local
	for i := range b.list {
		b.list[i].key = fmt.Sprintf("%s:%x:%d", prefix, rng.Uint64(), i)
	}
	b.order, b.raw = b.increments(soakPipeline, nil, rng)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.books = append(s.books, b)
	return b
}

// increments appends n increments of the book's counters to raw; order is which.
func (b *book) increments(n int, raw []byte, rng *rand.Rand) (order []int, _ []byte) {
	at := 0
	for range n {
		if rng.IntN(3) > 0 { // else the same once more
			at = rng.IntN(len(b.list))
		}
		order, raw = append(order, at), redistest.AppendCommand(raw, "INCR", b.list[at].key)
	}
	return order, raw
}

// pipelines has a client send increments and not ask what became of those without an answer.
func (s *soak) pipelines(c *client, l level, rng *rand.Rand) {
	var b *book
	var conn *redistest.Conn // whose node is known to be b.process
	var confirmed time.Time
	for !s.ended() {
		if c.conn == nil || c.conn != conn {
			id := c.process()
			if id == "" {
				continue
			}
			if conn = c.conn; b == nil || l == ahead && b.process != id {
				b, confirmed = s.open(l, id, rng), time.Now()
			}
		}
		n, ok := b.send(c)
		s.answered[l].Add(n)
		switch {
		case !ok:
			return
		case c.conn == nil || l == ahead && time.Since(confirmed) < soakConfirm:
		case l == ahead:
			b.confirm(c)
			confirmed = time.Now()
		case n > 0:
			s.progress.Store(int64(s.now()))
		}
	}
}

// send sends the pipeline once. The replies count on from what was answered.
func (b *book) send(c *client) (answered int64, ok bool) {
	conn, refused := c.conn, false
	ok = true
	if err := conn.Send(b.raw); err != nil {
		c.hangUp()
		conn = nil
	}
	for _, at := range b.order {
		o, line := uncertain, []byte(nil)
		if conn != nil {
			var err error
			if line, err = conn.ReadLine(); err != nil {
				c.hangUp()
				conn = nil
			} else {
				o = outcomeOf(line)
			}
		}
		k := &b.list[at]
		switch o {
		case notRun:
			refused = true
		case uncertain:
			k.attempted++
		case done:
			k.attempted++
			k.answered++
			answered++
			if n := integer(line); ok && (n < k.answered || n > k.attempted) {
				c.run.t.Errorf("INCR %s on node %d: %q; %d were answered, %d tried", k.key, c.node, line, k.answered, k.attempted)
				ok = false
			}
		}
	}
	if refused {
		time.Sleep(10 * time.Millisecond)
	}
	return answered, ok
}

// confirm waits until everything that was answered is in the log for good.
func (b *book) confirm(c *client) {
	reply, err := c.conn.Do("CLIENT", "ACK", "default")
	if err != nil {
		c.hangUp()
	}
	if err == nil && reply.Text == "OK" {
		for i := range b.list {
			b.list[i].confirmed = b.list[i].answered
		}
	}
}

// outcomeOf judges a line that is a reply.
func outcomeOf(line []byte) outcome {
	if len(line) == 0 || line[0] != '-' {
		return done
	}
	return judge(redistest.Reply{Type: '-', Text: string(line[1:])})
}

// integer is that of a reply; -1: it is something else.
func integer(line []byte) int64 {
	if len(line) == 0 || line[0] != ':' {
		return -1
	}
	n, err := strconv.ParseInt(string(line[1:]), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// batch is a transaction of a producer.
type batch struct {
	raw  []byte
	want []int64 // the replies of the increments
	sent bool    // it may have been applied
}

// transactions has a producer send one batch after another, each until it has an answer, and some once more after that.
func (s *soak) transactions(c *client, name string, rng *rand.Rand) {
	epoch := c.open(name)
	if epoch == "" {
		return
	}
	b := s.open(withOnce, "", rng)
	for number := 1; !s.ended(); number++ {
		raw := redistest.AppendCommand(redistest.AppendCommand(nil, "MULTI"), "ONCE", name, epoch, strconv.Itoa(number))
		order, raw := b.increments(1+rng.IntN(soakBatch), raw, rng)
		x := &batch{raw: redistest.AppendCommand(raw, "EXEC")}
		for _, at := range order {
			b.list[at].attempted++
			x.want = append(x.want, b.list[at].attempted)
		}
		if !s.insist(c, x, rng) {
			return
		}
		for _, at := range order {
			b.list[at].answered = b.list[at].attempted
		}
		s.answered[withOnce].Add(int64(len(order)))
		s.progress.Store(int64(s.now()))
		if rng.IntN(8) == 0 {
			if c.elsewhere(rng); !s.insist(c, x, rng) {
				return
			}
		}
	}
}

// insist sends a batch until it has an answer, also after the end of the run.
func (s *soak) insist(c *client, x *batch, rng *rand.Rand) bool {
	var last error
	var end time.Time
	for ; ; c.elsewhere(rng) {
		if s.ended() && end.IsZero() {
			end = time.Now().Add(catchUpLimit)
		}
		if s.ended() && time.Now().After(end) {
			s.t.Errorf("a batch has no answer %v after the end: %v", catchUpLimit, last)
			return false
		}
		if c.conn == nil {
			c.connect()
		}
		if c.conn == nil {
			continue
		}
		var o outcome
		switch o, last = x.send(c.conn); o {
		case done:
			if last != nil {
				s.t.Errorf("batch through node %d, sent before: %v: %v", c.node, x.sent, last)
			}
			x.sent = true
			return last == nil
		case uncertain:
			x.sent = true
		case notRun:
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// send sends the batch once. err says what is wrong with the answer, or why there is none.
func (x *batch) send(conn *redistest.Conn) (o outcome, err error) {
	if err := conn.Send(x.raw); err != nil {
		return uncertain, err
	}
	line := []byte(nil)
	for range len(x.want) + 3 { // MULTI, ONCE, the increments and EXEC
		if line, err = conn.ReadLine(); err != nil {
			return uncertain, err
		}
	}
	word, _, _ := strings.Cut(string(line), " ")
	switch o = outcomeOf(line); {
	case word == "-EXECABORT":
		return notRun, errors.New(string(line))
	case word == "-APPLIED" && x.sent:
		return done, nil
	case o != done || word != "*"+strconv.Itoa(len(x.want)+1):
		return o, errors.New(string(line))
	}
	if _, err = conn.ReadLine(); err != nil { // that of ONCE
		return uncertain, err
	}
	for i, want := range x.want {
		if line, err = conn.ReadLine(); err != nil {
			return uncertain, err
		}
		if integer(line) != want {
			return done, fmt.Errorf("increment %d: %q, not %d", i, line, want)
		}
	}
	return done, nil
}

// check compares the counters with what was answered. whole are the processes that must have everything in the log.
func (s *soak) check(whole []string) {
	conn, err := redistest.Dial(s.address(0))
	if err != nil {
		s.t.Error(err)
		return
	}
	defer conn.Close()
	var answered, lost, doubled, unknown, behind int64
	for _, b := range s.books {
		keeps := b.level != ahead || slices.Contains(whole, b.process)
		for _, k := range b.list {
			reply, err := conn.Do("GET", k.key)
			got, err2 := reply.Int()
			if reply.IsNull() {
				got, err2 = 0, nil
			}
			if err != nil || err2 != nil {
				s.t.Errorf("GET %s: %v, %v", k.key, reply, err)
				return
			}
			least := k.answered
			if !keeps {
				least = k.confirmed
				behind += max(0, k.answered-max(got, least))
			}
			if (got < least || got > k.attempted) && lost+doubled < soakWrong {
				s.t.Errorf("%s is %d; %d were answered, %d must be there, %d tried", k.key, got, k.answered, least, k.attempted)
			}
			answered += k.answered
			lost += max(0, least-got)
			doubled += max(0, got-k.attempted)
			unknown += k.attempted - k.answered
		}
	}
	if answered != s.total() {
		s.t.Errorf("the books have %d", answered)
	}
	s.t.Logf("%s: %s lost, %s doubled, %s unknown; %s answered ahead by processes that were killed were not in the log yet",
		s.counted(), grouped(lost), grouped(doubled), grouped(unknown), grouped(behind))
}
