package mapping

import (
	"bytes"
	"strconv"
)

// decode is a value as CEL knows it: nil, bool, int64, uint64, float64, string, map[string]any or []any. A number is a
// whole number where it is written as one and fits.
func (f *fields) decode(v value) any {
	switch v.kind {
	case boolean:
		return f.rec[v.from] == 't'
	case number:
		return parseNumber(f.raw(v)).any()
	case text, escaped:
		return string(f.appendText(nil, v))
	case object, array:
		decoded, _ := f.decodeAt(int(v.from))
		return decoded
	}
	return nil
}

// decodeAt decodes the value in JSON that begins at i, and returns the index behind it. The record has been checked, and
// the value is inside an object or array.
func (f *fields) decodeAt(i int) (any, int) {
	switch kindAt(f.rec, i) {
	case object:
		m := map[string]any{}
		return m, f.decodeMembers(i, m)
	case array:
		list := []any{}
		i = skipBlanks(f.rec, i+1)
		for f.rec[i] != ']' {
			if f.rec[i] == ',' {
				i = skipBlanks(f.rec, i+1)
			}
			var v any
			v, i = f.decodeAt(i)
			list = append(list, v)
			i = skipBlanks(f.rec, i)
		}
		return list, i + 1
	case text:
		end, escapes := scanText(f.rec, i+1)
		if escapes {
			return unescape(f.rec, i+1, end), end + 1
		}
		return string(f.rec[i+1 : end]), end + 1
	}
	end := skipScalar(f.rec, i)
	return f.decode(value{kindAt(f.rec, i), int32(i), int32(end)}), end
}

// skipScalar is the index behind the number, truth value or null at i.
func skipScalar(rec []byte, i int) int {
	for rec[i] > ' ' && rec[i] != ',' && rec[i] != '}' && rec[i] != ']' {
		i++
	}
	return i
}

// decodeMembers puts the members of the object that begins at i into m. Of two with the same name the first one counts.
func (f *fields) decodeMembers(i int, m map[string]any) int {
	i = skipBlanks(f.rec, i+1)
	for f.rec[i] != '}' {
		if f.rec[i] == ',' {
			i = skipBlanks(f.rec, i+1)
		}
		name, end := f.decodeAt(i)
		i = skipBlanks(f.rec, end) // a colon
		var v any
		v, i = f.decodeAt(skipBlanks(f.rec, i+1))
		if _, twice := m[name.(string)]; !twice {
			m[name.(string)] = v
		}
		i = skipBlanks(f.rec, i)
	}
	return i + 1
}

// numeric is a number of JSON or CEL. Exactly one of the three is used, by kind.
type numeric struct {
	kind  byte // i, u or f
	whole int64
	large uint64 // beyond int64
	float float64
}

// parseNumber reads a number that is valid JSON.
func parseNumber(raw []byte) numeric {
	if n, ok := parseInt(raw); ok {
		return numeric{kind: 'i', whole: n}
	}
	if bytes.IndexAny(raw, ".eE") < 0 {
		if n, err := strconv.ParseUint(string(raw), 10, 64); err == nil {
			return numeric{kind: 'u', large: n}
		}
	}
	x, _ := strconv.ParseFloat(string(raw), 64) // ±Inf where it is too large
	return numeric{kind: 'f', float: x}
}

func (n numeric) any() any {
	switch n.kind {
	case 'i':
		return n.whole
	case 'u':
		return n.large
	}
	return n.float
}

// equal compares as CEL does: between a whole number and a fraction, the whole one is rounded to 53 bits first.
func (n numeric) equal(m numeric) bool {
	switch {
	case n.kind == m.kind:
		return n == m
	case n.kind == 'f':
		return m.equal(n)
	case m.kind != 'f' && n.kind == 'i':
		return n.whole >= 0 && uint64(n.whole) == m.large
	case m.kind != 'f':
		return m.equal(n)
	case n.kind == 'i':
		return m.float >= -1<<63 && m.float <= 1<<63-1 && m.float == float64(n.whole)
	}
	return m.float >= 0 && m.float <= 1<<64-1 && m.float == float64(n.large)
}

// parseInt reads a whole number as the server does: without a sign but -, without leading zeros.
func parseInt(b []byte) (int64, bool) {
	digits := b
	if len(b) > 0 && b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	switch {
	case len(digits) < len(b):
		return int64(-n), n <= 1<<63
	default:
		return int64(n), n <= 1<<63-1
	}
}
