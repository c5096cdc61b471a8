package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

// readReply reads one reply from b, by the letter of the RESP3 specification and with nothing of the package under test. It
// returns a rendering ("*2[:1 $3:abc]") and the rest.
func readReply(b []byte) (string, []byte, error) {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok || len(line) == 0 {
		return "", nil, errors.New("no line")
	}
	kind, text := line[0], string(line[1:])
	switch kind {
	case '+', '-', ':', ',', '(', '#', '_':
		if strings.ContainsAny(text, "\r\n") {
			return "", nil, errors.New("line break in a line")
		}
		return string(line), rest, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return "", nil, fmt.Errorf("header %q: %w", line, err)
	}
	switch {
	case n == -1 && (kind == '$' || kind == '*'):
		return string(line), rest, nil
	case n < 0:
		return "", nil, fmt.Errorf("header %q", line)
	case kind == '$' || kind == '=':
		if len(rest) < n+2 || string(rest[n:n+2]) != "\r\n" {
			return "", nil, fmt.Errorf("%q is not followed by %d bytes and an end of line", line, n)
		}
		return string(kind) + strconv.Itoa(n) + ":" + string(rest[:n]), rest[n+2:], nil
	case kind == '*' || kind == '~' || kind == '>':
		return readElements(kind, n, n, rest)
	case kind == '%':
		return readElements(kind, n, 2*n, rest)
	}
	return "", nil, fmt.Errorf("unknown type %q", line)
}

func readElements(kind byte, n, elements int, rest []byte) (string, []byte, error) {
	parts := make([]string, 0, 16)
	for range elements {
		part, after, err := readReply(rest)
		if err != nil {
			return "", nil, err
		}
		parts, rest = append(parts, part), after
	}
	return string(kind) + strconv.Itoa(n) + "[" + strings.Join(parts, " ") + "]", rest, nil
}

// script turns fuzz bytes into calls of a Writer, and says what a reader should see.
type script struct {
	data []byte
	w    Writer
}

func (s *script) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	c := s.data[0]
	s.data = s.data[1:]
	return c
}

func (s *script) int64() int64 {
	var n int64
	for range 8 {
		n = n<<8 | int64(s.byte())
	}
	return n >> (s.byte() % 64)
}

func (s *script) text() string {
	n := min(int(s.byte()), len(s.data))
	text := string(s.data[:n])
	s.data = s.data[n:]
	return text
}

// pick returns the rendering for the version in use.
func (s *script) pick(resp2, resp3 string) string {
	if s.w.V == 3 {
		return resp3
	}
	return resp2
}

func bulk(text string) string { return "$" + strconv.Itoa(len(text)) + ":" + text }

// reply writes one reply, at most depth levels deep.
func (s *script) reply(depth int) string {
	spaces := strings.NewReplacer("\r", " ", "\n", " ")
	switch op := s.byte() % 16; op {
	case 0:
		s.w.OK()
		return "+OK"
	case 1:
		text := s.text()
		s.w.Simple(text)
		return "+" + spaces.Replace(text)
	case 2:
		text := s.text()
		s.w.Error(text)
		return "-" + spaces.Replace(text)
	case 3:
		n := s.int64()
		s.w.Int(n)
		return ":" + strconv.FormatInt(n, 10)
	case 4:
		b := s.byte()%2 == 1
		s.w.Bool(b)
		if b {
			return s.pick(":1", "#t")
		}
		return s.pick(":0", "#f")
	case 5:
		text := s.text()
		s.w.Bulk([]byte(text))
		return bulk(text)
	case 6:
		text := s.text()
		s.w.BulkString(text)
		return bulk(text)
	case 7:
		n := s.int64()
		s.w.BulkInt(n)
		return bulk(strconv.FormatInt(n, 10))
	case 8:
		s.w.Null()
		return s.pick("$-1", "_")
	case 9:
		s.w.NullArray()
		return s.pick("*-1", "_")
	case 10:
		f := math.Float64frombits(uint64(s.int64()))
		s.w.Double(f)
		text := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%.17g", f), "+"))
		return s.pick(bulk(text), ","+text)
	case 11:
		text := s.text()
		s.w.Verbatim("txt", text)
		return s.pick(bulk(text), "="+strconv.Itoa(len(text)+4)+":txt:"+text)
	default:
		return s.aggregate(op, depth)
	}
}

func (s *script) aggregate(op byte, depth int) string {
	n := int(s.byte() % 5)
	if depth == 0 {
		n = 0
	}
	elements, name := n, ""
	switch op {
	case 12:
		s.w.Array(n)
		name = "*" + strconv.Itoa(n)
	case 13:
		s.w.Map(n)
		elements = 2 * n
		name = s.pick("*"+strconv.Itoa(elements), "%"+strconv.Itoa(n))
	case 14:
		s.w.Set(n)
		name = s.pick("*", "~") + strconv.Itoa(n)
	default:
		s.w.Push(n)
		name = s.pick("*", ">") + strconv.Itoa(n)
	}
	parts := make([]string, elements)
	for i := range parts {
		parts[i] = s.reply(depth - 1)
	}
	return name + "[" + strings.Join(parts, " ") + "]"
}

// FuzzWriter: whatever is written is read back by an independent reader.
func FuzzWriter(f *testing.F) {
	for op := range byte(16) {
		f.Add([]byte{2, op, 3, 'a', '\r', 'b', 3, 'x', 'y', 'z', 1, 2})
		f.Add([]byte{3, op, 2, 0, 12, 13, 14, 15, 10, 63, 240, 11, 1, 'q'})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &script{data: data}
		s.w.V = 2 + int(s.byte()%2)
		var want []string
		for len(s.data) > 0 && len(want) < 50 {
			want = append(want, s.reply(4))
		}
		rest := s.w.B
		for i, w := range want {
			got, after, err := readReply(rest)
			if err != nil || got != w {
				t.Fatalf("reply %d: got %q, %v, want %q", i, got, err, w)
			}
			rest = after
		}
		if len(rest) != 0 {
			t.Fatalf("%q left over", rest)
		}
	})
}
