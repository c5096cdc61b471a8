package exec

import (
	"encoding/binary"
	"slices"

	"quipu/engine"
)

// Drain puts what a part of the keyspace gathers into the batch, which has the number carrier, and reports whether
// there was anything. What is added to the batch later runs behind it.
func (b *Batch) Drain(ks *engine.Keyspace, part int, carrier uint64) bool {
	ks.LockPart(part)
	f := ks.Cut(part, carrier)
	ks.UnlockPart(part)
	if f == nil {
		return false
	}
	b.endRuns()
	b.entry = appendDrain(b.entry, ks, part, f)
	b.items = append(b.items, item{kind: itemDrain})
	b.drains++
	return true
}

// Grow makes room for n more bytes of drains, so that the entry's buffer does not grow step by step.
func (b *Batch) Grow(n int) { b.entry = slices.Grow(b.entry, n) }

// HasDrains reports whether the batch carries any pending increments.
func (b *Batch) HasDrains() bool { return b.drains > 0 }

// WantResend makes an empty batch worth proposing: Resend then finds what it is for.
func (b *Batch) WantResend() { b.resend = true }

// Resend puts those drains at the start of the entry that were in earlier batches, whose fate is decided, and have not
// been applied. Nothing may be added afterwards. limit bounds the entry's payload in bytes where nobody waits for the
// batch; one that clients wait for needs everything that came before it, and may become too large. It reports whether
// nothing was left over.
func (b *Batch) Resend(ks *engine.Keyspace, carrier uint64, limit int) (all bool) {
	var prefix []byte
	room := limit - b.Size()
	all = true
	ks.Lost(carrier, func(part int, f *engine.Flight) bool {
		from := len(prefix)
		prefix = appendDrain(prefix, ks, part, f)
		if len(prefix) > room && !b.awaited() {
			prefix = prefix[:from]
			all = false
			return false
		}
		b.resends++
		b.drains++
		return true
	})
	if len(prefix) == 0 {
		return all
	}
	entry := make([]byte, b.reserved, len(b.entry)+len(prefix))
	entry = append(entry, prefix...)
	b.entry = append(entry, b.entry[b.reserved:]...)
	return all
}

// awaited reports whether a client waits for anything in the batch.
func (b *Batch) awaited() bool {
	for i := range b.subs {
		if b.subs[i].Client != nil {
			return true
		}
	}
	return false
}

func appendDrain(dst []byte, ks *engine.Keyspace, part int, f *engine.Flight) []byte {
	id := f.ID(ks)
	dst = append(dst, opDrain, byte(part))
	dst = appendBytes(dst, id.Origin)
	dst = binary.LittleEndian.AppendUint64(dst, id.Incarnation)
	dst = binary.LittleEndian.AppendUint64(dst, id.From)
	dst = binary.LittleEndian.AppendUint64(dst, id.To)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(f.Len()))
	lengthAt := len(dst)
	dst = f.AppendItems(append(dst, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(dst[lengthAt:], uint32(len(dst)-lengthAt-4))
	return dst
}

// drain decodes a drain.
func (d *decoder) drain(o *op) (err error) {
	if len(d.rest) == 0 {
		return errPayload
	}
	o.part = int(d.rest[0])
	d.rest = d.rest[1:]
	if o.drain.Origin, err = d.bytes(); err != nil {
		return err
	}
	const fixed = 3*8 + 2*4
	if len(o.drain.Origin) > engine.MaxOrigin || len(d.rest) < fixed {
		return errPayload
	}
	le := binary.LittleEndian
	o.drain.Incarnation, o.drain.From, o.drain.To = le.Uint64(d.rest), le.Uint64(d.rest[8:]), le.Uint64(d.rest[16:])
	o.count = le.Uint32(d.rest[24:])
	length := le.Uint32(d.rest[28:])
	d.rest = d.rest[fixed:]
	if o.drain.To <= o.drain.From || uint64(length) > uint64(len(d.rest)) || uint64(o.count) > uint64(length)/engine.DrainItemMin {
		return errPayload
	}
	o.body, d.rest = d.rest[:length:length], d.rest[length:]
	if d.trusted {
		return nil
	}
	rest := o.body
	for range o.count {
		_, n, err := engine.DecodeDrainItem(rest, o.part, d.databases)
		if err != nil {
			return errPayload
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return errPayload
	}
	return nil
}

// drain executes the next operation, which is a drain.
func (a *applier) drain() error {
	if err := a.nextOp(opDrain); err != nil {
		return err
	}
	return a.r.drain(&a.op, a.stamp)
}

// drain executes a drain with its part locked.
func (r *Runner) drain(o *op, stamp int64) error {
	r.ks.LockPart(o.part)
	defer r.ks.UnlockPart(o.part)
	t := r.ks.Txn(0, stamp, false).In(o.part)
	if t.Drain(o.part, &o.drain) != engine.DrainApply {
		return nil
	}
	warm := r.ks.WorthWarming()
	rest, left := o.body, int(o.count)
	for left > 0 {
		n := min(left, len(r.items))
		for i := range n {
			it, size, err := engine.DecodeDrainItem(rest, o.part, r.ks.Databases())
			if err != nil {
				return errPayload
			}
			r.items[i], rest = it, rest[size:]
			r.ahead.hints[i] = engine.Hint{DB: it.DB, Key: it.Key}
		}
		if warm {
			r.ks.WarmHeld(o.part, r.ahead.hints[:n])
		}
		for i := range n {
			t.AddDrained(&r.items[i], false)
		}
		left -= n
	}
	clear(r.items[:])
	clear(r.ahead.hints[:])
	return nil
}
