package oracle

import (
	"slices"
	"strconv"
	"strings"

	"quipu/engine/hll"
	"quipu/internal/redistest"
)

const countTopic = "Cached count of a HyperLogLog"

// ran reports whether the sequence has sent one of some commands.
func (p *player) ran(names ...string) bool {
	return slices.ContainsFunc(p.log, func(x *exchange) bool { return slices.Contains(names, word(x.args, 0)) })
}

// losesCounts reports whether the sequence may have made Quipu forget a cached count.
func (p *player) losesCounts() bool { return p.ran("copy", "append", "setrange") }

// maskedCount is a value without what would be its cached count.
func maskedCount(value string) string {
	if len(value) < hll.HeaderBytes {
		return value
	}
	return value[:hll.CountAt] + value[hll.HeaderBytes:]
}

// sameButCount: Quipu has forgotten the cached count of a HyperLogLog, or of what was one, that Redis still has.
func sameButCount(c *compared) bool {
	a, b := c.replies[redis], c.replies[quipu]
	if !c.p.losesCounts() {
		return false
	}
	switch word(c.args, 0) {
	case "pfcount": // the old count may have been a wrong one
		return a.Type == ':' && (b.Type == ':' && countedAnew(c) || strings.HasPrefix(c.text[quipu], "-INVALIDOBJ"))
	case "mget":
		return slices.EqualFunc(a.Elems, b.Elems, func(a, b redistest.Reply) bool { return maskedCount(a.Text) == maskedCount(b.Text) })
	case "getrange", "substr":
		return len(a.Text) == len(b.Text) && differAcross(a.Text, b.Text) <= hll.CountBytes
	}
	return a.Type == '$' && b.Type == '$' && len(a.Text) == len(b.Text) && maskedCount(a.Text) == maskedCount(b.Text)
}

// halfOpcode: SETRANGE or APPEND has left a sparse HyperLogLog that ends in half an opcode. Redis adds to it, behind its
// end.
func halfOpcode(c *compared) bool {
	half := c.p.ran("setrange", "append") && c.replies[redis].Type == ':' && strings.HasPrefix(c.text[quipu], "-INVALIDOBJ")
	c.p.parted = c.p.parted || half
	return half
}

// countedAnew reports whether Quipu's reply is what the registers say, as far as that can be seen.
func countedAnew(c *compared) bool {
	if !c.alone || len(c.args) != 2 {
		return true
	}
	value, err := c.c.do(quipu, "GET", c.args[1])
	if err != nil || value.IsNull() {
		return err == nil // it may have expired meanwhile
	}
	b := []byte(value.Text)
	if !hll.Check(b) {
		return false
	}
	count, ok := hll.Count(b)
	return ok && strconv.FormatUint(count, 10) == c.replies[quipu].Text
}

// differAcross is how far apart the first and the last byte are in which two strings of one length differ, both counted.
func differAcross(a, b string) int {
	first, last := -1, -1
	for i := range a {
		if a[i] != b[i] {
			if last = i; first < 0 {
				first = i
			}
		}
	}
	return last - first + 1
}
