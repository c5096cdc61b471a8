package protocol

import (
	"bytes"
	"fmt"
	"testing"
)

// mset is a command with n arguments behind its name.
func mset(n, size int) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n$4\r\nMSET\r\n", n+1)
	for range n {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", size, bytes.Repeat([]byte{'v'}, size))
	}
	return b.String()
}

var benchCommands = []struct{ name, command string }{
	{"incr", "*2\r\n$4\r\nINCR\r\n$16\r\nkey:000000000001\r\n"},
	{"set", "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$3\r\nxxx\r\n"},
	{"ping", "*1\r\n$4\r\nPING\r\n"},
	{"mset20", mset(20, 16)},
	{"mset200x150", mset(200, 150)},
	{"inline", "INCR key:000000000001\r\n"},
}

func BenchmarkParse(b *testing.B) {
	for _, c := range benchCommands {
		b.Run(c.name, func(b *testing.B) {
			stream := bytes.Repeat([]byte(c.command), 100)
			lim := DefaultLimits()
			var p Parser
			scratch := make([][]byte, 0, 256)
			b.ReportAllocs()
			rest := stream
			for b.Loop() {
				args, n, err := p.Next(rest, &lim, scratch)
				if n == 0 || err != nil || len(args) == 0 {
					b.Fatal(n, err)
				}
				if rest = rest[n:]; len(rest) == 0 {
					rest = stream
				}
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	value := bytes.Repeat([]byte{'v'}, 20)
	for _, c := range []struct {
		name  string
		write func(w *Writer)
	}{
		{"ok", func(w *Writer) { w.OK() }},
		{"int1", func(w *Writer) { w.Int(7) }},
		{"int8", func(w *Writer) { w.Int(12345678) }},
		{"bulk", func(w *Writer) { w.Bulk(value) }},
		{"bulkint8", func(w *Writer) { w.BulkInt(12345678) }},
		{"error", func(w *Writer) { w.Error(ErrNotInteger) }},
		{"double", func(w *Writer) { w.Double(3.5) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := Writer{B: make([]byte, 0, 4096)}
			b.ReportAllocs()
			for b.Loop() {
				w.B = w.B[:0]
				c.write(&w)
			}
		})
	}
}

func BenchmarkParseInt(b *testing.B) {
	for _, text := range []string{"1", "12345678", "-9223372036854775808"} {
		b.Run(text, func(b *testing.B) {
			in := []byte(text)
			for b.Loop() {
				if _, ok := ParseInt(in); !ok {
					b.Fatal()
				}
			}
		})
	}
}

// BenchmarkParseSplit is a command that arrives in two pieces.
func BenchmarkParseSplit(b *testing.B) {
	command := []byte(benchCommands[1].command)
	lim := DefaultLimits()
	var p Parser
	scratch := make([][]byte, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		p.Next(command[:30], &lim, scratch)
		if _, n, err := p.Next(command, &lim, scratch); n == 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}
