package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// parseAll runs a parser over one whole buffer and renders what it gave, one word per command: "[a b]" a command, "-" something
// ignored, "…" an incomplete command, "!text" an error.
func parseAll(t *testing.T, p *Parser, in string, lim Limits) string {
	t.Helper()
	var out []string
	rest := []byte(in)
	for {
		args, n, err := p.Next(rest, &lim, nil)
		switch {
		case err != nil:
			var perr *ProtocolError
			if !errors.As(err, &perr) || n != 0 || len(args) != 0 {
				t.Fatalf("error %v with n=%d and %q", err, n, args)
			}
			out = append(out, "!"+strings.TrimPrefix(err.Error(), "ERR Protocol error: "))
			return strings.Join(out, " ")
		case n == 0:
			if p.Started() != (len(rest) > 0) {
				t.Fatalf("started=%v with %d bytes left", p.Started(), len(rest))
			}
			if len(rest) > 0 {
				out = append(out, "…")
			}
			return strings.Join(out, " ")
		case len(args) == 0:
			out = append(out, "-")
		default:
			out = append(out, "["+string(bytes.Join(args, []byte(" ")))+"]")
		}
		rest = rest[n:]
	}
}

// redisLimits are the limits of Redis itself, as far as they can be reached in a test.
func redisLimits() Limits {
	return Limits{MaxArgs: 1<<31 - 1, MaxBulk: hugeBulk, MaxInline: 64 << 10, MaxCommand: 1<<31 - 1}
}

const (
	badCount = "!invalid multibulk length"
	badBulk  = "!invalid bulk length"
	badQuote = "!unbalanced quotes in request"
)

// grammarCases hold under redisLimits. TestOracleGrammar sends the same bytes to Redis.
var grammarCases = []struct{ in, want string }{
	// Multibulk.
	{"*1\r\n$1\r\nx\r\n", "[x]"},
	{"*2\r\n$1\r\nx\r\n$3\r\na b\r\n", "[x a b]"},
	{"*2\r\n$1\r\nx\r\n$0\r\n\r\n", "[x ]"},
	{"*1\r\n$0\r\n\r\n", "[]"},
	{"*1\r\n$12\r\nxxxxxxxxxxxx\r\n*1\r\n$1\r\ny\r\n", "[xxxxxxxxxxxx] [y]"},
	{"*12\r\n" + strings.Repeat("$1\r\nx\r\n", 12), "[x x x x x x x x x x x x]"},
	{"*2\r\n$1\r\nx\r\n$100\r\n" + strings.Repeat("y", 100) + "\r\n", "[x " + strings.Repeat("y", 100) + "]"},
	{"*2\r\n$1\r\nx\r\n$4\r\na\r\nb\r\n", "[x a\r\nb]"},
	{"*2\r\n$1\r\nx\r\n$1\r\n\x00\r\n", "[x \x00]"},
	{"*1\r\n$1\r\nx", "…"},
	{"*1\r\n$1\r\nx\r", "…"},
	{"*1\r\n$1\r\n", "…"},
	{"*1\r\n$1\r", "…"},
	{"*1\r\n$", "…"},
	{"*1\r\n", "…"},
	{"*1\r", "…"},
	{"*", "…"},
	{"", ""},
	// Bytes nobody looks at: behind the '\r' of a header, and the two behind an argument.
	{"*1\rX$1\rYxZZ*1\r\n$1\r\ny\r\n", "[x] [y]"},
	// Empty commands.
	{"*0\r\n*1\r\n$1\r\nx\r\n", "- [x]"},
	{"*-1\r\n*1\r\n$1\r\nx\r\n", "- [x]"},
	{"*-10\r\nx\r\n", "- [x]"},
	{"*-9223372036854775808\r\nx\r\n", "- [x]"},
	{"\r\nx\r\n", "- [x]"},
	{"\nx\n", "- [x]"},
	{"\n\r\n\n*1\r\n$1\r\nx\r\n", "- - - [x]"},
	{" \t\v\f\r\nx\r\n", "- [x]"},
	// Counts.
	{"*\r\n", badCount},
	{"*x\r\n", badCount},
	{"*1x\r\n", badCount},
	{"*+1\r\n", badCount},
	{"*01\r\n", badCount},
	{"*00\r\n", badCount},
	{"*-0\r\n", badCount},
	{"*-\r\n", badCount},
	{"* 1\r\n", badCount},
	{"*1 \r\n", badCount},
	{"*1.0\r\n", badCount},
	{"*2147483648\r\n", badCount},
	{"*9223372036854775807\r\n", badCount},
	{"*9223372036854775808\r\n", badCount},
	{"*18446744073709551615\r\n", badCount},
	{"*18446744073709551617\r\n", badCount},
	{"*100000000000000000000\r\n", badCount},
	{"*-9223372036854775809\r\n", badCount},
	{"*x\r", "…"},
	{"*xyz", "…"},
	{"x\r\n*x\r\n", "[x] " + badCount},
	// Lengths.
	{"*1\r\n$\r\n", badBulk},
	{"*1\r\n$x\r\n", badBulk},
	{"*1\r\n$-1\r\n", badBulk},
	{"*1\r\n$-0\r\n", badBulk},
	{"*1\r\n$+1\r\nx\r\n", badBulk},
	{"*1\r\n$01\r\nx\r\n", badBulk},
	{"*1\r\n$00\r\n\r\n", badBulk},
	{"*1\r\n$ 1\r\nx\r\n", badBulk},
	{"*1\r\n$1 \r\nx\r\n", badBulk},
	{"*1\r\n$1:\r\nx\r\n", badBulk},
	{"*1\r\n$536870913\r\n", badBulk},
	{"*1\r\n$4294967297\r\n", badBulk},
	{"*1\r\n$9223372036854775807\r\n", badBulk},
	{"*1\r\n$18446744073709551616\r\n", badBulk},
	{"*1\r\n$18446744073709551617\r\nx\r\n", badBulk},
	{"*1\r\n$-9223372036854775808\r\n", badBulk},
	{"*1\r\n$536870912\r\n", "…"},
	{"*2\r\n$1\r\nx\r\n$x\r\n", badBulk},
	{"*1\r\n$x\r", "…"},
	{"*1\r\nx", "…"},
	{"*1\r\nx\r\n", "!expected '$', got 'x'"},
	{"*1\r\n:1\r\n", "!expected '$', got ':'"},
	{"*1\r\n*1\r\n$1\r\nx\r\n", "!expected '$', got '*'"},
	{"*1\r\n\r\n", "!expected '$', got ' '"},
	{"*1\r\n\nx\r\n", "!expected '$', got ' '"},
	{"*1\r\n\xffx\r\n", "!expected '$', got '\xff'"},
	{"*2\r\n$1\r\nxyz$1\r\ny\r\n", "[x y]"},
	{"*2\r\n$1\r\nxyzz$1\r\ny\r\n", "!expected '$', got 'z'"},
	// Headers that never end.
	{"*" + strings.Repeat("1", 64<<10-1), "…"},
	{"*" + strings.Repeat("1", 64<<10), "!too big mbulk count string"},
	{"*" + strings.Repeat("1", 64<<10-1) + "\r\n", badCount},
	{"*1\r\n" + strings.Repeat("$", 64<<10), "…"},
	{"*1\r\n" + strings.Repeat("$", 64<<10+1), "!too big bulk count string"},
	{"*1\r\n" + strings.Repeat("z", 64<<10) + "\r\n", "!expected '$', got 'z'"},
	// Inline.
	{"x a b\r\n", "[x a b]"},
	{"x a b\n", "[x a b]"},
	{"  x \t a\v b \r\n", "[x a\v b]"},
	{"x \va\f\r\n", "[x a\f]"},
	{"x a\rb\r\n", "[x a b]"},
	{"x a\r\r\n", "[x a]"},
	{"$1\r\n", "[$1]"},
	{"x \xc3\xa9\n", "[x \xc3\xa9]"},
	{"x a\\nb\r\n", "[x a\\nb]"},
	{`x "a b"` + "\n", "[x a b]"},
	{`x 'a b'` + "\n", "[x a b]"},
	{`x "" ''` + "\n", "[x  ]"},
	{`x "\n\r\t\b\a\q\\\""` + "\n", "[x \n\r\t\b\aq\\\"]"},
	{`x "\x41\x7a\xFf\x00"` + "\n", "[x Az\xff\x00]"},
	{`x "\x4" "\xg1" "\x"` + "\n", "[x x4 xg1 x]"},
	{`x '\n\x41\''` + "\n", `[x \n\x41']`},
	{`x ab"c d"` + "\n", "[x abc d]"},
	{`x a'c d'` + "\n", "[x ac d]"},
	{`x "a"` + "\v" + `"b"` + "\n", "[x a b]"},
	{`x "a"b` + "\n", badQuote},
	{`x "a""b"` + "\n", badQuote},
	{`x 'a'b` + "\n", badQuote},
	{`x "a` + "\n", badQuote},
	{`x 'a` + "\n", badQuote},
	{`x "a\"` + "\n", badQuote},
	{`x "a\` + "\n", badQuote},
	{`x 'a\'` + "\n", badQuote},
	{`x "` + "\n", badQuote},
	{`x "a` + "\r\n" + `b"` + "\n", badQuote},
	{"x\r\nx 'a\r\nx\r\n", "[x] " + badQuote},
	{strings.Repeat("x", 64<<10), "…"},
	{strings.Repeat("x", 64<<10+1), "!too big inline request"},
	{strings.Repeat("x", 64<<10) + "\n", "[" + strings.Repeat("x", 64<<10) + "]"},
	{strings.Repeat(" ", 64<<10) + "\n", "-"},
}

// piece is how many bytes at a time the grammar cases are fed: one, but more for those of 64 KiB.
func piece(in string) int { return 1 + len(in)/1000*100 }

func TestParseGrammar(t *testing.T) {
	for _, c := range grammarCases {
		var p Parser
		if got := parseAll(t, &p, c.in, redisLimits()); got != c.want {
			t.Errorf("%.60q: got %.60q, want %.60q", c.in, got, c.want)
		}
		if got := splitRun([]byte(c.in), redisLimits(), func() int { return piece(c.in) }); got.String() != wholeRun([]byte(c.in), redisLimits()).String() {
			t.Errorf("%.60q in pieces: got %.80q", c.in, got)
		}
	}
}

func TestParseLimits(t *testing.T) {
	small := Limits{MaxArgs: 3, MaxBulk: 20, MaxInline: 40, MaxCommand: 60}
	unauth := small
	unauth.Unauthenticated = true
	tight := Limits{MaxArgs: 1000, MaxBulk: 1000, MaxInline: 1000, MaxCommand: 50}
	cases := []struct {
		lim      Limits
		in, want string
	}{
		{small, "*3\r\n$1\r\nx\r\n$1\r\na\r\n$1\r\nb\r\n", "[x a b]"},
		{small, "*4\r\n", badCount},
		{small, "*4\r", "…"},
		{small, "x a b\n", "[x a b]"},
		{small, "x a b c\n", badCount},
		{small, "*1\r\n$20\r\n", "…"},
		{small, "*1\r\n$21\r\n", badBulk},
		{small, strings.Repeat("x", 20) + "\n", "[" + strings.Repeat("x", 20) + "]"},
		{small, strings.Repeat("x", 21) + "\n", badBulk},
		{small, "x '" + strings.Repeat(" ", 21) + "'\n", badBulk},
		{small, "x " + strings.Repeat(" ", 39) + "\n", "!too big inline request"},
		{small, strings.Repeat("x", 41), "!too big inline request"},
		{small, "*" + strings.Repeat("1", 40), "!too big mbulk count string"},
		{small, "*2\r\n$20\r\n" + strings.Repeat("x", 20) + "\r\n$19\r\n", "…"},
		{small, "*3\r\n$20\r\n" + strings.Repeat("x", 20) + "\r\n$16\r\n", "…"},
		{small, "*3\r\n$20\r\n" + strings.Repeat("x", 20) + "\r\n$17\r\n", "!too big command"},
		{small, "*2\r\n$17\r\n" + strings.Repeat("x", 17) + "\r\n$20\r\n" + strings.Repeat("y", 20) + "\r\n",
			"[" + strings.Repeat("x", 17) + " " + strings.Repeat("y", 20) + "]"},
		{small, "*2\r\n$18\r\n" + strings.Repeat("x", 18) + "\r\n$20\r\n" + strings.Repeat("y", 20) + "\r\n",
			"[" + strings.Repeat("x", 18) + " " + strings.Repeat("y", 20) + "]"},
		{unauth, "*4\r\n", "!unauthenticated multibulk length"},
		{unauth, "*2147483647\r\n", "!unauthenticated multibulk length"},
		{unauth, "*2147483648\r\n", badCount},
		{unauth, "x a b c\n", "!unauthenticated multibulk length"},
		{unauth, "*1\r\n$21\r\n", "!unauthenticated bulk length"},
		{unauth, "*1\r\n$536870912\r\n", "!unauthenticated bulk length"},
		{unauth, "*1\r\n$536870913\r\n", badBulk},
		{unauth, "*1\r\n$-1\r\n", badBulk},
		// What is still to come counts before it is there: 7 arguments of at least 6 bytes fit into 50, 8 do not.
		{tight, "*7\r\n", "…"},
		{tight, "*8\r\n", "!too big command"},
		{tight, "*7\r\n$5\r\n", "!too big command"},
		{tight, "*7\r\n$4\r\n", "…"},
		{tight, "*1\r\n$42\r\n", "!too big command"},
		{tight, strings.Repeat(" ", 49) + "\n", "-"},
		{tight, strings.Repeat(" ", 50) + "\n", "!too big inline request"},
		{tight, "*1\r\n$9\r\n123456789\r\n*1\r\n$30\r\n" + strings.Repeat("x", 30) + "\r\n", "[123456789] [" + strings.Repeat("x", 30) + "]"},
	}
	for _, c := range cases {
		var p Parser
		if got := parseAll(t, &p, c.in, c.lim); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
		if got, want := splitRun([]byte(c.in), c.lim, func() int { return 1 }).String(), wholeRun([]byte(c.in), c.lim).String(); got != want {
			t.Errorf("%q byte by byte: got %q, want %q", c.in, got, want)
		}
	}
}

// TestLimitsMayShrink: a connection's limits change between calls, in the middle of a command too.
func TestLimitsMayShrink(t *testing.T) {
	wide, narrow := DefaultLimits(), Limits{MaxArgs: 1, MaxBulk: 1, MaxInline: 1, MaxCommand: 1}
	for _, c := range []struct {
		first, more string
		want        *ProtocolError
	}{
		{"*3\r\n$1\r\nx\r\n$10", "\r\n", errBulkString},
		{"*3\r\n$1\r\nx\r\n$10", "", errBulkString},
		{"*3333", "\r\n", errCountString},
		{"xyz xyz", "\n", errInlineSize},
		{"xyz xyz", "", errInlineSize},
	} {
		var p Parser
		if _, n, err := p.Next([]byte(c.first), &wide, nil); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		if _, n, err := p.Next([]byte(c.first+c.more), &narrow, nil); n != 0 || err != error(c.want) {
			t.Errorf("%q: n=%d, %v, want %v", c.first+c.more, n, err, c.want)
		}
	}
}

func TestDefaultLimits(t *testing.T) {
	want := Limits{MaxArgs: 65536, MaxBulk: 1 << 20, MaxInline: 64 << 10, MaxCommand: 8 << 20}
	if got := DefaultLimits(); got != want {
		t.Errorf("got %+v", got)
	}
	want.MaxArgs, want.MaxBulk, want.Unauthenticated = 10, 16<<10, true
	if got := UnauthenticatedLimits(); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestNeed(t *testing.T) {
	cases := []struct {
		in   string
		want int
	}{
		{"", 1},
		{"x", 1},
		{"*", 1},
		{"*2\r\n", 12},
		{"*2\r\n$", 11},
		{"*2\r\n$1234", 7},
		{"*1\r\n$123456", 1},
		{"*2\r\n$1000\r\n", 1002 + 6},
		{"*2\r\n$1000\r\nabc", 999 + 6},
		{"*1\r\n$1\r\nx", 2},
		{"*1\r\n$1\r\nx\r", 1},
	}
	for _, c := range cases {
		var p Parser
		parseAll(t, &p, c.in, redisLimits())
		if got := p.Need(); got != c.want {
			t.Errorf("%q: need %d, want %d", c.in, got, c.want)
		}
	}
}

func TestResetForgetsTheCommand(t *testing.T) {
	var p Parser
	lim := DefaultLimits()
	for _, in := range []string{"*3\r\n$1\r\nx\r\n$5\r\nab", "*3\r\n$1\r\nx\r\n$", "*3", "abc"} {
		if got := parseAll(t, &p, in, lim); got != "…" {
			t.Fatalf("%q: %q", in, got)
		}
		p.Reset()
		if p.Started() || p.Need() != 1 {
			t.Fatalf("%q: started %v, need %d after Reset", in, p.Started(), p.Need())
		}
		if got := parseAll(t, &p, "*1\r\n$1\r\ny\r\n", lim); got != "[y]" {
			t.Fatalf("%q: %q after Reset", in, got)
		}
	}
}

// TestNoReread changes the bytes the parser has understood: it must not notice.
func TestNoReread(t *testing.T) {
	lim := DefaultLimits()
	full := []byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\n" + strings.Repeat("v", 1000) + "\r\n")
	for cut := 1; cut < len(full); cut++ {
		var p Parser
		if _, n, err := p.Next(full[:cut], &lim, nil); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		buf := bytes.Clone(full)
		for i := range p.pos {
			buf[i] = '#'
		}
		args, n, err := p.Next(buf, &lim, nil)
		if n != len(full) || err != nil || len(args) != 3 || len(args[0]) != 3 || len(args[1]) != 1 || len(args[2]) != 1000 {
			t.Fatalf("cut %d: %d arguments, n=%d, %v", cut, len(args), n, err)
		}
	}
}

// TestSlowDrip feeds a command of very many arguments in tiny pieces: quadratic work would take minutes.
func TestSlowDrip(t *testing.T) {
	lim := DefaultLimits()
	stream := []byte(mset(65535, 1))
	var p Parser
	for end := 1; end < len(stream); end += 3 {
		if _, n, err := p.Next(stream[:end], &lim, nil); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	}
	args, n, err := p.Next(stream, &lim, nil)
	if len(args) != 65536 || n != len(stream) || err != nil {
		t.Fatal(len(args), n, err)
	}
	if cap(p.spans) > keepSpans {
		t.Errorf("%d spans kept", cap(p.spans))
	}
}

func TestAnnouncedSizesReserveNothing(t *testing.T) {
	lim := DefaultLimits()
	in := []byte("*65536\r\n$1048576\r\nx")
	var p Parser
	if allocs := testing.AllocsPerRun(100, func() {
		p.Reset()
		if _, n, err := p.Next(in, &lim, nil); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	lim := DefaultLimits()
	scratch := make([][]byte, 0, 256)
	for _, c := range benchCommands {
		for _, step := range []int{len(c.command), 7} {
			var p Parser
			stream := []byte(c.command)
			if allocs := testing.AllocsPerRun(100, func() {
				for end := step; ; end += step {
					args, n, err := p.Next(stream[:min(end, len(stream))], &lim, scratch)
					if err != nil {
						t.Fatal(err)
					}
					if n > 0 {
						if n != len(stream) || len(args) == 0 {
							t.Fatal(n, len(args))
						}
						return
					}
				}
			}); allocs != 0 {
				t.Errorf("%s in steps of %d: %v allocations", c.name, step, allocs)
			}
		}
	}
}

// TestManyQuotedWords: the copies of a line's quoted words share one allocation.
func TestManyQuotedWords(t *testing.T) {
	lim := DefaultLimits()
	line := []byte(strings.Repeat(`"" 'a' `, 9000) + "\n")
	scratch := make([][]byte, 0, 20000)
	var p Parser
	if allocs := testing.AllocsPerRun(10, func() {
		args, n, err := p.Next(line, &lim, scratch)
		if len(args) != 18000 || n != len(line) || err != nil {
			t.Fatal(len(args), n, err)
		}
	}); allocs > 1 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestArgumentsAreCapped makes sure that appending to an argument cannot overwrite the next one.
func TestArgumentsAreCapped(t *testing.T) {
	lim := DefaultLimits()
	for _, in := range []string{"*2\r\n$1\r\nx\r\n$1\r\ny\r\n", "x y\n", "\"x\" 'y'\n"} {
		for _, cut := range []int{0, 3} {
			var p Parser
			buf := []byte(in)
			if _, n, err := p.Next(buf[:cut], &lim, nil); n != 0 || err != nil {
				t.Fatal(n, err)
			}
			args, _, _ := p.Next(buf, &lim, nil)
			_ = append(args[0], "zzzzzzzz"...)
			if got := fmt.Sprintf("%s", args); got != "[x y]" || string(buf) != in {
				t.Errorf("%q: %s", in, got)
			}
		}
	}
}
