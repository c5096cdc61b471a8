package protocol

import "math"

// maxIntText is the length of the longest int64 in decimal, "-9223372036854775808".
const maxIntText = 20

// ParseInt reads a decimal int64 as strictly as Redis does everywhere (string2ll): an optional '-', then digits without a
// leading zero, and nothing else. "", "+1", "01", "-0", " 1" and anything outside int64 are refused. Only the canonical
// text of a number is accepted, so printing the result gives back exactly b.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > maxIntText {
		return 0, false
	}
	if b[0] == '-' {
		u, ok := parseDigits(b[1:])
		if !ok || u == 0 || u > -math.MinInt64 {
			return 0, false
		}
		return int64(-u), true
	}
	u, ok := parseDigits(b)
	if !ok || u > math.MaxInt64 {
		return 0, false
	}
	return int64(u), true
}

// parseDigits reads 1 to 20 digits without a leading zero (but "0" itself) and refuses more than a uint64 holds.
func parseDigits(b []byte) (uint64, bool) {
	if len(b) == 0 || (b[0] == '0' && len(b) > 1) {
		return 0, false
	}
	// 19 digits always fit; only a 20th can overflow.
	var u uint64
	head := b[:min(len(b), 19)]
	for _, c := range head {
		d := c - '0'
		if d > 9 {
			return 0, false
		}
		u = u*10 + uint64(d)
	}
	if len(b) == len(head) {
		return u, true
	}
	d := uint64(b[19] - '0')
	if d > 9 || u > math.MaxUint64/10 || (u == math.MaxUint64/10 && d > math.MaxUint64%10) {
		return 0, false
	}
	return u*10 + d, true
}

// digits returns how many bytes n >= 0 takes in decimal.
func digits(n int) int {
	count := 1
	for n >= 10 {
		n /= 10
		count++
	}
	return count
}
