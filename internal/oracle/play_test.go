package oracle

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"quipu/internal/redistest"
)

// The two sides of a comparison.
const (
	redis = 0
	quipu = 1
)

var sideNames = [2]string{"redis", "quipu"}

// client is one connection of a sequence, made to both servers.
type client struct {
	model
	conns [2]*redistest.Conn
	ids   [2]string
	local [2]string // our address, as the servers see it
	told  [2]told
	heard [2][]string // messages about channels
}

// exchange is one command with both replies, "" where there is none.
type exchange struct {
	step    int
	conn    int
	raw     string   // bytes sent, where that is no array of bulk strings
	split   bool     // in several writes
	args    []string // as Quipu gets them
	written []string // before symbols were replaced
	replies [2]string
	queue   [][]string // what EXEC runs
	moved   int64      // no command: the clock was moved by this, in ms
	note    string     // no command: what was done
	differs bool
}

// player plays sequences on a pair of servers.
type player struct {
	*pair
	rules   *rules
	twist   func(args []string, reply string) string // for tests of the oracle: changes what Quipu has said
	control [2]*redistest.Conn

	clients  [connections]*client
	begun    int64 // when the sequence began, ms
	times    []int64
	integers []int64 // that commands have named: a deadline can follow only from them
	log      []*exchange
	moved    bool // the clock has moved, so that keys may have died
	parted   bool // the values differ, and so may all replies from here on
}

// What a read brings in place of a reply.
const (
	replyEOF     = "EOF"
	replyTimeOut = "TIMEOUT"
)

var errUnplayable = errors.New("the sequence cannot be played")

// play runs a sequence and reports whether all replies were right. p.log holds what was said. An error is the oracle's
// own failure.
func (p *player) play(seq sequence) (same bool, err error) {
	if !seq.legal() {
		return true, errUnplayable
	}
	if err := p.begin(); err != nil {
		return true, err
	}
	defer p.hangUp()
	for i := range seq {
		if same, err = p.step(i, &seq[i]); !same || err != nil {
			return same, err
		}
	}
	if same, err = p.finish(len(seq)); !same || err != nil || p.parted {
		return same, err
	}
	return p.compareData(len(seq))
}

func (p *player) begin() error {
	p.log, p.times, p.integers, p.moved, p.parted = nil, nil, nil, false, false
	p.begun = (p.clock.now()/10_000+1)*10_000 + 5
	p.clock.set(p.begun)
	p.times = append(p.times, p.begun)
	for side := range p.control {
		r, err := p.ask(side, "FLUSHALL")
		if err != nil || r != "+OK\r\n" {
			return fmt.Errorf("FLUSHALL on %s: %q, %w", sideNames[side], r, err)
		}
	}
	return nil
}

// ask sends a command over the oracle's own connection to one side, which it opens again when it was closed.
func (p *player) ask(side int, args ...string) (string, error) {
	for attempt := 0; ; attempt++ {
		if p.control[side] == nil {
			p.control[side] = p.dial(side)
		}
		err := p.control[side].SendCommand(args...)
		if err == nil {
			var raw []byte
			if raw, err = p.control[side].ReadRaw(); err == nil {
				return string(raw), nil
			}
		}
		p.control[side].Close()
		p.control[side] = nil
		if attempt > 0 || !redistest.IsClosed(err) {
			return "", err
		}
	}
}

// hangUp closes the sequence's connections at once, leaving nothing behind in the kernel.
func (p *player) hangUp() {
	for i := range p.clients {
		p.drop(i)
	}
}

func (p *player) drop(i int) {
	c := p.clients[i]
	if c == nil {
		return
	}
	p.clients[i] = nil
	for _, conn := range c.conns {
		if conn == nil {
			continue
		}
		if tcp, ok := conn.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		conn.Close()
	}
	if c.listens {
		p.awaitGone(c)
	}
}

// client is the connection of that number, opened where it is not.
func (p *player) client(i int) (*client, error) {
	if c := p.clients[i]; c != nil {
		return c, nil
	}
	c := &client{}
	p.clients[i] = c
	for side := range c.conns {
		conn := p.dial(side)
		c.conns[side], c.local[side] = conn, conn.LocalAddr().String()
		r, err := conn.Do("CLIENT", "ID")
		if err != nil || r.Type != ':' {
			return nil, fmt.Errorf("CLIENT ID on %s: %v, %w", sideNames[side], r, err)
		}
		c.ids[side] = r.Text
		if p.setup.password {
			if r, err = conn.Do("RESET"); err != nil || r.Text != "RESET" {
				return nil, fmt.Errorf("RESET on %s: %v, %w", sideNames[side], r, err)
			}
		}
	}
	return c, nil
}

func (p *player) step(i int, st *step) (same bool, err error) {
	if st.kind == stepAdvance {
		return true, p.advance(i, st.by)
	}
	c, err := p.client(st.conn)
	if err != nil {
		return true, err
	}
	switch st.kind {
	case stepClose:
		p.drop(st.conn)
		p.log = append(p.log, &exchange{step: i, conn: st.conn, note: "@close"})
		return true, nil
	case stepScan:
		return p.scanAll(i, c, st)
	}
	return p.pipe(i, c, st)
}

// advance moves both clocks, not to the very millisecond of a deadline: there the servers differ by design.
func (p *player) advance(i int, by int64) error {
	to := p.clock.now() + max(by, 1)
	for p.mayBeDeadline(to) {
		to++
	}
	p.log = append(p.log, &exchange{step: i, moved: to - p.clock.now()})
	p.clock.set(to)
	p.times = append(p.times, to)
	p.moved = true
	return nil
}

func (p *player) mayBeDeadline(t int64) bool {
	for _, n := range p.integers {
		if n == t || n == t/1000 && t%1000 == 0 {
			return true
		}
		for _, begin := range p.times {
			if d := t - begin; d == n || d%1000 == 0 && d/1000 == n {
				return true
			}
		}
	}
	return false
}

// resolve replaces a symbolic argument by what it stands for on one side.
func (p *player) resolve(arg string, side int) string {
	if !strings.HasPrefix(arg, symbol) {
		return arg
	}
	number := func(prefix string) int64 {
		n, _ := strconv.ParseInt(strings.TrimPrefix(arg, prefix), 10, 64)
		return n
	}
	switch {
	case strings.HasPrefix(arg, symID):
		if c := p.clients[number(symID)]; c != nil {
			return c.ids[side]
		}
		return "999999999"
	case strings.HasPrefix(arg, symAddr):
		if c := p.clients[number(symAddr)]; c != nil {
			return c.local[side]
		}
		return "127.0.0.1:1"
	case strings.HasPrefix(arg, symLocal):
		return p.addrs[side]
	case strings.HasPrefix(arg, symMillis):
		t := p.begun + number(symMillis)
		if t == p.clock.now() {
			t++
		}
		return strconv.FormatInt(t, 10)
	}
	t := p.begun/1000 + number(symSeconds)
	if t*1000 == p.clock.now() {
		t++
	}
	return strconv.FormatInt(t, 10)
}

func (p *player) resolveAll(args []string, side int) []string {
	resolved := slices.Clone(args)
	for i, arg := range args {
		resolved[i] = p.resolve(arg, side)
	}
	return resolved
}

// pipe sends a pipeline to both sides, reads all replies and compares them.
func (p *player) pipe(i int, c *client, st *step) (same bool, err error) {
	list := p.newExchanges(i, st)
	kills := false
	for _, it := range st.items {
		name := word(it.args, 0)
		kills = kills || it.form != formBytes && (name == "client" && word(it.args, 1) == "kill" || name == "exec" && c.kills)
	}
	if err := p.send(c, st); err != nil {
		return true, err
	}
	before := c.model
	p.read(c, st, list, redis)
	c.model = before
	p.readLike(c, st, list)
	same = true
	for _, x := range list {
		if !p.rules.same(p, x, len(list) == 1) {
			x.differs, same = true, false
		}
	}
	if c.closed && same {
		same = p.expectEnd(i, st.conn)
	}
	if kills && same {
		return p.buryKilled(i)
	}
	return same, nil
}

func (p *player) newExchanges(i int, st *step) []*exchange {
	var list []*exchange
	for _, it := range st.items {
		x := &exchange{step: i, conn: st.conn, split: st.cuts != 0}
		if it.form == formBytes {
			x.raw = it.args[0]
		} else {
			x.args, x.written = p.resolveAll(it.args, quipu), it.args
			for _, arg := range x.args {
				if n, err := strconv.ParseInt(arg, 10, 64); err == nil {
					p.integers = append(p.integers, n)
				}
			}
		}
		list = append(list, x)
	}
	for k, it := range st.items {
		if it.form == formInline {
			list[k].raw = string(it.encode(nil, list[k].args))
		}
	}
	p.log = append(p.log, list...)
	return list
}

// send writes a step's bytes to both sides, in the parts that its cuts say. Between parts it waits until a command on
// another connection was answered, so that the servers see them one by one.
func (p *player) send(c *client, st *step) error {
	for side, conn := range c.conns {
		var raw []byte
		cuts := st.cuts
		for _, it := range st.items {
			var args []string
			if it.form != formBytes {
				args = p.resolveAll(it.args, side)
			}
			raw = it.encode(raw, args)
			if word(it.args, 0) == "quit" || it.form == formBytes && it.args[1] == closes {
				cuts = 0 // what comes after the server has closed would take its last reply away
			}
		}
		for n, part := range split(raw, cuts) {
			if n > 0 && cuts&1 == 0 {
				if _, err := p.ask(side, "PING"); err != nil {
					return err
				}
			}
			if err := conn.Send(part); err != nil && !redistest.IsClosed(err) {
				return fmt.Errorf("sending to %s: %w", sideNames[side], err)
			}
		}
	}
	return nil
}

// read reads one side's replies as the model expects them.
func (p *player) read(c *client, st *step, list []*exchange, side int) {
	for k, it := range st.items {
		x := list[k]
		if c.closed {
			return
		}
		if it.form == formBytes {
			p.readBytes(c, it, x, side)
			continue
		}
		if word(it.args, 0) == "exec" {
			x.queue = c.queue
		}
		if c.replies(it.args) {
			x.replies[side] = c.read(side)
		}
		if x.replies[side] == replyEOF || x.replies[side] == replyTimeOut {
			c.closed = true
			return
		}
		c.after(it.args, x.replies[side])
	}
}

// readLike reads from Quipu as many replies as Redis has sent.
func (p *player) readLike(c *client, st *step, list []*exchange) {
	for k, it := range st.items {
		x := list[k]
		if c.closed {
			return
		}
		if it.form == formBytes {
			p.readBytes(c, it, x, quipu)
			continue
		}
		if x.replies[redis] != "" {
			x.replies[quipu] = c.read(quipu)
			if p.twist != nil {
				x.replies[quipu] = p.twist(x.args, x.replies[quipu])
			}
		}
		if x.replies[redis] == replyEOF || x.replies[quipu] == replyEOF || x.replies[quipu] == replyTimeOut {
			c.closed = true
			return
		}
		c.after(it.args, x.replies[redis])
	}
}

func (p *player) readBytes(c *client, it item, x *exchange, side int) {
	if it.args[1] == closes {
		for reply := ""; reply != replyEOF && reply != replyTimeOut; x.replies[side] += reply {
			reply = c.read(side)
		}
		c.closed = true
		return
	}
	if it.args[1] == "1" {
		if c.silent == loud {
			x.replies[side] = c.read(side)
		}
		c.after([]string{"ping"}, x.replies[side])
	}
}

// do sends a command to one side, and reads its reply.
func (c *client) do(side int, args ...string) (redistest.Reply, error) {
	if err := c.conns[side].SendCommand(args...); err != nil {
		return redistest.Reply{}, err
	}
	r, _, err := redistest.ParseReply([]byte(c.read(side)))
	return r, err
}

func readOne(c *redistest.Conn) string {
	raw, err := c.ReadRaw()
	switch {
	case err == nil:
		return string(raw)
	case redistest.IsClosed(err):
		return replyEOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return replyTimeOut
	}
	return string(raw) + " (" + err.Error() + ")"
}

// expectEnd checks that both sides close a connection and say nothing more.
func (p *player) expectEnd(i, conn int) bool {
	x := &exchange{step: i, conn: conn, note: "the end of the connection"}
	for side := range p.clients[conn].conns {
		if x.replies[side] = p.clients[conn].read(side); x.replies[side] != replyEOF {
			x.differs = true
		}
	}
	p.drop(conn)
	if x.differs {
		p.log = append(p.log, x)
	}
	return !x.differs
}

// buryKilled finds which connections Redis has closed after CLIENT KILL. Quipu must have closed the same.
func (p *player) buryKilled(i int) (same bool, err error) {
	living, err := p.ask(redis, "CLIENT", "LIST")
	if err != nil {
		return true, err
	}
	for conn, c := range p.clients {
		if c == nil || strings.Contains(living, "id="+c.ids[redis]+" ") {
			continue
		}
		if !p.expectEnd(i, conn) {
			return false, nil
		}
	}
	return true, nil
}

// scanAll iterates over the keys on both sides, each with its own cursors; the sets must be the same.
func (p *player) scanAll(i int, c *client, st *step) (same bool, err error) {
	x := &exchange{step: i, conn: st.conn, note: "# all of " + strings.Join(quoteAll(st.items[0].args), " ")}
	p.log = append(p.log, x)
	for side := range c.conns {
		found := map[string]bool{}
		for cursor, rounds := "0", 0; rounds == 0 || cursor != "0"; rounds++ {
			args := slices.Clone(st.items[0].args)
			args[1] = cursor
			r, err := c.do(side, args...)
			if err != nil {
				return true, err
			}
			if len(r.Elems) != 2 || rounds > 10_000 {
				x.replies[side] = string(r.Encode(nil))
				break
			}
			cursor = r.Elems[0].Text
			for _, key := range r.Elems[1].Elems {
				found[key.Text] = true
			}
		}
		if x.replies[side] == "" {
			x.replies[side] = sortedKeys(found)
		}
	}
	x.differs = x.replies[redis] != x.replies[quipu]
	return !x.differs, nil
}

func sortedKeys(found map[string]bool) string {
	keys := make([]string, 0, len(found))
	for key := range found {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return string(redistest.AppendCommand(nil, keys...))
}

// finish checks that nothing more is to be read from the sequence's connections.
func (p *player) finish(i int) (same bool, err error) {
	if !p.sameMessages(i) {
		return false, nil
	}
	for n, c := range p.clients {
		if c == nil {
			continue
		}
		x := &exchange{step: i, conn: n, args: []string{"RESET"}}
		p.log = append(p.log, x)
		for side, conn := range c.conns {
			if err := conn.SendCommand("RESET"); err == nil {
				x.replies[side] = c.read(side)
			}
		}
		if x.replies[redis] != "+RESET\r\n" {
			return true, fmt.Errorf("the oracle miscounted the replies of Redis: %q in place of RESET's", x.replies[redis])
		}
		if x.replies[quipu] != x.replies[redis] {
			x.differs = true
			return false, nil
		}
	}
	return true, nil
}
