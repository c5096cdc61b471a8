package systest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"quipu/internal/redistest"
)

// model is a tiny Redis for strings: what one client that alone writes to a database must see.
type model map[string]string

// run executes one command and returns its reply in RESP2.
func (m model) run(args []string) string {
	switch args[0] {
	case "INCR":
		return m.add(args[1], 1)
	case "INCRBY":
		n, _ := strconv.ParseInt(args[2], 10, 64)
		return m.add(args[1], n)
	case "DECRBY":
		n, _ := strconv.ParseInt(args[2], 10, 64)
		return m.add(args[1], -n)
	case "GET":
		return m.bulk(args[1])
	case "SET":
		m[args[1]] = args[2]
		return "+OK\r\n"
	case "SETNX":
		return m.intIf(!m.has(args[1]), func() { m[args[1]] = args[2] })
	case "GETSET":
		old := m.bulk(args[1])
		m[args[1]] = args[2]
		return old
	case "GETDEL":
		old := m.bulk(args[1])
		delete(m, args[1])
		return old
	case "APPEND":
		m[args[1]] += args[2]
		return integer(len(m[args[1]]))
	case "SETRANGE":
		return m.setRange(args)
	case "DEL":
		n := 0
		for _, key := range args[1:] {
			if m.has(key) {
				n++
				delete(m, key)
			}
		}
		return integer(n)
	case "MSET":
		for i := 1; i < len(args); i += 2 {
			m[args[i]] = args[i+1]
		}
		return "+OK\r\n"
	case "RENAME":
		v, ok := m[args[1]]
		if !ok {
			return "-ERR no such key\r\n"
		}
		delete(m, args[1])
		m[args[2]] = v
		return "+OK\r\n"
	case "COPY": // with REPLACE, of two different keys
		return m.intIf(m.has(args[1]), func() { m[args[2]] = m[args[1]] })
	case "DBSIZE":
		return integer(len(m))
	case "FLUSHDB":
		clear(m)
		return "+OK\r\n"
	}
	panic("the model does not know " + args[0])
}

func integer(n int) string { return ":" + strconv.Itoa(n) + "\r\n" }

func (m model) has(key string) bool {
	_, ok := m[key]
	return ok
}

func (m model) intIf(cond bool, then func()) string {
	if !cond {
		return ":0\r\n"
	}
	then()
	return ":1\r\n"
}

func (m model) bulk(key string) string {
	v, ok := m[key]
	if !ok {
		return "$-1\r\n"
	}
	return fmt.Sprintf("$%d\r\n%s\r\n", len(v), v)
}

func (m model) add(key string, delta int64) string {
	v, ok := m[key]
	if !ok {
		v = "0"
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != v {
		return "-ERR value is not an integer or out of range\r\n"
	}
	m[key] = strconv.FormatInt(n+delta, 10)
	return ":" + m[key] + "\r\n"
}

func (m model) setRange(args []string) string {
	at, _ := strconv.Atoi(args[2])
	v := []byte(m[args[1]])
	if end := at + len(args[3]); len(v) < end {
		v = append(v, make([]byte, end-len(v))...)
	}
	copy(v[at:], args[3])
	m[args[1]] = string(v)
	return integer(len(v))
}

// unit is what happens whole or not at all: one command, or one transaction.
type unit struct {
	commands [][]string // without MULTI and EXEC
	atomic   bool       // sent between MULTI and EXEC
}

// apply runs the unit and returns the replies it must get, one after the other.
func (u unit) apply(m model) (replies string) {
	var b strings.Builder
	if u.atomic {
		b.WriteString("+OK\r\n" + strings.Repeat("+QUEUED\r\n", len(u.commands)))
		fmt.Fprintf(&b, "*%d\r\n", len(u.commands))
	}
	for _, c := range u.commands {
		b.WriteString(m.run(c))
	}
	return b.String()
}

func (u unit) replies() int {
	if u.atomic {
		return len(u.commands) + 2
	}
	return len(u.commands)
}

func (u unit) encode(b []byte) []byte {
	if u.atomic {
		b = redistest.AppendCommand(b, "MULTI")
	}
	for _, c := range u.commands {
		b = redistest.AppendCommand(b, c...)
	}
	if u.atomic {
		b = redistest.AppendCommand(b, "EXEC")
	}
	return b
}

// soleWriter is the only writer of one database, so that it knows every reply beforehand, and after a crash which states are
// possible: those reached by a beginning of what it has sent, at least as long as what was acknowledged.
type soleWriter struct {
	name  string
	db    int
	depth int // most units in one write
	next  func(o *soleWriter) unit
	rng   *rand.Rand
	seq   int

	front   model // after everything sent
	acked   model // after everything acknowledged
	unknown []unit
	units   int // acknowledged since the start, for the log
}

func newSoleWriter(name string, db, depth int, rng *rand.Rand, next func(o *soleWriter) unit) *soleWriter {
	return &soleWriter{name: name, db: db, depth: depth, next: next, rng: rng, front: model{}, acked: model{}}
}

// load sends pipelines until the connection breaks. A wrong reply is an error.
func (o *soleWriter) load(c *redistest.Conn) error {
	if _, err := c.Do("SELECT", strconv.Itoa(o.db)); err != nil {
		return nil
	}
	for {
		var raw []byte
		n := 1 + o.rng.IntN(o.depth)
		wants := make([]string, n)
		for i := range n {
			u := o.next(o)
			wants[i] = u.apply(o.front)
			raw = u.encode(raw)
			o.unknown = append(o.unknown, u)
		}
		if c.Send(raw) != nil {
			return nil
		}
		for _, want := range wants {
			u := o.unknown[0]
			got := ""
			for range u.replies() {
				r, err := c.ReadRaw()
				if err != nil {
					return brokenOr(err)
				}
				got += string(r)
			}
			if got != want {
				return fmt.Errorf("%s: %q answered %q, expected %q", o.name, u.commands, got, want)
			}
			u.apply(o.acked)
			o.unknown = o.unknown[1:]
			o.units++
		}
	}
}

// verify compares the database with every possible state and takes over the one it finds.
func (o *soleWriter) verify(c *redistest.Conn) error {
	if _, err := c.Do("SELECT", strconv.Itoa(o.db)); err != nil {
		return err
	}
	actual, err := readDatabase(c)
	if err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	size, err := c.Do("DBSIZE")
	if err != nil {
		return err
	}
	if n, _ := size.Int(); int(n) != len(actual) {
		return fmt.Errorf("%s: DBSIZE says %d, SCAN found %d keys", o.name, n, len(actual))
	}
	state := maps.Clone(o.acked)
	for i := 0; ; i++ {
		if maps.Equal(state, model(actual)) {
			o.acked, o.front, o.unknown = state, maps.Clone(state), nil
			return nil
		}
		if i == len(o.unknown) {
			break
		}
		o.unknown[i].apply(state)
	}
	return fmt.Errorf("%s: the state after the restart is none of the %d possible ones (%d keys); from the acknowledged "+
		"state: %s", o.name, len(o.unknown)+1, len(actual), difference(o.acked, actual))
}

// difference lists some keys whose values differ.
func difference(want, got model) string {
	var lines []string
	for key := range want {
		if v, ok := got[key]; !ok || v != want[key] {
			lines = append(lines, fmt.Sprintf("%q: acknowledged %.60q, found %.60q (%v)", key, want[key], v, ok))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			lines = append(lines, fmt.Sprintf("%q: not there before, found %.60q", key, got[key]))
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%d differ: %s", len(lines), strings.Join(lines[:min(len(lines), 8)], "; "))
}

// brokenOr tells a connection that broke because the server was killed from any other error.
func brokenOr(err error) error {
	if redistest.IsClosed(err) {
		return nil
	}
	return err
}

// coldUnit increments one of many counters.
func coldUnit(o *soleWriter) unit {
	return unit{commands: [][]string{{"INCR", "cold:" + strconv.Itoa(o.rng.IntN(5000))}}}
}

// positionUnit is what a producer does that counts exactly once: the counts and its position in one transaction.
func positionUnit(o *soleWriter) unit {
	o.seq++
	return unit{atomic: true, commands: [][]string{
		{"INCR", "records"},
		{"INCRBY", "sum:" + strconv.Itoa(o.rng.IntN(20)), strconv.Itoa(o.rng.IntN(2001) - 1000)},
		{"SET", "position", strconv.Itoa(o.seq)},
	}}
}

// mixedUnit is any command of the model, or a transaction of several.
func mixedUnit(o *soleWriter) unit {
	if o.rng.IntN(5) > 0 {
		return unit{commands: [][]string{mixedCommand(o)}}
	}
	u := unit{atomic: true}
	for range 1 + o.rng.IntN(6) {
		u.commands = append(u.commands, mixedCommand(o))
	}
	return u
}

func mixedCommand(o *soleWriter) []string {
	key := func() string { return "k" + strconv.Itoa(o.rng.IntN(40)) }
	o.seq++
	value := strconv.Itoa(o.seq)
	if o.rng.IntN(3) == 0 {
		value = strings.Repeat("x", o.rng.IntN(300)) + value
	}
	k := key()
	switch o.rng.IntN(18) {
	case 0, 1, 2:
		return []string{"INCR", k}
	case 3:
		return []string{"INCRBY", k, strconv.Itoa(o.rng.IntN(1_000_000) - 500_000)}
	case 4:
		return []string{"DECRBY", k, strconv.Itoa(o.rng.IntN(1000))}
	case 5, 6:
		return []string{"SET", k, value}
	case 7:
		return []string{"SETNX", k, value}
	case 8:
		return []string{"GETSET", k, value}
	case 9:
		return []string{"GETDEL", k}
	case 10:
		if len(o.front[k]) > 4000 {
			return []string{"DEL", k}
		}
		return []string{"APPEND", k, value}
	case 11:
		return []string{"SETRANGE", k, strconv.Itoa(o.rng.IntN(100)), value}
	case 12:
		return []string{"DEL", k, key()}
	case 13:
		return []string{"MSET", k, value, key(), "7"}
	case 14:
		return []string{"RENAME", k, key()}
	case 15:
		to := key()
		if to == k {
			return []string{"GET", k}
		}
		return []string{"COPY", k, to, "REPLACE"}
	case 16:
		return []string{"DBSIZE"}
	default:
		if o.rng.IntN(20) == 0 {
			return []string{"FLUSHDB"}
		}
		return []string{"GET", k}
	}
}
