package redistest

import (
	"bytes"
	"fmt"
	"strconv"
)

// Reply is one parsed RESP2 or RESP3 reply. Nothing of it is lost: Encode gives back the bytes it came from,
// for every server that writes lengths the shortest way.
type Reply struct {
	Type  byte    // the RESP type: + - : $ * and, in RESP3, _ # , ( ! = % ~ > |
	Null  bool    // $-1 or *-1; the RESP3 null has the type _
	Text  string  // the payload of everything that is not an aggregate
	Elems []Reply // elements of an aggregate; a map's keys and values in turn
}

// IsError tells whether the reply is an error (simple or blob).
func (r Reply) IsError() bool { return r.Type == '-' || r.Type == '!' }

// IsNull tells whether the reply is a null of any kind.
func (r Reply) IsNull() bool { return r.Null || r.Type == '_' }

// Int returns the number of an integer reply or of a string that is a decimal integer.
func (r Reply) Int() (int64, error) {
	if r.IsError() {
		return 0, fmt.Errorf("error reply: %s", r.Text)
	}
	return strconv.ParseInt(r.Text, 10, 64)
}

// String shows the reply for messages of tests.
func (r Reply) String() string {
	if r.Elems == nil && len(r.Text) <= 200 {
		return strconv.Quote(string(r.Type) + r.Text)
	}
	b := r.Encode(nil)
	if len(b) > 300 {
		return fmt.Sprintf("%q… (%d bytes)", b[:300], len(b))
	}
	return strconv.Quote(string(b))
}

// Encode appends the reply in RESP.
func (r Reply) Encode(b []byte) []byte {
	b = append(b, r.Type)
	switch r.Type {
	case '$', '=', '!':
		if r.Null {
			return append(b, "-1\r\n"...)
		}
		b = strconv.AppendInt(b, int64(len(r.Text)), 10)
		b = append(b, "\r\n"...)
		b = append(b, r.Text...)
		return append(b, "\r\n"...)
	case '*', '~', '>', '%', '|':
		if r.Null {
			return append(b, "-1\r\n"...)
		}
		n := len(r.Elems)
		if r.Type == '%' || r.Type == '|' {
			n /= 2
		}
		b = strconv.AppendInt(b, int64(n), 10)
		b = append(b, "\r\n"...)
		for _, e := range r.Elems {
			b = e.Encode(b)
		}
		return b
	default:
		b = append(b, r.Text...)
		return append(b, "\r\n"...)
	}
}

// ParseReply parses one reply from the front of raw and returns what is behind it.
func ParseReply(raw []byte) (Reply, []byte, error) {
	i := bytes.Index(raw, []byte("\r\n"))
	if i < 1 {
		return Reply{}, raw, fmt.Errorf("bad reply %.60q", raw)
	}
	r := Reply{Type: raw[0]}
	head, rest := string(raw[1:i]), raw[i+2:]
	switch r.Type {
	case '+', '-', ':', '_', '#', ',', '(':
		r.Text = head
		return r, rest, nil
	}
	n, err := strconv.Atoi(head)
	if err != nil || n < -1 {
		return r, raw, fmt.Errorf("bad reply header %.60q", raw)
	}
	if n == -1 {
		r.Null = true
		return r, rest, nil
	}
	switch r.Type {
	case '$', '=', '!':
		if len(rest) < n+2 || rest[n] != '\r' || rest[n+1] != '\n' {
			return r, raw, fmt.Errorf("string of %d bytes not ended by CRLF: %.60q", n, raw)
		}
		r.Text = string(rest[:n])
		return r, rest[n+2:], nil
	case '%', '|':
		n *= 2
	case '*', '~', '>':
	default:
		return r, raw, fmt.Errorf("unknown reply type %.60q", raw)
	}
	r.Elems = make([]Reply, 0, min(n, 1024))
	for range n {
		var e Reply
		if e, rest, err = ParseReply(rest); err != nil {
			return r, raw, err
		}
		r.Elems = append(r.Elems, e)
	}
	return r, rest, nil
}
