package engine

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync/atomic"
)

// An origin is whatever sends writes from outside the log and must not be counted twice when it
// sends them again: a node with what it has answered ahead, a producer; later a Kafka partition, a
// region. A producer numbers its writes and may have several under way (once.go). The writes of all
// others are conditional: they name the position they start from and the one they reach, and are
// applied whole, together with the new position, or not at all:
//
//	stored is (epoch, from)       apply, stored becomes (epoch, to)
//	anything else                 nothing changes, and the origin is told what is stored
//
// Positions are opaque bytes, compared for equality only: a number, a Kafka offset, Pulsar's
// "ledger:entry:batch". What is not stored counts as the position of no bytes, or of a node's
// number 0. The epoch tells lives of an origin apart. A source's is compared for equality too: a
// topic that was created anew is another. A node's is its boot counter and ordered: an operation
// with a lower one is a late copy from before a restart and is refused; with a higher one the node
// begins anew at 0. (Random epochs were tried: a late copy from before a restart was counted again,
// and then what the node sent after the restart never was.)
//
// Positions are records in a hidden database, one shard in each part beside the others. So they
// are off the Go heap, in snapshots and checksums, found by hash, and can have a deadline; SCAN,
// DBSIZE, FLUSHALL and observers do not see them. Such a record:
//
//	key                          content, KindRaw
//	┌─────────┬──────────┐       ┌───────────────────────┬───────┬──────────┐
//	│ kind u8 │ name     │       │ length of the epoch,  │ epoch │ position │
//	│         │          │       │ uvarint               │       │          │
//	└─────────┴──────────┘       └───────────────────────┴───────┴──────────┘
type Origin struct {
	Kind     OriginKind
	Name     []byte // 1 to MaxOriginName bytes
	Epoch    []byte // at most MaxPosition bytes; a node's has 8
	From, To []byte // positions, at most MaxPosition bytes
}

// OriginKind is the first byte of an origin's record: names of different kinds do not meet.
type OriginKind byte

// Kinds of origins.
const (
	OriginNode   OriginKind = 'n' // epochs are ordered; never refused for lack of room, never expires
	OriginSource OriginKind = 's' // epochs are compared for equality
)

// Limits of origins. They decide what a logged operation does and never change.
const (
	MaxOriginName = 255
	MaxPosition   = 255
	MaxSources    = 100_000 // of kind OriginSource
)

// hiddenDB stands for the hidden database in formats and checksums: its place in memory depends on how many others there are.
const hiddenDB = MaxDatabases

// dbNumber is a database's number in formats and checksums.
func (ks *Keyspace) dbNumber(db int) int {
	if db == ks.databases {
		return hiddenDB
	}
	return db
}

// dbAt is the reverse of dbNumber; false if there is no such database.
func (ks *Keyspace) dbAt(number int) (db int, ok bool) {
	if number == hiddenDB {
		return ks.databases, true
	}
	return number, number < ks.databases
}

// Position is what is stored for an origin. Its slices alias the arena.
type Position struct{ Epoch, At []byte }

// Verdict says what became of a conditional operation.
type Verdict uint8

// Verdicts.
const (
	Accepted Verdict = iota // the position has moved: apply the body
	Stale                   // the position, or a node's epoch, is not the stored one
	Full                    // there are MaxSources other origins
)

// Valid reports whether the origin is one that Advance takes.
func (o *Origin) Valid() bool {
	return (o.Kind == OriginSource || o.Kind == OriginNode && len(o.Epoch) == 8) && len(o.Name) >= 1 && len(o.Name) <= MaxOriginName &&
		len(o.Epoch) <= MaxPosition && len(o.From) <= MaxPosition && len(o.To) <= MaxPosition
}

// key is the key of the origin's record, appended to scratch.
func (o *Origin) key(scratch []byte) []byte { return append(append(scratch, byte(o.Kind)), o.Name...) }

// Position returns what is stored for the origin of this kind and name. Nothing may be applied meanwhile.
func (t Txn) Position(o *Origin) (Position, bool) {
	var scratch [MaxOriginName + 1]byte
	key := o.key(scratch[:0])
	t = t.WithDB(t.ks.databases)
	t.ks.LockPart(Part(key))
	defer t.ks.UnlockPart(Part(key))
	v, ok := t.Get(key)
	return decodePosition(v.Bytes), ok
}

// Advance decides about a conditional operation of a valid origin and moves its position if that is accepted. deadline is
// when the position expires, in milliseconds of log time, 0 for never. The caller holds no parts.
func (t Txn) Advance(o *Origin, deadline int64) Verdict {
	ks := t.ks
	stored, found := t.Position(o)
	switch {
	case found && !o.follows(stored):
		ks.countRefusal(o, stored)
		return Stale
	case !found && !o.begins():
		ks.stats.gaps.Add(1)
		return Stale
	case !found && o.Kind == OriginSource && !t.roomFor(&ks.sources, MaxSources):
		return Full
	}
	var scratch [MaxOriginName + 1]byte
	part := Part(o.key(scratch[:0]))
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	t.storePosition(o, part, deadline)
	return Accepted
}

// storePosition writes the record of an origin, which is at o.To. Its part is locked.
func (t Txn) storePosition(o *Origin, part int, deadline int64) {
	ks := t.ks
	var scratch [MaxOriginName + 1]byte
	key := o.key(scratch[:0])
	sh, h, ref := t.WithDB(ks.databases).In(part).open(key)
	size := uvarintSize(len(o.Epoch)) + len(o.Epoch) + len(o.To)
	old := uint32(0)
	if ref == 0 {
		ref = sh.add(h, key, KindRaw, 0, size, deadline)
		if o.Kind == OriginSource {
			ks.sources.Add(1)
		}
	} else {
		ref, old = sh.change(h, ref, KindRaw, 0, size, 0, deadline)
	}
	encodePosition(sh.at(ref).content(), o.Epoch, o.To)
	sh.retire(old)
}

// begins reports whether the operation starts at the position of an origin of which nothing is stored.
func (o *Origin) begins() bool {
	if o.Kind == OriginNode {
		return bytes.Equal(o.From, number(0))
	}
	return len(o.From) == 0
}

// follows reports whether the operation starts at what is stored.
func (o *Origin) follows(stored Position) bool {
	if o.Kind == OriginNode && bytes.Compare(o.Epoch, stored.Epoch) > 0 {
		return o.begins() // the node has started again since
	}
	return bytes.Equal(o.Epoch, stored.Epoch) && bytes.Equal(o.From, stored.At)
}

// countRefusal counts a refused operation: as a gap if an earlier operation of the origin is missing, else as stale.
func (ks *Keyspace) countRefusal(o *Origin, stored Position) {
	later := bytes.Compare(o.Epoch, stored.Epoch)
	if o.Kind == OriginNode && (later > 0 || later == 0 && bytes.Compare(o.From, stored.At) > 0) {
		ks.stats.gaps.Add(1)
		return
	}
	ks.stats.stale.Add(1)
}

// roomFor reports whether another record of the kind that count counts may be stored. What has expired does not count,
// whether or not this node has reclaimed it: the answer is the same on every node.
func (t Txn) roomFor(count *atomic.Int64, limit int64) bool {
	if count.Load() < limit {
		return true
	}
	for part := range Parts {
		t.lock(part)
		if sh := t.ks.shard(part, t.ks.databases); sh != nil && sh.due <= t.now {
			sh.reclaimDue(t.now, math.MaxInt)
		}
		t.unlock(part)
	}
	return count.Load() < limit
}

func uvarintSize(n int) int {
	if n < 0x80 {
		return 1
	}
	return 2
}

// encodePosition fills the content of a record, b, as drawn at Origin.
func encodePosition(b, epoch, at []byte) {
	n := binary.PutUvarint(b, uint64(len(epoch)))
	n += copy(b[n:], epoch)
	copy(b[n:], at)
}

func decodePosition(b []byte) Position {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return Position{}
	}
	return Position{Epoch: b[size : size+int(n)], At: b[size+int(n):]}
}

// noteOriginGone takes a record that is reclaimed out of the count of its kind.
func (ks *Keyspace) noteOriginGone(key []byte) {
	switch OriginKind(key[0]) {
	case OriginSource:
		ks.sources.Add(-1)
	case OriginProducer:
		ks.producers.Add(-1)
	}
}

// countOrigins counts sources and producers anew, after Load.
func (ks *Keyspace) countOrigins() {
	sources, producers := int64(0), int64(0)
	for part := range Parts {
		ks.LockPart(part)
		if sh := ks.shard(part, ks.databases); sh != nil {
			sh.eachRecord(func(_ uint32, r record) {
				switch OriginKind(r.key()[0]) {
				case OriginSource:
					sources++
				case OriginProducer:
					producers++
				}
			})
		}
		ks.UnlockPart(part)
	}
	ks.sources.Store(sources)
	ks.producers.Store(producers)
}
