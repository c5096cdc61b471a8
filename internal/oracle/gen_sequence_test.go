package oracle

import (
	"strconv"
	"strings"
)

// sequence makes one sequence of up to about a hundred commands.
func (g *generator) sequence() sequence {
	var seq sequence
	g.used = [...]int{1, 1, 2, 2, 2, connections}[g.r.IntN(6)]
	for c := range g.used {
		seq = g.open(seq, c)
	}
	for range 6 + g.r.IntN(24) {
		seq = g.step(seq)
	}
	return seq
}

// open chooses the protocol of a connection, and gives the password where there is one.
func (g *generator) open(seq sequence, conn int) sequence {
	resp := strconv.Itoa(2 + g.r.IntN(2))
	switch {
	case g.password && !g.oneIn(6):
		return g.add(seq, conn, item{args: []string{"HELLO", resp, "AUTH", "default", password}})
	case resp == "3":
		return g.add(seq, conn, item{args: []string{"HELLO", resp}})
	}
	return seq
}

// step appends one or a few steps.
func (g *generator) step(seq sequence) sequence {
	conn := g.r.IntN(g.used)
	switch n := g.r.IntN(100); {
	case g.password && n < 2:
		g.models[conn] = model{}
		return append(seq, step{conn: conn, items: []item{{args: []string{"RESET"}}}})
	case n < 45:
		return g.add(seq, conn, g.item(conn))
	case n < 75:
		return g.pipeline(seq, conn)
	case n < 83:
		return append(seq, step{kind: stepAdvance, by: g.duration()})
	case n < 89:
		return g.watchConflict(seq, conn)
	case n < 95:
		return g.block(seq, conn)
	case n < 97:
		return g.iteration(seq, conn)
	case n < 98 && g.oneIn(3):
		return g.paused(seq, conn)
	case n < 98:
		g.models[conn] = model{}
		return append(seq, step{kind: stepClose, conn: conn})
	}
	return g.bytes(seq, conn)
}

// duration is how far the clock is moved: often to just before or behind a deadline.
func (g *generator) duration() int64 {
	if len(g.ttls) > 0 && g.oneIn(2) {
		return max(1, g.ttls[g.r.IntN(len(g.ttls))]+int64(g.r.IntN(3))-1)
	}
	return [...]int64{1, 4, 10, 100, 499, 500, 501, 999, 1000, 1001, 1500, 5000, 60_000, 3_600_000}[g.r.IntN(14)]
}

// item is a command that may be sent next on the connection.
func (g *generator) item(conn int) item {
	for {
		it := item{args: g.command()}
		if g.suits(conn, it) {
			return it
		}
	}
}

// suits reports whether a command may come next, and keeps what it does in mind.
func (g *generator) suits(conn int, it item) bool {
	m := &g.models[conn]
	if m.closed {
		*m = model{}
	}
	name := word(it.args, 0)
	switch {
	case g.password && (name == "client" && (word(it.args, 1) == "reply" || word(it.args, 1) == "pause") || name == "wait"):
		return false // what they do depends on whether the connection has the right to
	case g.password && confirmed(it.args):
		return false // likewise
	case g.password && name == "reset":
		return false // Redis closes a client that has no right to the replies that wait for it
	case m.multi && isForeign(it.args):
		return false // it spoils the transaction on one side
	}
	pause := ""
	if !m.allows(it.args, &pause) || pause != "" {
		return false
	}
	m.after(it.args, "")
	return true
}

func isForeign(args []string) bool {
	for _, name := range foreignNames {
		if word(args, 0) == name {
			return true
		}
	}
	for _, name := range foreignSubcommands {
		if word(args, 0)+"|"+word(args, 1) == name {
			return true
		}
	}
	return false
}

// add appends a step of items that suit.
func (g *generator) add(seq sequence, conn int, items ...item) sequence {
	items = g.loud(conn, items)
	st := step{conn: conn, items: items}
	for i := range items {
		if g.oneIn(12) && inlineFits(items[i].args) {
			items[i].form = formInline
		}
	}
	if g.oneIn(4) {
		st.cuts = g.r.Uint64() | 2
	}
	return append(seq, st)
}

// loud ends the silence that items may have begun, within the same step: a silent server cannot be waited for.
func (g *generator) loud(conn int, items []item) []item {
	m := &g.models[conn]
	if m.closed || m.silent == loud && !m.unheard {
		return items
	}
	if m.multi && m.silent != loud {
		items = append(items, item{args: []string{"EXEC"}})
		m.after([]string{"EXEC"}, "")
	}
	on := []string{"CLIENT", "REPLY", "ON"}
	m.after(on, "")
	return append(items, item{args: on})
}

// inlineFits reports whether a command can be sent as a line. Symbols can not, because their text is
// not known here, nor a name that begins like an array.
func inlineFits(args []string) bool {
	size := 0
	for _, arg := range args {
		size += 4*len(arg) + 3
		if strings.HasPrefix(arg, symbol) {
			return false
		}
	}
	return size < 8<<10 && args[0] != "" && args[0][0] != '*'
}

func (g *generator) pipeline(seq sequence, conn int) sequence {
	var items []item
	for range 2 + g.r.IntN(8) {
		it := g.item(conn)
		items = append(items, it)
		if g.models[conn].closed { // what comes behind QUIT is not even read
			if g.oneIn(2) {
				items = append(items, item{args: []string{"INCR", "a"}}, item{args: []string{"MULTI"}})
			}
			break
		}
	}
	return g.add(seq, conn, items...)
}

// block is a list of commands between MULTI and EXEC, together or one by one.
func (g *generator) block(seq sequence, conn int) sequence {
	var items []item
	together := g.oneIn(2)
	put := func(it item) {
		if together {
			items = append(items, it)
		} else {
			seq = g.add(seq, conn, it)
		}
	}
	multi := item{args: []string{"MULTI"}}
	if !g.suits(conn, multi) {
		return seq
	}
	put(multi)
	for range g.r.IntN(6) {
		if put(g.item(conn)); g.models[conn].closed && together {
			return g.add(seq, conn, items...)
		}
	}
	end := item{args: []string{"EXEC"}}
	if g.oneIn(8) {
		end.args[0] = "DISCARD"
	}
	if g.suits(conn, end) {
		put(end)
	}
	if together {
		return g.add(seq, conn, items...)
	}
	return seq
}

// watchConflict watches keys, lets somebody change some or the clock move, and runs a transaction.
func (g *generator) watchConflict(seq sequence, conn int) sequence {
	watch := []string{"WATCH", g.word('k')}
	if g.oneIn(2) {
		watch = append(watch, g.word('k'))
	}
	if it := (item{args: watch}); g.suits(conn, it) {
		seq = g.add(seq, conn, it)
	}
	for range g.r.IntN(4) {
		if g.oneIn(4) {
			seq = append(seq, step{kind: stepAdvance, by: g.duration()})
			continue
		}
		other := g.r.IntN(g.used)
		seq = g.add(seq, other, g.item(other))
	}
	return g.block(seq, conn)
}

// iteration is a SCAN over all keys.
func (g *generator) iteration(seq sequence, conn int) sequence {
	if m := &g.models[conn]; m.multi || m.silent != loud || g.password {
		return seq
	}
	args := []string{"SCAN", "0"}
	if g.oneIn(2) {
		args = append(args, "MATCH", g.pick(wordPatterns))
	}
	if g.oneIn(2) {
		args = append(args, "COUNT", g.pick([]string{"1", "2", "10", "1000"}))
	}
	if g.oneIn(4) {
		args = append(args, "TYPE", g.pick([]string{"string", "list", "STRING", "foo"}))
	}
	g.models[conn].closed = false
	return append(seq, step{kind: stepScan, conn: conn, items: []item{{args: args}}})
}

// paused holds back commands: all of them until the clock has moved, or writes until CLIENT UNPAUSE.
func (g *generator) paused(seq sequence, conn int) sequence {
	if m := &g.models[conn]; m.multi || m.silent != loud || m.closed || g.password {
		return seq
	}
	pause := item{args: []string{"CLIENT", "PAUSE", g.pick([]string{"0", "1", "2"})}}
	if g.oneIn(2) {
		pause.args = append(pause.args, "WRITE")
		return append(seq, step{conn: conn, items: []item{pause, {args: []string{"CLIENT", "UNPAUSE"}}, {args: []string{"INCR", "a"}}}})
	}
	if g.oneIn(2) {
		pause.args = append(pause.args, "all")
	}
	return append(seq, step{conn: conn, items: []item{pause}}, step{kind: stepAdvance, by: 10})
}

// bytes are what no client library sends.
func (g *generator) bytes(seq sequence, conn int) sequence {
	nothing := []string{"\r\n", "\n", "*0\r\n", "*-1\r\n", "*-100\r\n", "   \r\n", "\r\n\r\n*0\r\n"}
	one := []string{"*1\r\n$4\r\nPINGxx", "PING\n", "  PING  \r\n", "'PING'\r\n", "ECHO \"a\\x41\\n\"\r\n", "ECHO 'a\\'b'\r\n", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "ECHO \"\"\r\n"}
	last := []string{
		"*x\r\n", "*1\r\n+PING\r\n", "*1\r\n$x\r\n", "*1\r\n$-1\r\n", "*1\r\n$999999999999\r\n", "*3000000000\r\n", "\"PING\r\n", "ECHO 'a\r\n",
		"ECHO \"a\"b\r\n", "*1 \r\n", "*1\r\n$4 \r\nPING\r\n", "*+1\r\n", "*1\r\n\r\n", "*1\r\n:1\r\n", "*2\r\n$4\r\nECHO\r\n*1\r\n", "$4\r\nPING\r\n\"\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\n\r\n", "*9223372036854775808\r\n", "*1\r\n$99999999999999999999\r\n", "*01\r\n",
	}
	var it item
	switch g.r.IntN(4) {
	case 0, 1:
		it = item{form: formBytes, args: []string{g.pick(nothing), "0"}}
	case 2:
		if g.models[conn].multi {
			return seq
		}
		it = item{form: formBytes, args: []string{g.pick(one), "1"}}
		g.models[conn].after([]string{"ping"}, "")
	default:
		it = item{form: formBytes, args: []string{g.pick(last), closes}}
		g.models[conn] = model{}
	}
	st := step{conn: conn, items: []item{it}}
	if g.oneIn(2) && it.args[1] != closes {
		st.items = g.loud(conn, []item{it, g.item(conn)})
		if g.oneIn(2) {
			st.cuts = g.r.Uint64() | 2
		}
	}
	return append(seq, st)
}
