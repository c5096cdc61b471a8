package protocol

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

// step is one result of Next.
type step struct {
	args []string
	n    int
	err  string
}

// run is what a parser makes of a stream: the commands, up to the first error or the incomplete rest.
type run []step

func (r run) String() string {
	var b strings.Builder
	for _, s := range r {
		fmt.Fprintf(&b, "%q %d %s\n", s.args, s.n, s.err)
	}
	return b.String()
}

// record turns a result of Next into a step; the arguments are copied.
func record(args [][]byte, n int, err error) step {
	s := step{n: n}
	for _, a := range args {
		s.args = append(s.args, string(a))
	}
	if err != nil {
		s.err = err.Error()
	}
	return s
}

// wholeRun parses the stream as one buffer.
func wholeRun(stream []byte, lim Limits) run {
	var p Parser
	var r run
	for {
		args, n, err := p.Next(stream, &lim, nil)
		if n == 0 && err == nil {
			return r
		}
		r = append(r, record(args, n, err))
		if err != nil {
			return r
		}
		stream = stream[n:]
	}
}

// splitRun parses the stream in pieces of the sizes that next gives, as a connection does: the incomplete command is moved to
// the front of another buffer for each piece, and the old buffer is spoilt. It panics if Need promised too much.
func splitRun(stream []byte, lim Limits, next func() int) run {
	var p Parser
	var r run
	var buf []byte
	need := 0 // total length the current command was said to have at least
	for {
		for {
			args, n, err := p.Next(buf, &lim, nil)
			if n == 0 && err == nil {
				need = max(need, len(buf)+p.Need())
				break
			}
			if err == nil && n < need && len(args) > 0 {
				panic(fmt.Sprintf("command of %d bytes was said to need %d", n, need))
			}
			need = 0
			r = append(r, record(args, n, err))
			if err != nil {
				return r
			}
			buf = buf[n:]
		}
		if len(stream) == 0 {
			return r
		}
		k := min(max(next(), 1), len(stream))
		moved := append(bytes.Clone(buf), stream[:k]...)
		for i := range buf {
			buf[i] = '~'
		}
		buf, stream = moved, stream[k:]
	}
}

// fuzzLimits are small, so that short inputs reach them.
func fuzzLimits(pick byte) Limits {
	switch pick % 4 {
	case 0:
		return DefaultLimits()
	case 1:
		return Limits{MaxArgs: 5, MaxBulk: 12, MaxInline: 20, MaxCommand: 64}
	case 2:
		return Limits{MaxArgs: 5, MaxBulk: 120, MaxInline: 200, MaxCommand: 90, Unauthenticated: true}
	}
	return Limits{MaxArgs: 1 << 40, MaxBulk: 1 << 62, MaxInline: 1 << 40, MaxCommand: 1 << 62}
}

func seed(add func(stream string, pick byte)) {
	for i, c := range grammarCases {
		if len(c.in) < 200 {
			add(c.in, 0)
			add(c.in+c.in, byte(i))
		}
	}
	for i, c := range benchCommands {
		add(c.command, byte(i))
	}
	add("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$12\r\nabcdefghijkl\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n", 1)
	add("*5\r\n$1\r\na\r\n$30\r\n"+strings.Repeat("x", 30)+"\r\n$1\r\nb\r\n$1\r\nc\r\n$0\r\n\r\n", 2)
	add("*1\r\n$9223372036854775807\r\n", 3)
	add("*2147483647\r\n$2147483647\r\n", 3)
}

// FuzzParser: never a panic, n and the arguments inside the buffer, no limit exceeded, and what was parsed, written again in
// canonical form, parses to the same.
func FuzzParser(f *testing.F) {
	seed(func(stream string, pick byte) { f.Add([]byte(stream), pick) })
	f.Fuzz(func(t *testing.T, stream []byte, pick byte) {
		lim := fuzzLimits(pick)
		original := bytes.Clone(stream)
		var p Parser
		for rest := stream; ; {
			args, n, err := p.Next(rest, &lim, nil)
			if n < 0 || n > len(rest) || n > lim.MaxCommand || (err != nil && n != 0) || (n == 0 && len(args) > 0) {
				t.Fatalf("n=%d of %d, %d arguments, %v", n, len(rest), len(args), err)
			}
			if n == 0 {
				if err == nil && len(rest) > lim.command()+min(lim.MaxInline, 1<<30)+2 {
					t.Fatalf("%d bytes and still incomplete", len(rest))
				}
				break
			}
			checkArguments(t, rest[:n], args, lim)
			rest = rest[n:]
		}
		if !bytes.Equal(stream, original) {
			t.Fatal("the parser wrote into the buffer")
		}
	})
}

func checkArguments(t *testing.T, command []byte, args [][]byte, lim Limits) {
	if len(args) > lim.MaxArgs {
		t.Fatalf("%d arguments", len(args))
	}
	var again bytes.Buffer
	fmt.Fprintf(&again, "*%d\r\n", len(args))
	for _, a := range args {
		if a == nil || len(a) > lim.MaxBulk {
			t.Fatalf("argument of %d bytes, nil %v", len(a), a == nil)
		}
		if command[0] == '*' && len(a) > 0 {
			at := uintptr(unsafe.Pointer(&a[0])) - uintptr(unsafe.Pointer(&command[0]))
			if at+uintptr(len(a)) > uintptr(len(command)) {
				t.Fatal("argument outside of the command")
			}
		}
		fmt.Fprintf(&again, "$%d\r\n%s\r\n", len(a), a)
	}
	if again.Len() > lim.MaxCommand || len(args) == 0 {
		return // an inline command may be longer in multibulk form
	}
	got, n, err := new(Parser).Next(again.Bytes(), &lim, nil)
	if n != again.Len() || err != nil || record(got, 0, nil).String() != record(args, 0, nil).String() {
		t.Fatalf("%q written again gives %q, n=%d, %v", args, got, n, err)
	}
}

func (s step) String() string { return run{s}.String() }

// FuzzSplit: any split of the input into pieces gives the same commands and the same error, and Need is a lower bound.
func FuzzSplit(f *testing.F) {
	seed(func(stream string, pick byte) {
		f.Add([]byte(stream), pick, []byte{0})
		f.Add([]byte(stream), pick, []byte{2, 0, 6})
	})
	f.Fuzz(func(t *testing.T, stream []byte, pick byte, sizes []byte) {
		lim := fuzzLimits(pick)
		i := 0
		next := func() int {
			if len(sizes) == 0 {
				return 1
			}
			i++
			return 1 + int(sizes[i%len(sizes)])
		}
		whole, split := wholeRun(stream, lim), splitRun(stream, lim, next)
		if whole.String() != split.String() {
			t.Fatalf("%q\nwhole: %s\nsplit: %s", stream, whole, split)
		}
	})
}
