package mapping

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Each tells of all commands: first those that were added up, by when their key came first, then the others in the order
// of their records. records is how many records a command stands for (one that names an element twice counts twice); 0
// for a PEXPIREAT, which follows what it belongs to. args are strings and int64, and remain valid until Reset or the
// next Each.
func (t *Tally) Each(fn func(records int, args []any)) {
	t.args = slices.Grow(t.args[:0], t.words)
	send := func(records, from int) { fn(records, t.args[from:len(t.args):len(t.args)]) }
	expire := func(key any, deadline int64) {
		if deadline != 0 {
			t.args = append(t.args, "PEXPIREAT", key, deadline)
			send(0, len(t.args)-3)
		}
	}
	for i := range t.sums {
		s := &t.sums[i]
		key := any(s.key)
		if s.first < 0 {
			t.args = append(t.args, sumNames[s.command], key, s.n)
			send(s.records, len(t.args)-3)
		}
		for at := s.first; at >= 0; {
			from, records := len(t.args), 0
			t.args = append(t.args, sumNames[s.command], key)
			for n := 0; n < maxElements && at >= 0; n++ {
				p := &t.parts[at]
				t.args = append(t.args, p.text)
				if isSketch(s.command) {
					t.args = append(t.args, p.n)
				}
				records += p.records
				at = p.next
			}
			send(records, from)
		}
		expire(key, s.deadline)
	}
	for i := range t.literals {
		w := &t.literals[i]
		from := len(t.args)
		t.args = append(t.args, w.command.sent)
		for _, arg := range w.args {
			t.args = append(t.args, arg)
		}
		send(1, from)
		expire(t.args[from+1], w.deadline)
	}
}

// sumNames are sums, for the client.
var sumNames = func() (list []any) {
	for _, name := range sums {
		list = append(list, name)
	}
	return list
}()

// WriteTo writes the commands as lines that redis-cli reads.
func (t *Tally) WriteTo(w io.Writer) (n int64, err error) {
	b := bufio.NewWriter(w)
	t.Each(func(_ int, args []any) {
		for i, arg := range args {
			if i > 0 {
				arg = " " + quote(fmt.Sprint(arg))
			}
			m, _ := fmt.Fprint(b, arg)
			n += int64(m)
		}
		b.WriteByte('\n')
		n++
	})
	return n, b.Flush()
}

// quote writes an argument as redis-cli reads it: in quotes where it has blanks, quotes or what cannot be printed.
func quote(arg string) string {
	quoted := []byte{'"'}
	plain := arg != ""
	for len(arg) > 0 {
		r, size := utf8.DecodeRuneInString(arg)
		switch c := arg[0]; {
		case c == '"' || c == '\\':
			quoted = append(quoted, '\\', c)
			plain = false
		case r == utf8.RuneError && size == 1 || !unicode.IsPrint(r):
			for _, c := range []byte(arg[:size]) {
				quoted = fmt.Appendf(quoted, `\x%02x`, c)
			}
			plain = false
		default:
			quoted = append(quoted, arg[:size]...)
			plain = plain && c != ' ' && c != '\''
		}
		arg = arg[size:]
	}
	if plain {
		return string(quoted[1:])
	}
	return string(append(quoted, '"'))
}
