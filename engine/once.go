package engine

import (
	"encoding/binary"
	"math"
)

// A producer is an origin that numbers its writes, may have several under way, and wants the reply of each even if the
// answer got lost: command ONCE. What the log has executed for it is kept in a window of the newest OnceWindow numbers:
//
//	number is in the window        nothing changes, and the reply is the recorded one
//	number ≤ highest − OnceWindow  nothing changes: it cannot be told whether it was executed
//	anything else                  execute, and record the reply; the highest number may rise
//
// The naive way keeps the highest number alone: then a producer could have only one write under way, since of two that
// overtake each other the first one would be taken for executed.
//
// An epoch is a life of the producer: opening it anew raises the epoch, and writes of earlier lives are refused. A record is
// kept until ttl after the last write, by log time. It is in the hidden database beside positions:
//
//	key                 content, KindRaw; uvarints
//	┌─────┬──────────┐  ┌───────┬─────────┬─────┬──────────────────────────────────────────────┐
//	│ 'p' │ name     │  │ epoch │ highest │ ttl │ for each write in the window, oldest first:  │
//	└─────┴──────────┘  └───────┴─────────┴─────┤ number, slot, 1 + length of the reply, reply │
//	                                            └──────────────────────────────────────────────┘
//
// ttl is in ms. slot is that of the write's first key. Length 0 says that the reply is not kept: it is longer than
// MaxOnceReply, or newer ones have taken its room (MaxOnceReplies). So a producer takes 8 KiB at most, whatever the others do,
// and nothing has to be counted over all producers, which a node that has reclaimed more than another would count differently.

// OriginProducer is the kind of a producer's record.
const OriginProducer OriginKind = 'p'

// Limits of producers. They decide what a logged operation does and never change.
const (
	MaxProducerName = 128
	MaxProducers    = 10_000
	OnceWindow      = 64
	MaxOnceReply    = 1 << 10 // bytes of one reply
	MaxOnceReplies  = 6 << 10 // bytes of all replies of a producer
)

// OnceVerdict says what is to be done with a producer's write.
type OnceVerdict uint8

// Verdicts.
const (
	OnceNew        OnceVerdict = iota // execute and record it
	OnceKnown                         // it was executed; the reply is there
	OnceUnkept                        // it was executed; the reply is not kept
	OnceTooOld                        // it cannot be told
	OnceFenced                        // the producer was opened anew since
	OnceNoProducer                    // it was never opened, with this epoch, or has expired
)

// Producer is what is stored of a producer. Its slices alias the arena.
type Producer struct {
	Epoch, Highest uint64
	TTL            int64 // ms
	Deadline       int64 // log time in ms at which it expires
	window         []byte
}

// producerKey is the key of a producer's record, appended to scratch.
func producerKey(scratch, name []byte) []byte {
	return append(append(scratch, byte(OriginProducer)), name...)
}

// ProducerPart is the part of a producer's record.
func ProducerPart(name []byte) int {
	var scratch [MaxProducerName + 1]byte
	return Part(producerKey(scratch[:0], name))
}

// Producer returns what is stored. The part of its record is locked.
func (v View) Producer(name []byte) (p Producer, ok bool) {
	var scratch [MaxProducerName + 1]byte
	key := producerKey(scratch[:0], name)
	val, ok := v.WithDB(v.ks.databases).In(Part(key)).Get(key)
	if !ok {
		return p, false
	}
	p = decodeProducer(val.Bytes)
	p.Deadline = val.Deadline
	return p, true
}

// ProducerInfo is what ONCE INFO tells.
type ProducerInfo struct {
	Producer
	Numbers []uint64 // of the writes in the window, in the order in which they were executed
}

// ProducerInfo returns what is stored of a producer. The caller holds no parts, or all.
func (v View) ProducerInfo(name []byte) (info ProducerInfo, ok bool) {
	part := ProducerPart(name)
	v.lock(part)
	defer v.unlock(part)
	info.Producer, ok = v.Producer(name)
	info.Each(func(w OnceWrite, _ []byte) bool { info.Numbers = append(info.Numbers, w.Number); return true })
	return info, ok
}

func decodeProducer(b []byte) (p Producer) {
	p.Epoch, b = uvarint(b)
	p.Highest, b = uvarint(b)
	ttl, b := uvarint(b)
	p.TTL, p.window = int64(ttl), b
	return p
}

// uvarint reads what this file has written.
func uvarint(b []byte) (v uint64, rest []byte) {
	v, n := binary.Uvarint(b)
	return v, b[max(0, n):]
}

// OnceWrite is a write in the window of a producer.
type OnceWrite struct {
	Number uint64
	Slot   uint16
	Kept   bool // Reply is there
	Reply  []byte
}

// Each calls fn for each write in the window, in the order in which they were executed.
func (p *Producer) Each(fn func(w OnceWrite, raw []byte) (goOn bool)) {
	for rest := p.window; len(rest) > 0; {
		raw := rest
		var w OnceWrite
		var slot, length uint64
		w.Number, rest = uvarint(rest)
		slot, rest = uvarint(rest)
		length, rest = uvarint(rest)
		if w.Slot, w.Kept = uint16(slot), length > 0; w.Kept {
			n := min(length-1, uint64(len(rest)))
			w.Reply, rest = rest[:n], rest[n:]
		}
		if !fn(w, raw[:len(raw)-len(rest)]) {
			return
		}
	}
}

// Judge says what is to be done with a write of an epoch and number. found says that p is there.
func (p *Producer) Judge(found bool, epoch, number uint64) (v OnceVerdict, reply []byte) {
	switch {
	case !found || epoch > p.Epoch:
		return OnceNoProducer, nil
	case epoch < p.Epoch:
		return OnceFenced, nil
	case p.Highest >= OnceWindow && number <= p.Highest-OnceWindow:
		return OnceTooOld, nil
	}
	v = OnceNew
	p.Each(func(w OnceWrite, _ []byte) bool {
		if w.Number != number {
			return true
		}
		if v, reply = OnceUnkept, w.Reply; w.Kept {
			v = OnceKnown
		}
		return false
	})
	return v, reply
}

// OpenProducer begins a new life of a producer, which lasts until ttl ms after its last write, and returns its epoch; false:
// there are MaxProducers others. The caller holds no parts, or all.
func (t Txn) OpenProducer(name []byte, ttl int64) (epoch uint64, ok bool) {
	part := ProducerPart(name)
	t.lock(part)
	p, found := t.Producer(name)
	t.unlock(part)
	if !found && !t.roomFor(&t.ks.producers, MaxProducers) {
		return 0, false
	}
	t.lock(part)
	defer t.unlock(part)
	p = Producer{Epoch: p.Epoch + 1, TTL: ttl}
	t.storeProducer(name, &p)
	return p.Epoch, true
}

// RecordOnce records that a write was executed, and its reply. The part of the producer's record is locked, and Judge has just
// said OnceNew.
func (t Txn) RecordOnce(name []byte, number uint64, slot uint16, reply []byte) {
	p, _ := t.Producer(name)
	p.Highest = max(p.Highest, number)
	kept := 0 // bytes of replies, the new one's among them
	if len(reply) <= MaxOnceReply {
		kept = len(reply)
	}
	p.Each(func(w OnceWrite, _ []byte) bool { kept += len(w.Reply); return true })
	window := t.ks.onceScratch[:0]
	p.Each(func(w OnceWrite, raw []byte) bool {
		switch {
		case p.Highest >= OnceWindow && w.Number <= p.Highest-OnceWindow:
			kept -= len(w.Reply)
		case kept > MaxOnceReplies && w.Kept:
			kept -= len(w.Reply)
			window = appendOnce(window, OnceWrite{Number: w.Number, Slot: w.Slot})
		default:
			window = append(window, raw...)
		}
		return true
	})
	window = appendOnce(window, OnceWrite{Number: number, Slot: slot, Kept: len(reply) <= MaxOnceReply, Reply: reply})
	p.window, t.ks.onceScratch = window, window
	t.storeProducer(name, &p)
}

func appendOnce(dst []byte, w OnceWrite) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, w.Number), uint64(w.Slot))
	if !w.Kept {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(w.Reply))+1), w.Reply...)
}

// storeProducer writes a record, whose life begins anew. p.window is not in the arena.
func (t Txn) storeProducer(name []byte, p *Producer) {
	var scratch [MaxProducerName + 1]byte
	key := producerKey(scratch[:0], name)
	var head [3 * binary.MaxVarintLen64]byte
	h := binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(head[:0], p.Epoch), p.Highest), uint64(p.TTL))
	deadline := t.now + p.TTL
	if deadline < t.now {
		deadline = math.MaxInt64
	}
	sh, hash, ref := t.WithDB(t.ks.databases).In(Part(key)).open(key)
	size, old := len(h)+len(p.window), uint32(0)
	if ref == 0 {
		ref = sh.add(hash, key, KindRaw, 0, size, deadline)
		t.ks.producers.Add(1)
	} else {
		ref, old = sh.change(hash, ref, KindRaw, 0, size, 0, deadline)
	}
	content := sh.at(ref).content()
	copy(content[copy(content, h):], p.window)
	sh.retire(old)
}
