package mapping

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/tidwall/gjson"
)

// Results of reading that are no index.
const (
	notValid = -1
	tooDeep  = -2
)

// readJSON checks a record and finds the values, in one pass. It takes the records that gjson.ValidBytes takes
// (FuzzReadJSON), if they are objects, no larger than MaxRecord and no deeper than maxDepth; gjson's own check recurses
// without a limit. For the record of BenchmarkRead it takes 1.3 times as long as that check alone; the check and gjson's
// ForEach behind it take 3.5 times as long, with GetManyBytes 9 times.
func (f *fields) readJSON(rec []byte) error {
	if len(rec) > MaxRecord {
		return fmt.Errorf("the record has %d bytes; %d are the limit", len(rec), MaxRecord)
	}
	f.rec = rec
	clear(f.vals)
	i := skipBlanks(rec, 0)
	if i == len(rec) {
		return errors.New("the record is empty")
	}
	end := 0
	if rec[i] == '{' {
		end = f.object(i+1, 1, f.top)
	} else {
		end = f.value(i, 0, -1)
	}
	switch {
	case end == tooDeep:
		return fmt.Errorf("the record has more than %d arrays and objects inside each other", maxDepth)
	case end < 0 || skipBlanks(rec, end) < len(rec):
		return invalid(rec)
	case rec[i] != '{':
		return errors.New("the record is JSON, but no object")
	}
	return nil
}

// invalid says what is wrong with a record, if another parser finds it too.
func invalid(rec []byte) error {
	var mistake *json.SyntaxError
	if err := json.Unmarshal(rec, new(json.RawMessage)); errors.As(err, &mistake) {
		return fmt.Errorf("the record is not valid JSON: %v, byte %d", mistake, mistake.Offset)
	}
	return errors.New("the record is not valid JSON")
}

func skipBlanks(rec []byte, i int) int {
	for i < len(rec) && (rec[i] == ' ' || rec[i] == '\n' || rec[i] == '\t' || rec[i] == '\r') {
		i++
	}
	return i
}

// object reads the members of an object from i on, which is behind the brace, and takes those that children name. It
// returns the index behind the object, or notValid or tooDeep.
func (f *fields) object(i, depth int, children []int32) int {
	rec := f.rec
	if i = skipBlanks(rec, i); i < len(rec) && rec[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(rec) || rec[i] != '"' {
			return notValid
		}
		end, escapes := scanText(rec, i+1)
		if end < 0 {
			return end
		}
		n := int32(-1)
		if !escapes {
			n = f.find(children, rec[i+1:end])
		} else if len(children) > 0 {
			n = f.find(children, []byte(unescape(rec, i+1, end)))
		}
		if i = skipBlanks(rec, end+1); i == len(rec) || rec[i] != ':' {
			return notValid
		}
		if i = f.value(skipBlanks(rec, i+1), depth, n); i < 0 {
			return i
		}
		switch i = skipBlanks(rec, i); {
		case i == len(rec):
			return notValid
		case rec[i] == ',':
			i = skipBlanks(rec, i+1)
		case rec[i] == '}':
			return i + 1
		default:
			return notValid
		}
	}
}

// find is the child of that name whose value is not known yet, -1 if there is none.
func (f *fields) find(children []int32, name []byte) int32 {
	for _, n := range children {
		// Names of the same length are common. A call for each costs a tenth of reading a record.
		if has := f.nodes[n].name; len(has) == len(name) && (len(name) == 0 || has[0] == name[0]) && has == string(name) {
			if f.vals[n].kind != missing {
				return -1
			}
			return n
		}
	}
	return -1
}

// array is object for an array, whose members are named 0, 1, 2 …
func (f *fields) array(i, depth int, children []int32) int {
	rec := f.rec
	if i = skipBlanks(rec, i); i < len(rec) && rec[i] == ']' {
		return i + 1
	}
	var digits [8]byte
	for index := int64(0); ; index++ {
		n := int32(-1)
		if len(children) > 0 {
			n = f.find(children, strconv.AppendInt(digits[:0], index, 10))
		}
		if i = f.value(i, depth, n); i < 0 {
			return i
		}
		switch i = skipBlanks(rec, i); {
		case i == len(rec):
			return notValid
		case rec[i] == ',':
			i = skipBlanks(rec, i+1)
		case rec[i] == ']':
			return i + 1
		default:
			return notValid
		}
	}
}

// value reads the value that begins at i, inside so many objects and arrays, and takes it for node n, -1 for none. It
// returns what object returns.
func (f *fields) value(i, depth int, n int32) int {
	rec := f.rec
	if i >= len(rec) {
		return notValid
	}
	var children []int32
	if n >= 0 {
		children = f.nodes[n].children
	}
	v := value{kindAt(rec, i), int32(i), 0}
	end := notValid
	switch v.kind {
	case text:
		var escapes bool
		if end, escapes = scanText(rec, i+1); end < 0 {
			return end
		}
		if escapes {
			v.kind = escaped
		}
		if n >= 0 {
			f.vals[n] = value{v.kind, int32(i + 1), int32(end)}
		}
		return end + 1
	case object, array:
		switch {
		case depth == maxDepth:
			return tooDeep
		case v.kind == object:
			end = f.object(i+1, depth+1, children)
		default:
			end = f.array(i+1, depth+1, children)
		}
	case boolean:
		if bytes.HasPrefix(rec[i:], []byte("true")) {
			end = i + 4
		} else if bytes.HasPrefix(rec[i:], []byte("false")) {
			end = i + 5
		}
	case null:
		if bytes.HasPrefix(rec[i:], []byte("null")) {
			end = i + 4
		}
	default:
		end = scanNumber(rec, i)
	}
	if n >= 0 && end >= 0 {
		v.to = int32(end)
		f.vals[n] = v
	}
	return end
}

// kindAt is what a value seems to be by its first byte.
func kindAt(rec []byte, i int) kind {
	switch rec[i] {
	case '"':
		return text
	case '{':
		return object
	case '[':
		return array
	case 't', 'f':
		return boolean
	case 'n':
		return null
	}
	return number
}

// scanText is the index of the quote that closes the text whose first byte is at i, or notValid. It looks at eight bytes
// at a time.
func scanText(rec []byte, i int) (end int, escapes bool) {
	for {
		if i+8 <= len(rec) {
			found := special(binary.LittleEndian.Uint64(rec[i:]))
			if found == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(found) / 8
		} else {
			for i < len(rec) && rec[i] >= ' ' && rec[i] != '"' && rec[i] != '\\' {
				i++
			}
			if i == len(rec) {
				return notValid, false
			}
		}
		switch rec[i] {
		case '"':
			return i, escapes
		case '\\':
			escapes = true
			if i = scanEscape(rec, i+1); i < 0 {
				return notValid, false
			}
		default:
			return notValid, false
		}
	}
}

// special has the highest bit of a byte set where x has a quote, a backslash or a control character; above the first one,
// also elsewhere. (Mycroft's test for a byte of 0: of x - 1 and not x, the highest bit.)
func special(x uint64) uint64 {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	quote, backslash := x^ones*'"', x^ones*'\\'
	return ((quote-ones)&^quote | (backslash-ones)&^backslash | (x-ones*' ')&^x) & high
}

// scanEscape is the index behind what a backslash before i escapes, or notValid.
func scanEscape(rec []byte, i int) int {
	if i >= len(rec) {
		return notValid
	}
	switch rec[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if i+5 > len(rec) {
			return notValid
		}
		for _, c := range rec[i+1 : i+5] {
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return notValid
			}
		}
		return i + 5
	}
	return notValid
}

// scanNumber is the index behind the number at i, or notValid.
func scanNumber(rec []byte, i int) int {
	if rec[i] == '-' {
		i++
	}
	from := i
	if i = digits(rec, i); i == from || rec[from] == '0' && i > from+1 {
		return notValid
	}
	if i < len(rec) && rec[i] == '.' {
		from := i + 1
		if i = digits(rec, from); i == from {
			return notValid
		}
	}
	if i < len(rec) && (rec[i] == 'e' || rec[i] == 'E') {
		i++
		if i < len(rec) && (rec[i] == '+' || rec[i] == '-') {
			i++
		}
		from := i
		if i = digits(rec, from); i == from {
			return notValid
		}
	}
	return i
}

// digits is the index behind the digits at i.
func digits(rec []byte, i int) int {
	for i < len(rec) && rec[i]-'0' <= 9 {
		i++
	}
	return i
}

// unescape is the text in JSON at rec[from:to], which stands between quotes.
func unescape(rec []byte, from, to int) string { return gjson.ParseBytes(rec[from-1 : to+1]).Str }
