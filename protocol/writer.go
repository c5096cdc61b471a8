package protocol

import (
	"math"
	"strconv"

	"github.com/tidwall/redcon"
)

// Writer appends replies to B, in RESP3 if V is 3 and in RESP2 otherwise. The zero value writes RESP2. An aggregate's
// header (Array, Map, Set, Push) promises as many elements as it names; the caller writes them next.
type Writer struct {
	B []byte
	V int
	// Failed is told the text of each error, for statistics. It may be nil.
	Failed func(text string)
	// Errors counts the errors that Failed was told of: whoever has a command executed sees by it whether the reply has one.
	Errors int
}

// OK appends +OK.
func (w *Writer) OK() { w.B = append(w.B, "+OK\r\n"...) }

// Queued appends the answer to a command inside MULTI.
func (w *Writer) Queued() { w.B = append(w.B, "+QUEUED\r\n"...) }

// Pong appends +PONG.
func (w *Writer) Pong() { w.B = append(w.B, "+PONG\r\n"...) }

// Simple appends a status. CR and LF in it become spaces.
func (w *Writer) Simple(s string) { w.B = redcon.AppendString(w.B, s) }

// Error appends an error, text without the leading '-': "ERR syntax error". CR and LF in it become spaces.
func (w *Writer) Error(text string) {
	if w.Failed != nil {
		w.Failed(text)
		w.Errors++
	}
	w.B = redcon.AppendError(w.B, text)
}

// Int appends an integer.
func (w *Writer) Int(n int64) { w.B = redcon.AppendInt(w.B, n) }

// Bool appends a boolean: #t or #f in RESP3, 1 or 0 in RESP2.
func (w *Writer) Bool(b bool) {
	switch {
	case w.V == 3 && b:
		w.B = append(w.B, "#t\r\n"...)
	case w.V == 3:
		w.B = append(w.B, "#f\r\n"...)
	case b:
		w.B = append(w.B, ":1\r\n"...)
	default:
		w.B = append(w.B, ":0\r\n"...)
	}
}

// Bulk appends a bulk string; a nil b is an empty one.
func (w *Writer) Bulk(b []byte) { w.B = redcon.AppendBulk(w.B, b) }

// BulkString appends a bulk string.
func (w *Writer) BulkString(s string) { w.B = redcon.AppendBulkString(w.B, s) }

// BulkInt appends n in decimal as a bulk string.
func (w *Writer) BulkInt(n int64) {
	var text [maxIntText]byte
	w.B = redcon.AppendBulk(w.B, strconv.AppendInt(text[:0], n, 10))
}

// Null appends the absent value: _ in RESP3, $-1 in RESP2.
func (w *Writer) Null() {
	if w.V == 3 {
		w.B = append(w.B, "_\r\n"...)
		return
	}
	w.B = redcon.AppendNull(w.B)
}

// NullArray appends the absent array (an aborted EXEC): _ in RESP3, *-1 in RESP2.
func (w *Writer) NullArray() {
	if w.V == 3 {
		w.B = append(w.B, "_\r\n"...)
		return
	}
	w.B = append(w.B, "*-1\r\n"...)
}

// Array appends the header of an array of n elements.
func (w *Writer) Array(n int) { w.B = redcon.AppendArray(w.B, n) }

// Map appends the header of a map of n pairs, in RESP2 that of an array of 2n elements. Key and value alternate.
func (w *Writer) Map(n int) {
	if w.V == 3 {
		w.header('%', n)
		return
	}
	w.Array(2 * n)
}

// Set appends the header of a set of n elements, an array in RESP2.
func (w *Writer) Set(n int) {
	if w.V == 3 {
		w.header('~', n)
		return
	}
	w.Array(n)
}

// Push appends the header of an out-of-band message of n elements, an array in RESP2.
func (w *Writer) Push(n int) {
	if w.V == 3 {
		w.header('>', n)
		return
	}
	w.Array(n)
}

// Double appends f with 17 significant digits, as Redis 7.0 does: 3.5, 0.10000000000000001, inf, -inf, nan. A bulk string
// in RESP2.
func (w *Writer) Double(f float64) {
	var text [32]byte
	w.DoubleText(appendDouble(text[:0], f))
}

// DoubleText appends a double whose text is already made (for a value with more digits than a float64 has).
func (w *Writer) DoubleText(text []byte) {
	if w.V != 3 {
		w.Bulk(text)
		return
	}
	w.B = append(w.B, ',')
	w.B = append(w.B, text...)
	w.B = append(w.B, '\r', '\n')
}

// Verbatim appends text with its format, three letters such as "txt". A bulk string without the format in RESP2.
func (w *Writer) Verbatim(ext, s string) {
	if w.V != 3 {
		w.BulkString(s)
		return
	}
	w.header('=', len(s)+4)
	for i := range 3 {
		c := byte(' ')
		if i < len(ext) {
			c = ext[i]
		}
		w.B = append(w.B, c)
	}
	w.B = append(w.B, ':')
	w.B = append(w.B, s...)
	w.B = append(w.B, '\r', '\n')
}

// BigNumber appends an integer of any size given in decimal. A bulk string in RESP2.
func (w *Writer) BigNumber(text string) {
	if w.V != 3 {
		w.BulkString(text)
		return
	}
	w.B = append(w.B, '(')
	w.B = append(w.B, text...)
	w.B = append(w.B, '\r', '\n')
}

// Raw appends a reply that is already encoded.
func (w *Writer) Raw(reply []byte) { w.B = append(w.B, reply...) }

// header appends an aggregate's header for the types redcon has no function for.
func (w *Writer) header(kind byte, n int) {
	w.B = append(w.B, kind)
	w.B = strconv.AppendInt(w.B, int64(n), 10)
	w.B = append(w.B, '\r', '\n')
}

// appendDouble appends f as C's "%.17g" prints it; Go's 'g' differs for infinities and NaN only.
func appendDouble(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "nan"...)
	case math.IsInf(f, 1):
		return append(b, "inf"...)
	case math.IsInf(f, -1):
		return append(b, "-inf"...)
	}
	return strconv.AppendFloat(b, f, 'g', 17, 64)
}
