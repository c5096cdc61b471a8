// Package glob matches keys and names against patterns as Redis does.
package glob

// MaxPattern is the longest glob pattern accepted, in bytes.
const MaxPattern = 1024

// Match reports whether s matches pattern under Redis's rules: '*', '?', classes [abc], [^abc] and [a-z], '\' before
// a literal. Letters are compared without case when fold is set. Oddities of Redis are kept: only an empty pattern matches
// an empty string, a class without its end extends to the end of the pattern, ranges compare bytes as signed
// and in either order.
//
// It takes at most len(pattern)·len(s) steps and no recursion: after a mismatch only the last '*' is widened, which is
// enough because an earlier one could gain nothing from being longer.
func Match(pattern, s []byte, fold bool) bool {
	ok, _ := MatchSteps(pattern, s, fold)
	return ok
}

// MatchSteps is Match with the number of steps taken, by which SCAN limits its work.
func MatchSteps(pattern, s []byte, fold bool) (ok bool, steps int) {
	if len(s) == 0 {
		return len(pattern) == 0, 1
	}
	p, i := 0, 0
	star, resume := -1, 0 // pattern position behind the last '*', and where in s its match is to end next
	for i < len(s) {
		steps++
		if p < len(pattern) && pattern[p] == '*' {
			for p < len(pattern) && pattern[p] == '*' {
				p++
			}
			if p == len(pattern) {
				return true, steps
			}
			star, resume = p, i
			continue
		}
		if p < len(pattern) {
			matched, next := matchOne(pattern, p, s[i], fold)
			if matched {
				p, i = next, i+1
				continue
			}
		}
		if star < 0 {
			return false, steps
		}
		resume++
		p, i = star, resume
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern), steps
}

// matchOne matches one byte against the element of pattern at p, which is no '*', and returns where the next begins.
func matchOne(pattern []byte, p int, c byte, fold bool) (matched bool, next int) {
	switch pattern[p] {
	case '?':
		return true, p + 1
	case '[':
		return matchClass(pattern, p+1, c, fold)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return sameByte(pattern[p], c, fold), p + 1
}

// matchClass matches c against the class whose inside begins at p.
func matchClass(pattern []byte, p int, c byte, fold bool) (matched bool, next int) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			matched = matched || pattern[p] == c
		case p+2 < len(pattern) && pattern[p+1] == '-':
			matched = matched || inRange(pattern[p], pattern[p+2], c, fold)
			p += 2
		default:
			matched = matched || sameByte(pattern[p], c, fold)
		}
	}
	return matched != not, min(p+1, len(pattern))
}

func inRange(from, to, c byte, fold bool) bool {
	a, b, x := int8(from), int8(to), int8(c)
	if a > b {
		a, b = b, a
	}
	if fold {
		a, b, x = int8(lower(byte(a))), int8(lower(byte(b))), int8(lower(c))
	}
	return a <= x && x <= b
}

func sameByte(a, b byte, fold bool) bool {
	return a == b || fold && lower(a) == lower(b)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}
