package server

// replySlots keeps the replies of a session in the order of its commands, wherever and whenever they come about: each
// submission that is under way has a slot, and so have replies that are ready behind one. A slot's bytes leave when all
// slots before it have left. With one replica, submissions complete in order, and a slot costs a counter; answers of
// several replicas may come in any order.
//
// The slots are a ring, numbered without end: those from head to tail are taken.
type replySlots struct {
	ring       []replySlot // its length is a power of two
	head, tail uint64
	bytes      int // held in them
}

// keptSlots is the longest ring that an idle session keeps.
const keptSlots = 8

type replySlot struct {
	ready bool
	data  []byte
}

// empty reports whether nothing is under way.
func (q *replySlots) empty() bool { return q.head == q.tail }

func (q *replySlots) at(n uint64) *replySlot { return &q.ring[n&uint64(len(q.ring)-1)] }

// take takes the next slot, whose bytes are to come, and returns its number.
func (q *replySlots) take() uint64 {
	if q.tail-q.head == uint64(len(q.ring)) {
		grown := replySlots{ring: make([]replySlot, max(2, 2*len(q.ring)))}
		for n := q.head; n < q.tail; n++ {
			*grown.at(n) = *q.at(n)
		}
		q.ring = grown.ring
	}
	*q.at(q.tail) = replySlot{}
	q.tail++
	return q.tail - 1
}

// append adds bytes that are ready behind all others. Something is under way.
func (q *replySlots) append(data []byte) {
	if !q.at(q.tail - 1).ready {
		q.at(q.take()).ready = true
	}
	last := q.at(q.tail - 1)
	last.data = append(last.data, data...)
	q.bytes += len(data)
}

// fill gives a slot its bytes, and appends to out what may leave now.
func (q *replySlots) fill(n uint64, data, out []byte) []byte {
	if n != q.head {
		s := q.at(n)
		s.ready, s.data = true, append(s.data, data...)
		q.bytes += len(data)
		return out
	}
	out = append(out, data...)
	for q.head++; q.head != q.tail && q.at(q.head).ready; q.head++ {
		s := q.at(q.head)
		out = append(out, s.data...)
		q.bytes -= len(s.data)
		s.data = nil
	}
	if q.empty() && len(q.ring) > keptSlots {
		q.ring = nil
	}
	return out
}
