package mapping

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"quipu/connect/config"
)

// now is the time of all tests that do not say otherwise: 2025-11-29T09:53:20Z.
var now = time.Unix(1764410000, 0)

// tryCompile compiles a source that consists of lines. Those begin in line 3 of the file c.
func tryCompile(lines string) (*Program, error) {
	cfg, err := config.Parse("c", []byte("source s\n  file f\n  "+strings.ReplaceAll(strings.TrimSpace(lines), "\n", "\n  ")))
	if err != nil {
		return nil, err
	}
	return Compile(cfg.Sources[0])
}

func compile(tb testing.TB, lines string) *Program {
	tb.Helper()
	p, err := tryCompile(lines)
	if err != nil {
		tb.Fatalf("%s: %v", lines, err)
	}
	return p
}

// printed are the commands of a tally, as text.
func printed(tb testing.TB, t *Tally) string {
	tb.Helper()
	var b strings.Builder
	n, err := t.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		tb.Fatalf("printing: %d of %d bytes, %v", n, b.Len(), err)
	}
	checkCounts(tb, t)
	return b.String()
}

// checkCounts compares Commands and Bytes with what Each tells.
func checkCounts(tb testing.TB, t *Tally) {
	tb.Helper()
	commands, bytes, numbers := 0, 0, 0
	t.Each(func(_ int, args []any) {
		commands++
		bytes += 64
		for _, arg := range args {
			bytes += 4 + len(fmt.Sprint(arg))
			if _, ok := arg.(int64); ok {
				numbers++
			}
		}
	})
	if commands != t.Commands() || bytes > t.Bytes() || t.Bytes() > bytes+maxDigits*numbers {
		tb.Errorf("%d commands of %d bytes; the tally says %d and %d", commands, bytes, t.Commands(), t.Bytes())
	}
}

// add has a tally count records, and returns the commands, or the first error.
func add(tb testing.TB, p *Program, records ...string) string {
	tb.Helper()
	t := p.NewTally()
	for _, rec := range records {
		if _, _, err := t.Add([]byte(rec), now); err != nil {
			return err.Error()
		}
	}
	return printed(tb, t)
}
