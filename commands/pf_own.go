package commands

import (
	"quipu/engine"
	"quipu/engine/hll"
)

// ownHLLTail is what a node keeps of a HyperLogLog for itself. In the record it is the own tail of the value:
//
//	0                8
//	┌────────────────┬───────────────────────────────────────┐
//	│ count          │ hll.Skips, of a sparse one            │
//	│ as in a header │ that is long enough for them          │
//	└────────────────┴───────────────────────────────────────┘
//
// Redis has the count that PFCOUNT has computed in bytes 8 to 15 of the value, where GET shows it. Here these bytes
// of the value are the same on every node, and only what replies show of them comes from the tail. The count may be
// stale, as in Redis, where PFADD sets the top bit and leaves the rest.
type ownHLLTail struct {
	count   [hll.CountBytes]byte
	counted bool // there is a count
	skips   hll.Skips
	skipped bool // skips holds for the value
	tail    [hll.CountBytes + hll.SkipsBytes]byte
}

func (o *ownHLLTail) open(tail []byte) {
	o.openCount(tail)
	if skips := skipsOf(tail); skips != nil {
		o.skips, o.skipped = *skips, true
	}
}

// openCount is open without the skips: for a value that is written anew.
func (o *ownHLLTail) openCount(tail []byte) {
	if len(tail) >= hll.CountBytes {
		o.counted = true
		copy(o.count[:], tail)
	}
}

// skipsOf returns the skips kept in the tail of a sparse HyperLogLog, nil if there are none.
func skipsOf(tail []byte) *hll.Skips {
	if len(tail) < hll.CountBytes+hll.SkipsBytes {
		return nil
	}
	return (*hll.Skips)(tail[hll.CountBytes:])
}

// cached returns the count that is cached for the value b on this node, and false if it is stale.
func (o *ownHLLTail) cached(b []byte) (uint64, bool) {
	if o.counted {
		var header [hll.HeaderBytes]byte
		copy(header[hll.CountAt:], o.count[:])
		return hll.Cached(header[:])
	}
	return hll.Cached(b)
}

func (o *ownHLLTail) markStale() {
	var header [hll.HeaderBytes]byte
	copy(header[hll.CountAt:], o.count[:])
	hll.MarkStale(header[:])
	copy(o.count[:], header[hll.CountAt:])
}

// room is how long the tail of a value of n bytes may be.
func (o *ownHLLTail) room(n int) int {
	switch {
	case n >= hll.SkipsFrom && n <= hll.SparseMax:
		return len(o.tail)
	case o.counted:
		return hll.CountBytes
	}
	return 0
}

// of returns the tail for the value b, nil if it is to have none. Where skips are of use and do not hold, they are made.
func (o *ownHLLTail) of(b []byte) []byte {
	skips := !hll.IsDense(b) && len(b) >= hll.SkipsFrom && (o.skipped || o.skips.Fill(b))
	switch {
	case o.counted:
		copy(o.tail[:], o.count[:])
	case skips:
		copy(o.tail[:], b[hll.CountAt:][:hll.CountBytes])
	default:
		return nil
	}
	if !skips {
		return o.tail[:hll.CountBytes]
	}
	copy(o.tail[hll.CountBytes:], o.skips[:])
	return o.tail[:]
}

// keep keeps a count of a key's value, and the skips if there are any.
func (o *ownHLLTail) keep(v engine.View, key, count []byte) {
	o.counted = true
	copy(o.count[:], count)
	n := copy(o.tail[:], count)
	if o.skipped {
		n += copy(o.tail[n:], o.skips[:])
	}
	v.SetOwnTail(key, o.tail[:n])
}

// keepRaw gives a key, whose value is the HyperLogLog value, a tail that says no more than the value does: OBJECT ENCODING
// then shows that PFCOUNT has made the string Redis's own, as it shows in Redis of a copy. The count stays behind.
func keepRaw(v engine.View, key []byte, value engine.Value) {
	v.SetOwnTail(key, value.Bytes[hll.CountAt:][:hll.CountBytes])
}

// rewrite gives a key, whose content was opened, the value b, which has no skips yet, and keeps the count. It tells no
// observers: the caller does, by Changed, unless b has the same registers.
func (o *ownHLLTail) rewrite(t engine.Txn, key []byte, content engine.Content, b []byte) engine.Content {
	tail := 0
	if o.counted {
		tail = len(o.count)
	}
	content = t.EditWithTail(key, content, len(b), tail)
	copy(content.Bytes, b)
	if o.counted {
		content.SetOwnTail(o.count[:])
	}
	return content
}

// bulkShown replies with the bytes from to to of a value that holds bytes, with the count of a HyperLogLog as this node
// has it. No other value has a tail.
func (c *Call) bulkShown(v engine.Value, from, to int) {
	c.W.Bulk(v.Bytes[from:to])
	if tail := v.OwnTail(); len(tail) >= hll.CountBytes {
		end := len(c.W.B) - len("\r\n")
		reply := c.W.B[end-(to-from) : end]
		for i := max(from, hll.CountAt); i < min(to, hll.CountAt+hll.CountBytes); i++ {
			reply[i-from] = tail[i-hll.CountAt]
		}
	}
}
