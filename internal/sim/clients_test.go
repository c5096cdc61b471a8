package sim

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"quipu/exec"
	"quipu/internal/linear"
	"quipu/replica"
)

type outcome int

const (
	done      outcome = iota // answered
	notRun                   // certainly without an effect
	uncertain                // it may have been carried out, and may still be
)

// client sends commands to its node, one at a time, as a session does.
type client struct {
	w    *world
	home *node
	rng  *rand.Rand
	run  *running // that runner is for
	exec *exec.Runner
}

type mailbox chan *replica.SubBatch

// Complete implements replica.Owner.
func (m mailbox) Complete(s *replica.SubBatch) { m <- s }

// do carries out one command.
func (c *client) do(line string) (reply string, o outcome) {
	run := c.home.now()
	if run == nil || !run.ready() {
		time.Sleep(20 * time.Millisecond)
		return "", notRun
	}
	args := words(line)
	cmd, refusal := c.w.table.Resolve(args)
	if cmd == nil {
		panic("BUG: " + refusal)
	}
	if cmd.Write != nil && run.rep.Group.Writable() != nil {
		time.Sleep(20 * time.Millisecond)
		return "", notRun
	}
	if c.run != run {
		c.run, c.exec = run, run.rep.NewRunner()
	}
	back := make(mailbox, 1)
	s := run.rep.NewSubBatch(back)
	s.Open()
	s.Begin(nil, 0)
	as := exec.As{RESP: 2}
	if cmd.Write != nil {
		s.Hold(cmd, args)
		s.Write(cmd, args, as)
	} else {
		s.Read(cmd, args, as)
	}
	s.End()
	if s.ReadsOnly() {
		run.rep.SubmitReads(s)
	} else {
		run.rep.Submit(s)
		run.rep.Flush()
	}
	select {
	case s = <-back:
	case <-run.crashed:
		return "", uncertain
	}
	s.Execute(c.exec)
	select {
	case <-run.crashed:
		return "", uncertain // the reply was never sent
	default:
	}
	reply = strings.TrimSuffix(string(s.Replies(&s.Submissions()[0])), "\r\n")
	switch word, _, _ := strings.Cut(reply, " "); word {
	case "-UNKNOWN":
		return reply, uncertain
	case "-CLUSTERDOWN", "-TRYAGAIN":
		time.Sleep(10 * time.Millisecond)
		return reply, notRun
	}
	return reply, done
}

func words(line string) (args [][]byte) {
	for _, word := range strings.Fields(line) {
		args = append(args, []byte(word))
	}
	return args
}

// number is an integer reply, or an integer in a string; a null counts as 0.
func number(reply string) (n int64, ok bool) {
	if reply == "$-1" {
		return 0, true
	}
	text := reply[strings.LastIndexByte(reply, '\n')+1:]
	n, err := strconv.ParseInt(strings.TrimPrefix(text, ":"), 10, 64)
	return n, err == nil && (reply[0] == ':' || reply[0] == '$')
}

// counter is a key that clients only increment and read.
type counter struct {
	key              string
	mu               sync.Mutex
	acked, attempted int64
	unknown          int64
	all              []linear.Increment
}

func (k *counter) increment(c *client) {
	k.mu.Lock()
	k.attempted++
	k.mu.Unlock()
	began := c.w.time()
	reply, o := c.do("INCR " + k.key)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch o {
	case notRun:
		k.attempted--
	case uncertain:
		k.unknown++
	case done:
		n, ok := number(reply)
		if !ok {
			c.w.errorf("INCR %s: %q", k.key, reply)
		}
		k.acked++
		k.all = append(k.all, linear.Increment{Began: began, Ended: c.w.time(), Value: n})
		c.w.progress.Store(int64(c.w.time()))
	}
}

func (k *counter) read(c *client) {
	k.mu.Lock()
	least := k.acked
	k.mu.Unlock()
	began := c.w.time()
	reply, o := c.do("GET " + k.key)
	if o != done {
		return
	}
	k.mu.Lock()
	most := k.attempted + 32 // those that were taken back meanwhile
	k.mu.Unlock()
	if n, ok := number(reply); !ok || n < least || n > most {
		c.w.errorf("GET %s on %s, from %v to %v: %q; %d were answered before, %d tried", k.key, c.home.name, began, c.w.time(), reply, least, most)
	}
}

// check looks at all replies once more, when the counter is at final and nothing is under way.
func (k *counter) check(w *world, final int64) {
	linear.CheckIncrements(k.all, k.unknown, final, func(format string, args ...any) { w.errorf(k.key+": "+format, args...) })
}

// onces counts with ONCE: it sends each increment until it is answered, through whatever node, and some once more after that. Each
// counts once, and has the same answer always.
func onces(c *client, name string) {
	epoch := int64(0)
	for n := int64(0); !c.w.ended(); {
		line := "ONCE OPEN " + name
		if epoch != 0 {
			line = "ONCE " + name + " " + strconv.FormatInt(epoch, 10) + " " + strconv.FormatInt(n, 10) + " INCR " + name
		}
		again := c.rng.IntN(3) == 0
		reply, o := c.do(line)
		got, ok := number(reply)
		switch {
		case o != done:
			again = true
		case epoch == 0:
			epoch, n, again = got, 1, false
		case !ok || got != n:
			c.w.errorf("%s: %q", line, reply)
			return
		}
		switch {
		case again:
			c.home = c.w.nodes[c.rng.IntN(len(c.w.nodes))]
		case o == done && line != "ONCE OPEN "+name:
			n++
			c.w.onces.Add(1)
		}
		time.Sleep(time.Duration(c.rng.IntN(6)) * time.Millisecond)
	}
}

// expiring sets a key with a deadline, and reads it until it is gone: from then on it stays gone.
func expiring(c *client, key string) {
	reply, o := c.do("SET " + key + " v PX " + strconv.Itoa(50+c.rng.IntN(300)))
	if o == uncertain {
		time.Sleep(3 * writeTimeout) // it may still be carried out
	}
	if o != done {
		return
	}
	if reply != "+OK" {
		c.w.errorf("SET: %q", reply)
	}
	gone := time.Duration(-1)
	for end := c.w.time() + 600*time.Millisecond; c.w.time() < end && !c.w.ended(); {
		reply, o := c.do("GET " + key)
		switch {
		case o != done:
		case reply == "$-1" && gone < 0:
			gone = c.w.time()
		case reply != "$-1" && gone >= 0:
			c.w.errorf("%s was gone at %v and is back at %v", key, gone, c.w.time())
		}
		time.Sleep(time.Duration(1+c.rng.IntN(20)) * time.Millisecond)
	}
}
