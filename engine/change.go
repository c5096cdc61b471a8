package engine

// Op is the kind of a mutation, as observers are told.
type Op uint8

// Kinds of mutations.
const (
	OpAdd      Op = iota + 1 // an integer grew or shrank, or was created as if it had been 0
	OpSet                    // a value was written: all of its bytes, or some
	OpDelete                 // the key was removed
	OpDeadline               // the deadline changed, and nothing else
	OpReclaim                // an expired record was removed physically; the key was absent already
	OpFlush                  // the whole database was emptied; Key is nil
	OpOwnTail                // the value is the same; what this node keeps of it for itself, or had answered ahead and cannot apply, is not
	OpCreated                // of a move: the key to which it goes was made, of which more is told in a moment
)

// Cause says why a transaction changes keys. It is for observers alone: no state depends on it.
type Cause struct {
	Event string // the name of Redis's keyspace event, "" where Redis has none
	Index uint64 // of the entry in the log, 0 outside of one
	By    any    // the client of this node that wants it; nil: another node's, or not known
}

// Integer is a value seen as a counter. OK is false for a key that is absent and for a value that is no integer; what
// would be one to Txn.Add is one.
type Integer struct {
	N      int64
	OK     bool
	Absent bool // there is no key; of Change.Old, where false may mean that it is not known
}

// noKey is the Integer of a key that is absent.
var noKey = Integer{Absent: true}

// Change is one mutation of one key, or of one database (OpFlush).
type Change struct {
	Op       Op
	DB       int
	Key      []byte  // aliases the arena or an argument
	Event    string  // see Cause; "expired" where a record was reclaimed
	Old, New Integer // Old is not known to an observer whose interest begins with this very change
	Index    uint64  // of the entry in the log, 0 outside of one
	Stamp    int64   // log time in milliseconds
	By       any     // see Cause
	More     bool    // of OpFlush: other databases are emptied as well, and the last one is told without it
}

// Observer is told of every mutation, with the key's part locked. The Change is valid only during the
// call, in which the observer must neither use the keyspace nor change what it gets.
//
// Several goroutines call an observer at once, for keys of different parts.
type Observer func(c *Change)
