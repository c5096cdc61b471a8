package mapping

import (
	"fmt"
	"math"
	"time"
)

// unit is how long a bucket is.
type unit uint8

const (
	noUnit unit = iota
	minute
	hour
	day
	month
)

var units = map[string]unit{"minute": minute, "hour": hour, "day": day, "month": month}

var layouts = [...]string{minute: "2006-01-02T15:04", hour: "2006-01-02T15", day: "2006-01-02", month: "2006-01"}

// The times that a record may have, in Unix milliseconds: the years 1 to 9999.
const (
	firstTime = -62_135_596_800_000
	lastTime  = 253_402_300_799_999
)

// secondsBelow tells seconds from milliseconds: a number nearer to 0 is seconds, until the year 5138; any other is
// milliseconds, from March 1973 on.
const secondsBelow = 100_000_000_000

// bucket is the part of time that a record was last in, and its name: the next record is probably in it too.
type bucket struct {
	from, to int64 // Unix milliseconds; to does not belong to it
	name     [len("2006-01-02T15:04")]byte
	size     uint8
}

// enter makes b the bucket of a time.
func (b *bucket) enter(ms int64, u unit) {
	if ms >= b.from && ms < b.to {
		return
	}
	t := time.UnixMilli(ms).UTC()
	var next time.Time
	switch u {
	case minute:
		t = t.Truncate(time.Minute)
		next = t.Add(time.Minute)
	case hour:
		t = t.Truncate(time.Hour)
		next = t.Add(time.Hour)
	case day:
		t = time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		next = t.AddDate(0, 0, 1)
	default:
		t = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		next = t.AddDate(0, 1, 0)
	}
	b.from, b.to = t.UnixMilli(), next.UnixMilli()
	b.size = uint8(len(t.AppendFormat(b.name[:0], layouts[u])))
}

// time is a value as Unix milliseconds: a number, also in a text, or a text as in RFC 3339.
func (f *fields) time(v value) (int64, error) {
	raw := f.raw(v)
	if v.kind == escaped {
		raw = f.appendText(nil, v)
	}
	ms, ok := parseMillis(raw)
	if !ok && v.kind != number {
		var t time.Time
		if t.UnmarshalText(raw) == nil {
			ms, ok = t.UnixMilli(), true
		}
	}
	if !ok || ms < firstTime || ms > lastTime {
		return 0, fmt.Errorf("%s is no time: neither seconds or milliseconds since 1970 nor as in 2026-11-29T10:05:00Z", shown(raw))
	}
	return ms, nil
}

// parseMillis reads seconds, also with a fraction, or milliseconds.
func parseMillis(raw []byte) (int64, bool) {
	if n, ok := parseInt(raw); ok {
		if n > -secondsBelow && n < secondsBelow {
			n *= 1000
		}
		return n, true
	}
	if !isNumber(raw) {
		return 0, false
	}
	x := parseNumber(raw)
	if x.kind != 'f' {
		return 0, false
	}
	if math.Abs(x.float) < secondsBelow {
		x.float *= 1000
	}
	ms := math.Floor(x.float)
	return int64(ms), math.Abs(ms) < 1<<62
}

// isNumber reports whether a text could be a number of JSON.
func isNumber(raw []byte) bool {
	for _, c := range raw {
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			return false
		}
	}
	return len(raw) > 0 && len(raw) < 100
}

// shown is a text of a record as an error shows it.
func shown(b []byte) string {
	if len(b) > 100 {
		return fmt.Sprintf("%.100q…", b)
	}
	return fmt.Sprintf("%q", b)
}
