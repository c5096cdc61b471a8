package server

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// maxFuzzBytes bounds an input, and maxSends what is made of it: what the guests send fits into the buffers of their
// sockets, so that sending never waits for the node.
const (
	maxFuzzBytes = 16 << 10
	maxSends     = 100
	maxSent      = 64 << 10
	fuzzGuests   = 2
)

// plan is what an input is turned into.
type plan struct {
	transport int
	locked    int // 1: the node asks for a password
	steps     []planStep
}

type planStep struct {
	guest int
	kind  guestAct
	data  []byte
}

type guestAct uint8

const (
	guestSends guestAct = iota
	guestHears          // begins to read; one that never does leaves its replies to the node
	guestEnds           // sends, finishes sending and reads to the end
	guestCuts           // closes the connection, replies unread
)

func isClosedHere(err error) bool { return errors.Is(err, net.ErrClosed) }

// newPlan reads the flags: bit 0 the transport, bit 1 the password, bits 2 and 3 who reads from the start on.
func newPlan(flags byte) plan {
	p := plan{transport: int(flags & 1), locked: int(flags >> 1 & 1)}
	for i := range fuzzGuests {
		if flags>>(2+i)&1 == 0 {
			p.steps = append(p.steps, planStep{guest: i, kind: guestHears})
		}
	}
	return p
}

// planOfBytes cuts two streams: the high bit of a byte of split says from which to send, the others how much.
func planOfBytes(flags uint8, split, first, second []byte) plan {
	p := newPlan(flags)
	streams := [fuzzGuests][]byte{first, second}
	for _, cut := range split[:min(len(split), maxSends)] {
		from := int(cut >> 7)
		n := min(int(cut&127)+1, len(streams[from]))
		p.steps = append(p.steps, planStep{guest: from, data: streams[from][:n]})
		streams[from] = streams[from][n:]
	}
	for i, rest := range streams {
		kind := guestEnds
		if flags>>(4+i)&1 != 0 {
			kind = guestSends
		}
		p.steps = append(p.steps, planStep{guest: i, kind: kind, data: rest})
		if flags>>(6+i)&1 != 0 {
			p.steps = append(p.steps, planStep{guest: i, kind: guestCuts})
		}
	}
	return p
}

// A program is a byte of flags, then instructions. Each begins with a byte whose low bits say what follows:
//
//	0 … 4    a phrase: its number
//	5 … 9    a command from the table: its number, the number of arguments, the arguments
//	10       send what the guest has said so far
//	11       the other guest's turn
//	12       bytes as they are: how many, then they
//	13       damage: its number
//	14       a command in words: the number of words, the words as arguments
//	15       the guest leaves: whether it stays to hear the replies
//
// An argument is a number below the length of the dictionary, or a length above it and that many bytes.
const (
	opTable  = 5
	opSend   = 10
	opTurn   = 11
	opBytes  = 12
	opDamage = 13
	opWords  = 14
	opLeave  = 15
)

// tape is a program being read; behind its end there are zeros.
type tape []byte

func (t *tape) next() int {
	if len(*t) == 0 {
		return 0
	}
	b := (*t)[0]
	*t = (*t)[1:]
	return int(b)
}

func (t *tape) take(n int) string {
	n = min(n, len(*t))
	s := string((*t)[:n])
	*t = (*t)[n:]
	return s
}

func (t *tape) argument() string {
	b := t.next()
	if b < len(dictionary) {
		return dictionary[b]
	}
	return t.take(b - len(dictionary))
}

// compile turns a program into a plan.
func (g *fuzzGround) compile(program []byte) plan {
	t := tape(program)
	p := newPlan(byte(t.next()))
	var said [fuzzGuests][]byte
	turn, sent, sends := 0, 0, 0
	flush := func(kind guestAct) {
		sends, sent = sends+1, sent+len(said[turn])
		p.steps = append(p.steps, planStep{guest: turn, kind: kind, data: said[turn]})
		said[turn] = nil
	}
	for len(t) > 0 && sends < maxSends && sent+len(said[0])+len(said[1]) < maxSent {
		op := t.next() & 15
		switch {
		case op < opTable:
			said[turn] = redistest.AppendCommand(said[turn], phrases[t.next()%len(phrases)]...)
		case op < opSend:
			said[turn] = redistest.AppendCommand(said[turn], g.tableCommand(&t)...)
		case op == opSend:
			flush(guestSends)
		case op == opTurn:
			turn = 1 - turn
		case op == opBytes:
			said[turn] = append(said[turn], t.take(t.next())...)
		case op == opDamage:
			said[turn] = append(said[turn], damages[t.next()%len(damages)]...)
		case op == opWords:
			var words []string
			for range 1 + t.next()%8 {
				words = append(words, t.argument())
			}
			said[turn] = redistest.AppendCommand(said[turn], words...)
		case t.next()&1 == 0:
			flush(guestEnds)
		default:
			flush(guestSends)
			p.steps = append(p.steps, planStep{guest: turn, kind: guestCuts})
		}
	}
	for turn = range fuzzGuests {
		flush(guestSends)
	}
	return p
}

// tableCommand reads a command with a number of arguments that its entry mostly allows.
func (g *fuzzGround) tableCommand(t *tape) []string {
	all := g.nodes[0].srv.table.All()
	cmd := all[t.next()%len(all)]
	words := []string{cmd.Name}
	if cmd.Parent != nil {
		words = []string{cmd.Parent.Name, cmd.Name}
	}
	n := t.next()
	switch {
	case n >= 240:
		n %= 8
	case cmd.Arity >= 0:
		n = cmd.Arity - len(words)
	default:
		n = max(0, -cmd.Arity-len(words)) + n%5
	}
	for range n {
		words = append(words, t.argument())
	}
	return words
}

// encodeProgram is a program that says the words and now and then changes turns or leaves.
func encodeProgram(flags int, commands [][]string) []byte {
	program := []byte{byte(flags)}
	for i, words := range commands {
		if len(words) > 8 {
			continue
		}
		program = append(program, opWords, byte(len(words)-1))
		for _, w := range words {
			if at := slices.Index(dictionary, w); at >= 0 {
				program = append(program, byte(at))
				continue
			}
			w = w[:min(len(w), 255-len(dictionary))]
			program = append(append(program, byte(len(dictionary)+len(w))), w...)
		}
		switch (i + flags) % 11 {
		case 3, 8:
			program = append(program, opSend)
		case 5:
			program = append(program, opSend, opTurn)
		case 9:
			program = append(program, opLeave, byte(i))
		}
	}
	return program
}

// dictionary holds arguments.
var dictionary = []string{
	"a", "b", "c", "{t}1", "{t}2", "", "0", "1", "-1", "2", "3", "10", "100", "1000", "9223372036854775807", "-9223372036854775808",
	"1.5", "1e300", "inf", "x", "*", "?", "[", "a*", "NX", "XX", "GET", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST", "GT", "LT",
	"MATCH", "COUNT", "TYPE", "string", "ASYNC", "SYNC", "DB", "REPLACE", "ON", "OFF", "SKIP", "ALL", "WRITE", "YES", "NO", "ID", "ADDR",
	"LADDR", "USER", "SKIPME", "normal", "default", fuzzPassword, "AUTH", "SETNAME", "name", "1048575", "1048576", "maxmemory",
	"requirepass", "maxclients", "timeout", "BYINT", "BYFLOAT", "LBOUND", "UBOUND", "SATURATE", "ENX", "lib-name", "k\x00\xff\r\n",
	"max-arguments", "proto-max-bulk-len", "client-output-pause-bytes", "client-outstanding-bytes",
}

// phrases are commands worth saying often: what opens, ends or changes the conversation, and some for it to act on.
var phrases = splitAll(
	"MULTI", "MULTI", "EXEC", "EXEC", "EXEC", "DISCARD", "WATCH a", "WATCH a b {t}1", "UNWATCH", "INCR a", "INCR b", "INCRBY a 2", "SET a x",
	"SET a 1 PX 1", "SET b 5 EX 100", "GET a", "MGET a b c", "DEL a b", "KEYS *", "SCAN 0", "DBSIZE", "RANDOMKEY", "FLUSHALL", "FLUSHDB ASYNC",
	"SETRANGE a 1048000 x", "GETRANGE a 0 -1", "APPEND a xxxxxxxxxxxxxxxx", "MSET a 1 b 2 c 3", "RENAME a b", "COPY a b DB 1",
	"CLIENT REPLY ON", "CLIENT REPLY OFF", "CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "CLIENT REPLY x", "RESET", "QUIT", "HELLO", "HELLO 2", "HELLO 3",
	"HELLO 3 AUTH default "+fuzzPassword, "HELLO 3 AUTH default wrong", "HELLO 3 SETNAME x", "HELLO 9", "AUTH "+fuzzPassword,
	"AUTH default "+fuzzPassword, "AUTH wrong", "SELECT 0", "SELECT 1", "SELECT 99", "WAIT 0 0", "WAIT 1 1", "WAIT 1 0", "WAITAOF 1 0 0",
	"WAITAOF 1 1 1", "CLIENT KILL TYPE normal", "CLIENT KILL TYPE normal SKIPME no", "CLIENT KILL USER default SKIPME no",
	"CLIENT KILL ID 1", "CLIENT LIST", "CLIENT INFO", "CLIENT ID", "CLIENT SETNAME x", "CLIENT GETNAME", "CLIENT NO-EVICT on",
	"CLIENT PAUSE 1 WRITE", "CLIENT PAUSE 5000 ALL", "CLIENT PAUSE 5000 WRITE", "CLIENT UNPAUSE", "PING", "PING x", "ECHO x", "TIME", "INFO",
	"SAVE", "BGSAVE", "LASTSAVE", "MEMORY USAGE a", "MEMORY DOCTOR", "OBJECT ENCODING a", "COMMAND COUNT", "COMMAND INFO get", "COMMAND DOCS incr",
	"CONFIG GET *max*", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "CONFIG SET requirepass "+fuzzPassword, "CONFIG SET requirepass x",
	"CONFIG SET maxclients 1", "CONFIG SET client-output-pause-bytes 1", "CONFIG SET client-outstanding-bytes 1", "CONFIG SET max-key-bytes 1",
	"CONFIG RESETSTAT", "SHUTDOWN", "DEBUG CHECK", "INCREX a BYINT 3 UBOUND 9 EX 10", "EXPIRE a 1", "PEXPIRE a 1", "PERSIST a", "TTL a",
	"GETEX a PX 1", "NOSUCH", "GET",
	"ACL SETUSER a on nopass ~a +@all", "ACL SETUSER a -get (+get ~b)", "ACL SETUSER default -@dangerous", "ACL SETUSER default resetkeys ~a", "ACL SETUSER default off",
	"ACL SETUSER default on >"+fuzzPassword, "ACL SETUSER default on nopass allkeys +@all", "ACL DELUSER a", "AUTH a x", "ACL WHOAMI", "ACL LIST", "ACL GETUSER a",
	"ACL LOG", "ACL LOG RESET", "ACL DRYRUN a get a", "ACL CAT read", "ACL GENPASS", "ACL SAVE", "ACL LOAD", "POST / HTTP/1.1", "SUBSCRIBE a", "MONITOR",
)

func splitAll(lines ...string) [][]string {
	var list [][]string
	for _, line := range lines {
		list = append(list, strings.Fields(line))
	}
	return list
}

// damages are bytes that are not what a client sends.
var damages = []string{
	"*", "*1", "*1\r\n", "*-1\r\n", "*0\r\n", "*2\r\n$3\r\nGET\r\n", "*1\r\n$-1\r\n", "*1\r\n$5\r\nPI", "*1000000000\r\n", "*x\r\n", "*1\r\n:4\r\nPING\r\n",
	"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$999999999\r\n", "$4\r\nPING\r\n", "\r\n", "\n", "\r\n\r\n\r\n", "PING\n", "PING \"\r\n", "SET a 'b\\'\r\n",
	"SET a \"\\x41\"\r\nGET a\r\n", "\x00", "\xff\xfe\r\n", "+OK\r\n", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", "Host: x\r\n", "GET / HTTP/1.1\r\n",
	"*1\r\n$4\r\nPINGxx", "*65537\r\n", "*1\r\n$00000000000000000004\r\nPING\r\n", "*+1\r\n$4\r\nPING\r\n", strings.Repeat("x", 2000),
	"*2\r\n$4\r\nECHO\r\n$3\r\n\r\n\n\r\n", "@\r\n", "EXEC\r\n", "MULTI\r\nINCR a\r\n", "*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n",
}

// scriptSeed is a piece of a script that is played against Redis elsewhere, for the two guests.
type scriptSeed struct {
	number int
	inline [fuzzGuests][]byte
	framed [fuzzGuests][]byte
	words  [][]string
}

// split lets the guests take turns.
func (s *scriptSeed) split() []byte { return []byte{byte(s.number * 11), 40, 160, 90, 255, 127, 200} }

var scriptStep = regexp.MustCompile(`^([a-z0-9]*)(>>|>|!) (.*)$`)

const seedSteps = 40 // of a script in one seed: long inputs mutate slowly

// scriptSeeds cuts the scripts into pieces. Words in quotes are taken apart at blanks: a seed need not mean anything.
func scriptSeeds(tb testing.TB) []*scriptSeed {
	tb.Helper()
	paths, err := filepath.Glob("../internal/scripts/testdata/*.txt")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no scripts to take seeds from: %v", err)
	}
	var seeds []*scriptSeed
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		steps := seedSteps
		for line := range bytes.Lines(text) {
			m := scriptStep.FindStringSubmatch(strings.TrimSpace(string(line)))
			if m == nil {
				continue
			}
			if steps == seedSteps {
				seeds, steps = append(seeds, &scriptSeed{number: len(seeds)}), 0
			}
			steps++
			seeds[len(seeds)-1].add(min(len(m[1]), 1), m[2] == "!", m[3])
		}
	}
	return seeds
}

func (s *scriptSeed) add(guest int, raw bool, text string) {
	if raw {
		if plain, err := strconv.Unquote(text); err == nil {
			text = plain
		}
		s.inline[guest] = append(s.inline[guest], text...)
		return
	}
	s.inline[guest] = append(append(s.inline[guest], text...), "\r\n"...)
	if words := strings.Fields(text); len(words) > 0 {
		s.framed[guest] = redistest.AppendCommand(s.framed[guest], words...)
		s.words = append(s.words, words)
	}
}
