package commands

import (
	"math"
	"math/big"
	"strconv"
)

// Floats are computed as Redis does with the x87 long double: a 64-bit mantissa, exponents down to 2^-16445 and below
// 2^16384, each operation rounded to the nearest, ties to even. They are big.Floats of 64 bits, so the result is the
// same on every processor. Infinity occurs as an operand; NaN never does.
const (
	floatBits   = 64
	floatMaxExp = 16384  // a finite value is below 2^floatMaxExp
	floatMinExp = -16445 // exponent of the last bit of the smallest value
	floatMaxLen = 5 * 1024

	doubleMaxExp = 1024 // a finite double of 64 bits is below 2^doubleMaxExp
)

// greatestFloat is the largest finite value, about 1.19e4932.
func greatestFloat() *big.Float {
	f := new(big.Float).SetUint64(math.MaxUint64) // SetUint64 chooses a precision of 64
	return f.SetMantExp(f, floatMaxExp-floatBits)
}

// parseFloat reads what strtold reads when it must use all of b: a decimal or hexadecimal number or an infinity in
// any case, with an optional sign and no space. NaN, numbers too large and numbers that round to zero without being
// zero are refused.
func parseFloat(b []byte) (*big.Float, bool) {
	if len(b) == 0 || len(b) >= floatMaxLen {
		return nil, false
	}
	neg := b[0] == '-'
	if neg || b[0] == '+' {
		b = b[1:]
	}
	var f *big.Float
	switch {
	case equalFold(b, "inf") || equalFold(b, "infinity"):
		return new(big.Float).SetPrec(floatBits).SetInf(neg), true
	case len(b) > 2 && b[0] == '0' && b[1]|0x20 == 'x':
		f = parseRadix(b[2:], 16, 'p')
	default:
		f = parseRadix(b, 10, 'e')
	}
	if f == nil {
		return nil, false
	}
	if neg {
		f.Neg(f)
	}
	return f, true
}

// parseRadix reads digits of base 10 or 16 with an optional point and an optional exponent, of 10 or of 2, behind the
// letter mark. It returns nil where parseFloat refuses.
func parseRadix(b []byte, base int, mark byte) *big.Float {
	digits := make([]byte, 0, 32)
	seen, fraction := false, -1 // digits behind the point, -1 before it
	i := 0
	for ; i < len(b); i++ {
		c := b[i]
		if c == '.' && fraction < 0 {
			fraction = 0
			continue
		}
		if !isDigit(c, base) {
			break
		}
		seen = true
		if fraction >= 0 {
			fraction++
		}
		if c != '0' || len(digits) != 0 {
			digits = append(digits, c)
		}
	}
	if !seen {
		return nil
	}
	exp, ok := parseExponent(b[i:], mark)
	if !ok {
		return nil
	}
	if len(digits) == 0 {
		return new(big.Float).SetPrec(floatBits)
	}
	fraction = max(fraction, 0)
	if base == 16 {
		return floatFromHex(digits, exp-4*fraction)
	}
	return floatFromDecimal(digits, exp-fraction)
}

func isDigit(c byte, base int) bool {
	return c >= '0' && c <= '9' || base == 16 && c|0x20 >= 'a' && c|0x20 <= 'f'
}

// parseExponent reads "" or mark, sign and digits. Exponents beyond any meaning are cut off.
func parseExponent(b []byte, mark byte) (int, bool) {
	if len(b) == 0 {
		return 0, true
	}
	if b[0]|0x20 != mark {
		return 0, false
	}
	b = b[1:]
	neg := len(b) > 0 && b[0] == '-'
	if neg || len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), 1e6)
	}
	if neg {
		n = -n
	}
	return n, true
}

// floatFromDecimal is digits × 10^exp, exactly rounded. digits starts with a digit other than zero.
func floatFromDecimal(digits []byte, exp int) *big.Float {
	if len(digits) <= 19 && exp >= -19 && exp <= 19 {
		return floatFromShort(digits, exp)
	}
	return floatFromLong(digits, exp)
}

// floatFromLong is floatFromDecimal for any number of digits and any exponent.
func floatFromLong(digits []byte, exp int) *big.Float {
	if magnitude := len(digits) + exp; magnitude > 4934 || magnitude < -4960 {
		return nil // beyond the range by far; this bounds the powers below
	}
	num, _ := new(big.Int).SetString(string(digits), 10)
	pow := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
	if exp >= 0 {
		return roundRatio(num.Mul(num, pow), big.NewInt(1))
	}
	return roundRatio(num, pow)
}

// floatFromShort is floatFromDecimal for the common case, 230 ns instead of 1,280: digits and the power of ten are exact
// in 64 bits, so the one operation on them rounds exactly.
func floatFromShort(digits []byte, exp int) *big.Float {
	var mant uint64
	for _, d := range digits {
		mant = mant*10 + uint64(d-'0')
	}
	pow := uint64(1)
	for range max(exp, -exp) {
		pow *= 10
	}
	f := new(big.Float).SetUint64(mant) // SetUint64 chooses a precision of 64
	switch {
	case exp > 0:
		f.Mul(f, new(big.Float).SetUint64(pow))
	case exp < 0:
		f.Quo(f, new(big.Float).SetUint64(pow))
	}
	return f
}

func floatFromHex(digits []byte, exp int) *big.Float {
	if magnitude := 4*len(digits) + exp; magnitude > floatMaxExp+4 || magnitude < floatMinExp-4 {
		return nil
	}
	num, _ := new(big.Int).SetString(string(digits), 16)
	if exp >= 0 {
		return roundRatio(num.Lsh(num, uint(exp)), big.NewInt(1))
	}
	return roundRatio(num, new(big.Int).Lsh(big.NewInt(1), uint(-exp)))
}

// roundRatio is num/den rounded to the format, or nil when it is too large or rounds to zero. num is overwritten.
func roundRatio(num, den *big.Int) *big.Float {
	// The quotient q of num·2^shift and den gets at least 66 bits, so that at least two are cut off below.
	shift := max(67-(num.BitLen()-den.BitLen()), 0)
	q, rest := new(big.Int).QuoRem(num.Lsh(num, uint(shift)), den, new(big.Int))
	last := max(q.BitLen()-floatBits-shift, floatMinExp) // exponent of the last bit kept
	cut := uint(last + shift)
	mant := new(big.Int).Rsh(q, cut)
	below := q.Sub(q, new(big.Int).Lsh(mant, cut))
	half := new(big.Int).Lsh(big.NewInt(1), cut-1)
	switch below.Cmp(half) {
	case 1:
		mant.Add(mant, big.NewInt(1))
	case 0:
		if rest.Sign() != 0 || mant.Bit(0) == 1 {
			mant.Add(mant, big.NewInt(1))
		}
	}
	if mant.Sign() == 0 || mant.BitLen()+last > floatMaxExp {
		return nil
	}
	f := new(big.Float).SetPrec(floatBits).SetInt(mant)
	return f.SetMantExp(f, last)
}

// addFloats is x + y; false when the sum is infinite or no number. Sums in the range of the smallest values are exact,
// so no second rounding is needed there.
func addFloats(x, y *big.Float) (*big.Float, bool) {
	if x.IsInf() || y.IsInf() {
		return nil, false
	}
	sum := new(big.Float).SetPrec(floatBits).Add(x, y)
	return sum, sum.MantExp(nil) <= floatMaxExp
}

// formatFloat prints as Redis prints for people: 17 digits behind the point, trailing zeros cut off, no exponent.
func formatFloat(f *big.Float) []byte {
	if f.Sign() == 0 || f.MantExp(nil) < -60 { // far below half of the last digit
		return []byte{'0'}
	}
	var b []byte
	if n, exact := f.Int64(); exact == big.Exact {
		return strconv.AppendInt(b, n, 10)
	}
	b = f.Append(make([]byte, 0, 48), 'f', 17)
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	if b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	if string(b) == "-0" {
		return b[1:]
	}
	return b
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

func appendUint(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }
