package oracle

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// form is how a command travels.
type form byte

const (
	formBulk   form = iota // as an array of bulk strings
	formInline             // as a line
	formBytes              // args[0] is what is sent; it brings as many replies as args[1] says, or closes the connection
)

const closes = "closes"

// item is one command of a pipeline.
type item struct {
	form form
	args []string
}

// stepKind says what a step does.
type stepKind byte

const (
	stepPipe    stepKind = iota // send items on a connection and read their replies
	stepAdvance                 // move the clock
	stepScan                    // iterate over all keys with SCAN and the options in items[0]
	stepClose                   // close the connection from the client's side
)

// step is what happens between two moments at which both servers are at rest.
type step struct {
	kind  stepKind
	conn  int
	items []item
	cuts  uint64 // where the bytes are split into writes, as a seed; 0: nowhere
	by    int64  // ms
}

// sequence is what is played from no keys and no connections on.
type sequence []step

// connections is the most that a sequence uses.
const connections = 3

// Arguments that only the player knows begin with symbol: the id or address of a connection, and moments relative to the
// sequence's begin.
const (
	symbol      = "\x02"
	symID       = symbol + "id"
	symAddr     = symbol + "addr"
	symLocal    = symbol + "laddr"
	symMillis   = symbol + "ms"
	symSeconds  = symbol + "s"
	countsUpTo  = 100_000 // SETRANGE offsets above make values that only cost time, until
	largestSize = 8 << 20 // which no value may exceed
)

func word(args []string, i int) string {
	if i >= len(args) {
		return ""
	}
	return strings.ToLower(args[i])
}

// silence is what CLIENT REPLY has set.
type silence byte

const (
	loud silence = iota
	silentOff
	silentSkip // the next command
)

// model is what is known of a connection's state: which commands get a reply, and what EXEC will run.
type model struct {
	silent  silence
	multi   bool
	queue   [][]string
	kills   bool // a CLIENT KILL has been queued
	closed  bool
	listens bool // it has subscribed to something, and may have unsubscribed since
	// unheard: the last command got no reply, so nobody can tell when the server has finished it.
	unheard bool
}

// confirmed reports whether a command is of those whose confirmations are messages, one for each channel, and no reply.
func confirmed(args []string) bool {
	switch word(args, 0) {
	case "subscribe", "psubscribe", "ssubscribe":
		return len(args) > 1
	case "unsubscribe", "punsubscribe", "sunsubscribe":
		return true
	}
	return false
}

// replies reports whether the next command gets one.
func (m *model) replies(args []string) bool {
	if confirmed(args) {
		return false
	}
	if !m.multi && word(args, 0) == "client" && word(args, 1) == "reply" && len(args) == 3 {
		switch word(args, 2) {
		case "on":
			return true
		case "off", "skip":
			return false
		}
	}
	return m.silent == loud || m.silent == silentOff && word(args, 0) == "reset" && len(args) == 1
}

// after takes a command into account. reply is what Redis has said, "" when that is not known.
func (m *model) after(args []string, reply string) {
	heard := m.replies(args)
	defer func() { m.unheard = !heard }()
	if m.silent == silentSkip {
		m.silent = loud
	}
	refused := strings.HasPrefix(reply, "-")
	switch name := word(args, 0); {
	case name == "quit":
		m.closed = true
	case name == "reset" && len(args) == 1:
		*m = model{}
	case confirmed(args):
		m.listens = true
	case name == "exec", name == "discard" && len(args) == 1:
		m.multi, m.queue, m.kills = false, nil, false
	case m.multi:
		if reply == "" || strings.HasPrefix(reply, "+QUEUED") {
			m.queue = append(m.queue, args)
			m.kills = m.kills || name == "client" && word(args, 1) == "kill"
		}
	case name == "multi" && len(args) == 1 && !refused:
		m.multi = true
	case name == "client" && word(args, 1) == "reply" && len(args) == 3 && !refused:
		switch word(args, 2) {
		case "on":
			m.silent = loud
		case "off":
			m.silent = silentOff
		case "skip":
			if m.silent != silentOff {
				m.silent = silentSkip
			}
		}
	}
}

// legal reports whether a sequence can be played: it neither waits for what only real time brings, nor does what is
// known to leave Redis with half a reply, nor touches other connections than its own.
func (seq sequence) legal() bool {
	var models [connections]model
	pause := "" // what ends the pause that is in force
	for _, st := range seq {
		if st.kind == stepAdvance {
			if st.by > 1 && pause == "advance" {
				pause = ""
			}
			continue
		}
		if pause == "advance" || pause != "" && st.kind != stepPipe {
			return false
		}
		m := &models[st.conn]
		if st.kind == stepClose || m.closed { // the next step opens another connection
			*m = model{}
		}
		if st.kind == stepScan && (m.multi || m.silent != loud) {
			return false
		}
		for _, it := range st.items {
			switch {
			case st.kind != stepPipe || m.closed:
				continue
			case it.form == formBytes && it.args[1] == closes:
				*m = model{closed: true}
				continue
			case it.form == formBytes:
				if it.args[1] == "1" {
					m.after([]string{"ping"}, "")
				}
				continue
			}
			if pause == "advance" || pause == "unpause" && !isUnpause(it.args) || !m.allows(it.args, &pause) {
				return false
			}
			m.after(it.args, "")
		}
		if !m.closed && (m.silent != loud || m.unheard) {
			return false
		}
	}
	return pause == ""
}

func isUnpause(args []string) bool {
	return len(args) == 2 && word(args, 0) == "client" && word(args, 1) == "unpause"
}

// allows is legal for one command.
func (m *model) allows(args []string, pause *string) bool {
	if confirmed(args) && (m.multi || m.silent != loud) {
		return false // Redis writes confirmations into the reply of EXEC, as many as there are channels
	}
	switch name := word(args, 0); name {
	case "subscribe", "psubscribe", "ssubscribe":
		return !slices.ContainsFunc(args, func(name string) bool { return len(name) > 512 }) // the limit of docs/compatibility.md
	case "publish", "spublish":
		return !m.multi // and messages to the connection itself
	case "replicaof", "slaveof":
		return len(args) != 3 || word(args, 1) == "no" && word(args, 2) == "one"
	case "config":
		return word(args, 1) != "set" || keepsSettings(args[2:])
	case "quit":
		return m.silent == loud
	case "client":
		return m.allowsClient(args, pause)
	case "wait":
		n, err := strconv.ParseInt(word(args, 1), 10, 64)
		return m.multi || len(args) != 3 || err != nil || n <= 0 || !isNumber(args[2])
	case "setrange":
		n, err := strconv.ParseInt(word(args, 2), 10, 64)
		return err != nil || n <= countsUpTo || n > largestSize
	}
	return true
}

// keepsSettings reports whether CONFIG SET of these pairs changes nothing: settings outlast a sequence.
func keepsSettings(pairs []string) bool {
	for i := 0; i+1 < len(pairs); i += 2 {
		kept := map[string]string{"timeout": "0", "tcp-keepalive": "300"}[strings.ToLower(pairs[i])]
		if kept != "" && pairs[i+1] != kept && isNumber(pairs[i+1]) {
			return false
		}
	}
	return true
}

func isNumber(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

func (m *model) allowsClient(args []string, pause *string) bool {
	switch word(args, 1) {
	case "reply":
		if m.listens && word(args, 2) != "on" {
			return false // it may be refused, with a reply
		}
		return !m.multi || !slices.Contains([]string{"on", "off", "skip"}, word(args, 2)) || len(args) != 3 || word(args, 2) == "on" && m.silent == loud
	case "pause":
		mode := word(args, 3)
		if len(args) > 4 || !isNumber(word(args, 2)) || strings.HasPrefix(args[2], "-") || !slices.Contains([]string{"", "all", "write"}, mode) {
			return true
		}
		if m.multi || len(args[2]) > 1 {
			return false
		}
		if *pause = "advance"; mode == "write" {
			*pause = "unpause"
		}
	case "unpause":
		if len(args) == 2 && !m.multi {
			*pause = ""
		} else if *pause != "" {
			return false
		}
	case "kill":
		if (m.multi || m.silent != loud) && (len(args) == 3 || slices.ContainsFunc(args, func(s string) bool { return strings.EqualFold(s, "skipme") })) {
			return false // a client that kills itself gets only the beginning of EXEC's reply from Redis, and stays if it gets no replies
		}
		if len(args) == 3 {
			return true
		}
		for i := 2; i+1 < len(args); i += 2 {
			if word(args, i) == "id" && anyConnection(args[i+1]) {
				return false
			}
			if key := word(args, i); key == "id" || key == "addr" || key == "type" && word(args, i+1) != "normal" {
				return true
			}
		}
		return false
	case "tracking":
		for i := 3; i+1 < len(args); i++ {
			if word(args, i) == "redirect" && (strings.HasPrefix(args[i+1], symbol) || anyConnection(args[i+1])) {
				return false // Redis 7.0 puts messages into the reply of an EXEC on the other connection: TestTrackingBehindWrites has these
			}
		}
	}
	return true
}

// anyConnection reports whether a number that is no symbol may be that of a connection, on one side or both.
func anyConnection(id string) bool {
	n, err := strconv.ParseInt(id, 10, 64)
	return err == nil && n > 0 && n < 1<<30
}

// commands counts what is sent.
func (seq sequence) commands() int {
	n := 0
	for _, st := range seq {
		n += len(st.items)
	}
	return n
}

// encode writes one item as it travels.
func (it item) encode(b []byte, args []string) []byte {
	switch it.form {
	case formBytes:
		return append(b, it.args[0]...)
	case formInline:
		for i, arg := range args {
			if i > 0 {
				b = append(b, ' ')
			}
			b = appendInline(b, arg)
		}
		return append(b, "\r\n"...)
	}
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(args)), 10)
	b = append(b, "\r\n"...)
	for _, arg := range args {
		b = append(b, '$')
		b = strconv.AppendInt(b, int64(len(arg)), 10)
		b = append(b, "\r\n"...)
		b = append(b, arg...)
		b = append(b, "\r\n"...)
	}
	return b
}

// appendInline quotes an argument of a line where it must be.
func appendInline(b []byte, arg string) []byte {
	plain := arg != ""
	for i := range len(arg) {
		plain = plain && arg[i] > ' ' && arg[i] < 0x7f && arg[i] != '"' && arg[i] != '\''
	}
	if plain {
		return append(b, arg...)
	}
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(arg) {
		switch c := arg[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c >= 0x7f:
			b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// split cuts raw into the writes that cuts says.
func split(raw []byte, cuts uint64) [][]byte {
	if cuts == 0 || len(raw) < 2 {
		return [][]byte{raw}
	}
	r := rand.New(rand.NewPCG(cuts, 0))
	at := []int{0, len(raw)}
	for range 1 + r.IntN(4) {
		at = append(at, 1+r.IntN(len(raw)-1))
	}
	slices.Sort(at)
	at = slices.Compact(at)
	var parts [][]byte
	for i := 1; i < len(at); i++ {
		parts = append(parts, raw[at[i-1]:at[i]])
	}
	return parts
}
