package server

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// slotsModel is replySlots as a list: each reply under way, or ready behind one, in the order of the commands.
type slotsModel struct {
	t     *rapid.T
	q     replySlots
	list  []modelReply
	sent  []byte // what q let leave
	want  []byte // what should have left
	reply int    // replies made so far: each is unlike all others
	buf   []byte // holds every reply, one after the other, as the buffers of a session do
}

type modelReply struct {
	number uint64 // of its slot; of no meaning for one that was appended
	ready  bool
	data   string
}

// data is the next reply, in memory that is used again for the one behind it.
func (m *slotsModel) data() []byte {
	m.reply++
	m.buf = m.buf[:0]
	for range rapid.IntRange(0, 3).Draw(m.t, "length") {
		m.buf = fmt.Appendf(m.buf, "<%d>", m.reply)
	}
	return m.buf
}

func (m *slotsModel) step() {
	underway := 0
	for i := range m.list {
		underway += boolInt(!m.list[i].ready)
	}
	switch op := rapid.SampledFrom([]string{"take", "take", "append", "fill", "fill"}).Draw(m.t, "op"); {
	case op == "take" || underway == 0:
		m.list = append(m.list, modelReply{number: m.q.take()})
	case op == "append":
		data := m.data()
		m.list = append(m.list, modelReply{ready: true, data: string(data)})
		m.q.append(data)
	default:
		m.fill(rapid.IntRange(0, underway-1).Draw(m.t, "which"))
	}
	m.check()
}

// fill gives the i-th reply of those under way its bytes.
func (m *slotsModel) fill(i int) {
	for at := range m.list {
		r := &m.list[at]
		if r.ready {
			continue
		}
		if i--; i < 0 {
			data := m.data()
			r.ready, r.data = true, string(data)
			m.sent = m.q.fill(r.number, data, m.sent)
			break
		}
	}
	for len(m.list) > 0 && m.list[0].ready {
		m.want = append(m.want, m.list[0].data...)
		m.list = m.list[1:]
	}
}

func (m *slotsModel) check() {
	held := 0
	for i := range m.list {
		held += len(m.list[i].data)
	}
	if !bytes.Equal(m.sent, m.want) {
		m.t.Fatalf("%q has left, want %q", m.sent, m.want)
	}
	if m.q.bytes != held || m.q.empty() != (len(m.list) == 0) {
		m.t.Fatalf("%d bytes are held, want %d; empty is %v with %d replies", m.q.bytes, held, m.q.empty(), len(m.list))
	}
}

// TestReplySlots takes slots and fills them in any order, with replies that are ready in between, beside a list.
func TestReplySlots(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &slotsModel{t: rt}
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			m.step()
		}
		for len(m.list) > 0 {
			m.fill(0)
			m.check()
		}
		for i := range m.q.ring {
			if m.q.ring[i].data != nil {
				rt.Fatalf("slot %d keeps the memory of its reply", i)
			}
		}
	})
}

// TestReplySlotsGrow has the ring grow while its oldest slot stands anywhere in it, and never for slots that are free.
func TestReplySlotsGrow(t *testing.T) {
	for passed := range 9 {
		for _, most := range []int{1, 2, 3, 4, 5, 8, 9, 31, 32, 33} {
			var q replySlots
			for range passed {
				if out := q.fill(q.take(), []byte("x"), nil); string(out) != "x" {
					t.Fatalf("%q has left", out)
				}
			}
			var numbers []uint64
			for range most {
				numbers = append(numbers, q.take())
			}
			size := 2
			for size < most {
				size *= 2
			}
			if len(q.ring) > max(size, keptSlots) {
				t.Errorf("%d of %d: the ring has %d slots, want %d", passed, most, len(q.ring), size)
			}
			var out, want []byte
			for i := most - 1; i >= 0; i-- { // the oldest comes last, and all leave with it
				if len(out) > 0 {
					t.Fatalf("%q has left before the oldest", out)
				}
				out = q.fill(numbers[i], fmt.Appendf(nil, "%d ", i), out)
			}
			for i := range most {
				want = fmt.Appendf(want, "%d ", i)
			}
			if string(out) != string(want) || q.bytes != 0 || !q.empty() || len(q.ring) > keptSlots {
				t.Errorf("%d of %d: %q has left, %d bytes are held, the idle ring has %d slots", passed, most, out, q.bytes, len(q.ring))
			}
		}
	}
}
