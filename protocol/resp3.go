package protocol

import (
	"bytes"
	"strconv"
)

// FromRESP3 appends a reply that was made for RESP3, as one for the writer's version. The reply is one that a Writer made.
func (w *Writer) FromRESP3(reply []byte) {
	if w.V == 3 {
		w.B = append(w.B, reply...)
		return
	}
	for len(reply) > 0 {
		end := bytes.IndexByte(reply, '\n') + 1
		if end < 3 {
			return
		}
		kind, line := reply[0], reply[1:end-2]
		reply = reply[end:]
		n, _ := strconv.Atoi(string(line))
		switch kind {
		case '_':
			w.Null()
		case '#':
			w.Bool(line[0] == 't')
		case ',', '(':
			w.Bulk(line)
		case '%':
			w.Map(n)
		case '~', '>':
			w.Array(n)
		case '$', '=':
			n = min(n, max(0, len(reply)-2))
			text := reply[:n]
			if reply = reply[n+2:]; kind == '=' {
				text = text[min(4, n):]
			}
			w.Bulk(text)
		default: // the same in both versions
			w.B = append(append(append(w.B, kind), line...), '\r', '\n')
		}
	}
}
