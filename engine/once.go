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
//	key                 content, KindRaw; little-endian
//	┌─────┬──────────┐  ┌───────────┬─────────────┬─────────┬───────┬──────────────────────────────────────┬─────────┐
//	│ 'p' │ name     │  │ epoch u64 │ highest u64 │ ttl u64 │ n u16 │ n × (number u64, slot u16, size u16) │ replies │
//	└─────┴──────────┘  └───────────┴─────────────┴─────────┴───────┴──────────────────────────────────────┴─────────┘
//
// There is an element for each write in the window, oldest first; the replies are in the same order, without anything between
// them. ttl is in ms. slot is that of the write's first key. size is 1 + the length of the reply; 0 says that the reply is not
// kept: it is longer than MaxOnceReply, or newer ones have taken its room (MaxOnceReplies). So a producer takes 8 KiB at most,
// whatever the others do, and nothing has to be counted over all producers, which a node that has reclaimed more than another
// would count differently. The elements are of a fixed size because each write looks at all of them: as varints that took
// three quarters of the time of ONCE INCR (BenchmarkRecordOnce: 9 µs, with elements 1.2).

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
	TTL            int64  // ms
	Deadline       int64  // log time in ms at which it expires
	window         []byte // elements
	replies        []byte
}

const (
	onceHead    = 26 // bytes
	onceElement = 12
)

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
	for rest := info.window; len(rest) > 0; rest = rest[onceElement:] {
		info.Numbers = append(info.Numbers, onceNumber(rest))
	}
	return info, ok
}

func decodeProducer(b []byte) (p Producer) {
	if len(b) < onceHead {
		return p
	}
	p.Epoch, p.Highest = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	p.TTL = int64(binary.LittleEndian.Uint64(b[16:]))
	end := min(len(b), onceHead+onceElement*int(binary.LittleEndian.Uint16(b[24:])))
	p.window, p.replies = b[onceHead:end], b[end:]
	return p
}

// onceNumber, onceSlot and onceSize are the fields of the element at the front of b.
func onceNumber(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
func onceSlot(b []byte) uint16   { return binary.LittleEndian.Uint16(b[8:]) }
func onceSize(b []byte) int      { return int(binary.LittleEndian.Uint16(b[10:])) }

func appendOnce(dst []byte, number uint64, slot uint16, size int) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, number)
	return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(dst, slot), uint16(size))
}

// Judge says what is to be done with a write of an epoch and number. found says that p is there.
func (p *Producer) Judge(found bool, epoch, number uint64) (v OnceVerdict, reply []byte) {
	switch {
	case !found || epoch > p.Epoch:
		return OnceNoProducer, nil
	case epoch < p.Epoch:
		return OnceFenced, nil
	case p.tooOld(number):
		return OnceTooOld, nil
	case number > p.Highest:
		return OnceNew, nil
	}
	at := 0
	for rest := p.window; len(rest) > 0; rest = rest[onceElement:] {
		size := onceSize(rest)
		if onceNumber(rest) != number {
			at += max(0, size-1)
			continue
		}
		if size == 0 {
			return OnceUnkept, nil
		}
		if at+size-1 > len(p.replies) {
			return OnceUnkept, nil // no such record is ever written
		}
		return OnceKnown, p.replies[at : at+size-1]
	}
	return OnceNew, nil
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

// tooOld reports whether a number has left the window.
func (p *Producer) tooOld(number uint64) bool {
	return p.Highest >= OnceWindow && number <= p.Highest-OnceWindow
}

// RecordOnce records that a write was executed, and its reply. The part of the producer's record is locked, and Judge has just
// said OnceNew.
func (t Txn) RecordOnce(name []byte, number uint64, slot uint16, reply []byte) {
	if t.recordNext(name, number, slot, reply) {
		return
	}
	p, _ := t.Producer(name)
	p.Highest = max(p.Highest, number)
	size := 0
	if len(reply) <= MaxOnceReply {
		size = 1 + len(reply)
	}
	kept := len(p.replies) + max(0, size-1) // bytes of replies, the new one's among them
	buf := &t.ks.onceScratch
	buf.window, buf.replies = buf.window[:0], buf.replies[:0]
	window, replies := p.window, p.replies
	for len(window) > 0 && (p.tooOld(onceNumber(window)) || kept > MaxOnceReplies) {
		n := min(max(0, onceSize(window)-1), len(replies))
		kept -= n
		if !p.tooOld(onceNumber(window)) {
			buf.window = appendOnce(buf.window, onceNumber(window), onceSlot(window), 0)
		}
		window, replies = window[onceElement:], replies[n:]
	}
	for len(window) > 0 { // those that have overtaken others may be too old behind some that are not
		run, bytes := 0, 0
		for ; run < len(window) && !p.tooOld(onceNumber(window[run:])); run += onceElement {
			bytes += max(0, onceSize(window[run:])-1)
		}
		bytes = min(bytes, len(replies))
		buf.window, buf.replies = append(buf.window, window[:run]...), append(buf.replies, replies[:bytes]...)
		if window, replies = window[run:], replies[bytes:]; len(window) > 0 {
			window, replies = window[onceElement:], replies[min(max(0, onceSize(window)-1), len(replies)):]
		}
	}
	buf.window = appendOnce(buf.window, number, slot, size)
	buf.replies = append(buf.replies, reply[:max(0, size-1)]...)
	p.window, p.replies = buf.window, buf.replies
	t.storeProducer(name, &p)
}

// recordNext does what RecordOnce does in the usual case, and false in any other: the number is the next one of a producer whose
// window is full, so that exactly the oldest write leaves it, and there is room for the reply. The record is changed where it stands,
// which is the same bytes in the end, found once instead of twice and copied once instead of three times: 430 instead of 785 ns
// (BenchmarkRecordOnce).
func (t Txn) recordNext(name []byte, number uint64, slot uint16, reply []byte) bool {
	var scratch [MaxProducerName + 1]byte
	key := producerKey(scratch[:0], name)
	sh, hash, ref := t.WithDB(t.ks.databases).In(Part(key)).open(key)
	if ref == 0 {
		return false
	}
	b := sh.at(ref).content()
	p := decodeProducer(b)
	const full = OnceWindow * onceElement
	if number != p.Highest+1 || len(p.window) != full || onceNumber(p.window) != number-OnceWindow || len(reply) > MaxOnceReply {
		return false
	}
	gone := max(0, onceSize(p.window)-1)
	kept := len(p.replies) - gone + len(reply)
	deadline := t.now + p.TTL
	if gone > len(p.replies) || len(p.replies)+len(reply) > MaxOnceReplies || deadline < t.now {
		return false
	}
	to, old := sh.change(hash, ref, KindRaw, 0, onceHead+full+kept, 0, deadline)
	dst := sh.at(to).content() // b, or a copy to be made of it
	if old != 0 {
		copy(dst, b[:onceHead])
	}
	copy(dst[onceHead:], b[onceHead+onceElement:onceHead+full])
	binary.LittleEndian.PutUint64(dst[8:], number)
	appendOnce(dst[:onceHead+full-onceElement], number, slot, 1+len(reply))
	at := onceHead + full + copy(dst[onceHead+full:], p.replies[gone:])
	copy(dst[at:], reply)
	sh.retire(old)
	return true
}

// onceScratch is memory for a record on its way into the arena.
type onceScratch struct{ window, replies []byte }

// storeProducer writes a record, whose life begins anew. Its slices are not in the arena.
func (t Txn) storeProducer(name []byte, p *Producer) {
	var scratch [MaxProducerName + 1]byte
	key := producerKey(scratch[:0], name)
	deadline := t.now + p.TTL
	if deadline < t.now {
		deadline = math.MaxInt64
	}
	sh, hash, ref := t.WithDB(t.ks.databases).In(Part(key)).open(key)
	size, old := onceHead+len(p.window)+len(p.replies), uint32(0)
	if ref == 0 {
		ref = sh.add(hash, key, KindRaw, 0, size, deadline)
		t.ks.producers.Add(1)
	} else {
		ref, old = sh.change(hash, ref, KindRaw, 0, size, 0, deadline)
	}
	b := sh.at(ref).content()
	binary.LittleEndian.PutUint64(b, p.Epoch)
	binary.LittleEndian.PutUint64(b[8:], p.Highest)
	binary.LittleEndian.PutUint64(b[16:], uint64(p.TTL))
	binary.LittleEndian.PutUint16(b[24:], uint16(len(p.window)/onceElement))
	copy(b[onceHead+copy(b[onceHead:], p.window):], p.replies)
	sh.retire(old)
}
