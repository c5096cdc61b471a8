// Package engine is Quipu's keyspace: it maps keys to counters and short
// strings in several databases, with deadlines, consistent snapshots and a
// memory layout that neither the Go heap nor the garbage collector sees.
//
// It knows nothing of clocks, sockets, logs or Raft. Time is a parameter, and a
// record whose deadline has passed is absent for every operation, reclaimed or
// not: what a command replies never depends on when memory was freed.
//
// # Structure
//
//	Keyspace     keyspace.go   256 parts, each with one lock
//	│            slot.go       the hash slot and the part of a key
//	├ shard      shard.go      one part of one database, made on first use
//	│ ├ index    index.go      extendible hashing: a directory of small tables
//	│ │          table.go      a table is a sequence of 64-byte lines: tags + references
//	│ └ arena    arena.go      chunks of 32 KiB that hold records side by side
//	│            record.go     the bytes of one record
//	│            compact.go    moving records out of nearly empty chunks
//	├ tallies    ahead.go      increments answered ahead: answered, but not yet applied
//	│            counted.go    the counted section: tallies on their way through the log
//	├ holds      hold.go       which keys' increments must not be answered ahead
//	└ positions  origin.go     how far each origin has come
//	pages.go, slab.go          where chunks and tables get their memory;
//	                           pages_….go: what differs between systems
//
//	View, Txn  view.go scan.go txn.go   what a command may do
//	Observer   change.go observe.go   who is told of every mutation, and of what
//	Content    inplace.go    changes to a few bytes of a long value
//	own tail   tail.go       what a node keeps behind a value for itself
//	KeySet     keyset.go     several keys locked and fetched together
//	AddRuns    addruns.go    several increments of an entry at once, behind warm.go,
//	                         which fetches ahead
//	Reclaim    expiry.go     memory of expired keys
//	FlushDB    flush.go      memory of flushed databases
//	lengths    lengths.go    how long the longest value may be
//	Striped    striped.go    a counter for many cores
//	Stats      stats.go      how many keys, how much memory
//	Snapshot   snapshot.go (copy on write) write.go format.go load.go
//	Checksum   checksum.go   a digest that is the same on every node
//	Check      check.go      every invariant of the above
//
// # Locks
//
// Part locks come first, in ascending order of parts. Under a part lock at most
// one of these may be taken, and none of them is held while taking a part lock
// or another of them: the page allocator's, the slab allocator's (which takes
// the page allocator's), a snapshot's, the janitor's, that of lengths.
package engine

import (
	"errors"
	"unsafe"
)

// Kind says what a record holds. The numbers are part of the snapshot format.
type Kind uint8

// Kinds of values.
const (
	KindNone   Kind = iota // no value; never stored
	KindInt                // a 64-bit signed counter
	KindString             // bytes as they were given
	KindRaw                // bytes that were changed in place (OBJECT ENCODING says raw)
	KindUC                 // a distinct count with a choice of precision, engine/uc
	KindCMS                // a Count-Min sketch, engine/cms
	KindTopK               // a Top-K sketch, engine/topk

	kindLimit = 16 // kinds fit in four bits of a record's header
)

func (k Kind) isString() bool { return k == KindString || k == KindRaw }

// Value is what a key maps to.
type Value struct {
	Kind Kind
	Int  int64 // the counter, for KindInt
	// Bytes is the content for the other kinds. It aliases the arena: valid
	// while the part's lock is held and until the next write to the part.
	Bytes    []byte
	Deadline int64 // milliseconds of log time, 0 for none

	own unsafe.Pointer // the record, if it has a tail
}

// Config says how to make a Keyspace.
type Config struct {
	Databases int    // number of databases, 1 to MaxDatabases; 0 means 16
	Seed      uint64 // seed of the key hash; should be secret and random
}

// Limits of the structure.
const (
	// MaxDatabases is the highest number of databases.
	MaxDatabases = 1 << 14
	// MaxKey is the length of the longest key, in bytes.
	MaxKey = 64 << 10
	// MaxValue is the length of the longest value, in bytes.
	MaxValue = 512 << 20
)

// Errors of Add and AddRun.
var (
	ErrNotInteger = errors.New("engine: the value is not a 64-bit integer")
	ErrOverflow   = errors.New("engine: the sum does not fit 64 bits")
	ErrWrongKind  = errors.New("engine: the value is of a kind that cannot be counted")
)
