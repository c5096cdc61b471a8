package exec

// Fail replies to every command without executing anything. Writes and barriers get the error text write, reads the error
// text read, both without the leading '-'. Replies that are already known stay as they are.
func (b *SubBatch) Fail(write, read string) {
	b.out.B = b.out.B[:0]
	for i := range b.subs {
		b.fail(&b.subs[i], write, read)
	}
}

// fail is Fail for one submission, whose replies come next in the output.
func (b *SubBatch) fail(s *Submission, write, read string) {
	w := &b.out
	s.begin = len(w.B)
	for at := s.first; at < s.last; at++ {
		it := &b.items[at]
		start := len(w.B)
		text := write
		switch {
		case it.kind == itemLiteral && it.flags&itemBarrier == 0:
			text = ""
			w.B = append(w.B, b.aside[it.at:it.at+it.n]...)
		case it.kind == itemRead, it.kind == itemWatch, it.kind == itemTxn && !b.txns[it.at].writes():
			text = read
		}
		if text != "" {
			w.Error(text)
			b.failed(it)
		}
		if it.kind == itemTxn {
			at += int(it.n)
		}
		if it.flags&itemSilent != 0 {
			w.B = w.B[:start]
		}
	}
	s.end, s.Overflowed, s.Voided = len(w.B), false, false
}
