// Package replication turns batches of commands into an agreed, durable sequence of entries and hands them, in that
// order, to a deterministic state machine.
//
//	Batcher ──Propose──► Group (Raft log, fsync, followers) ──commit──► fsm ──► StateMachine.Apply(entry, its batch)
//	   ▲                                                                             │
//	   └────────────────── Applied: Batch.Decide(Applied), propose the next ◄────────┘
//
// A Group is one Raft group as a value: OpenGroup gives one on disk, NewMemoryGroup an ideal one for tests. Nothing here
// knows what a payload means.
//
// Files:
//
//	format.go        bytes of an entry               batcher.go, watch.go  group commit; deadlines and failures
//	clock.go         log time                        fsm.go, fsmprefix.go  bridge from Raft to the state machine
//	group.go         a Raft group at work            open.go               opening, bootstrap, Raft's settings
//	transport.go     to other nodes                  stores.go             what a group keeps, made by package storage
//	takesnapshot.go  when, and the room for it       memory.go             an ideal group for tests
//	config.go        Config of a group               status.go, errors.go  what a group reports
//	restart.go       Raft started again, in place    directory.go          the data directory, before it is opened
//	peers.go         the port for other nodes        form.go               how a cluster begins
//	membership.go    who belongs to it               rounds.go             reads that see all that was answered
//	forward.go       from followers to the leader    ship.go               a Batcher's part of that
//	figures.go       what a Batcher measures
package replication

import (
	"context"
	"io"
	"time"

	"quipu/internal/histogram"
)

// Entry is one committed entry of the log.
type Entry struct {
	Index    uint64 // position in the Raft log
	Stamp    int64  // log time, milliseconds since the Unix epoch; never smaller than that of an earlier entry
	Level    uint16 // semantics level its commands are to be executed under
	Proposer uint64 // random number of the process that has proposed it; 0: not known
	Payload  []byte // valid for ever and shared: not to be modified. Empty for a time tick
}

// StateMachine executes committed entries. All its methods are called from one goroutine at a time.
type StateMachine interface {
	// Apply executes one entry. ours is the batch in the entry if this process has proposed the entry and its clients still
	// wait; nil on replay, on a follower and when the batch was given up. Apply must not block on the Batcher.
	Apply(e Entry, ours Batch)
	// Capture takes a consistent view of the state in O(1), without copying data.
	Capture() Persister
	// Restore replaces the whole state by what a Persister wrote: the size bytes of r. index and stamp are those of the last entry in
	// it, after which others may have been skipped.
	Restore(r io.ReaderAt, size int64, index uint64, stamp int64) error
}

// Persister is a captured state. Persist is called while later entries are applied; Release is called once in any case. Hurry
// reports whether half of the memory for the captured state is used up: while it is, the snapshot store does not leave the
// disk to the log. Hurry is called by the writer that Persist is given.
type Persister interface {
	Persist(w io.Writer) error
	Hurry() bool
	Release()
}

// Outcome is what became of a batch.
type Outcome uint8

// Outcomes.
const (
	Applied    Outcome = iota // its entry was applied, with this batch
	NotApplied                // certainly not applied, and never will be
	Unknown                   // this node gave up waiting: it may or may not have been applied, and may still be
)

// SubBatch is what one owner, an event loop or a connection's goroutine, has gathered for the log by itself.
type SubBatch interface {
	// Size is about how many bytes the sub-batch takes in an entry, and never fewer.
	Size() int
}

// Checker is a StateMachine that can tell whether its state is the same as on another node.
type Checker interface {
	// Check takes a checksum of the state as it is now, behind an entry with this stamp, in the background, and calls done with
	// it. It may do nothing if a snapshot is being written. Called by the goroutine that applies.
	Check(stamp int64, done func(sum uint64))
}

// Batch is the sub-batches that share an entry. The first four methods are called with the Batcher's lock held, the last
// two without any lock.
type Batch interface {
	Add(sub SubBatch)
	// Size is the sum over the sub-batches.
	Size() int
	// Empty says that there are no sub-batches.
	Empty() bool
	// Seal appends the batch's operations to buf, which has the entry so far. All earlier entries have been applied, or never
	// will be.
	Seal(buf []byte, stamp int64) []byte
	// Decide reports the outcome, exactly once, with a reason unless it is Applied: *NotAppliedError with NotApplied (Seal
	// may or may not have been called then), ErrUnknown with Unknown.
	Decide(o Outcome, reason error)
	// Fate reports after Unknown, at most once, whether the entry was applied after all, or never will be by this node: a
	// snapshot that was restored may hold what it has done. Fate is not called when the node stops first.
	Fate(applied bool)
	// Forwarded takes out what another node has forwarded under another term than this one, and decides it as not applied: that
	// node sends it to the leader of today, or has given it up and must not find it behind what it sent later.
	Forwarded(term uint64)
	// Ship appends what the node that leads needs to execute the batch and to answer it.
	Ship(buf []byte) []byte
	// Shipped takes what that node has answered; Decide follows. An error means that it makes no sense.
	Shipped(index uint64, replies []byte) error
}

// MaxAhead is the most bytes that Source.Ahead may append.
const MaxAhead = 6 << 20

// Source is where a Batcher gets its entries from.
type Source interface {
	// NewBatch returns an empty batch. The Batcher's lock is held.
	NewBatch() Batch
	// Ahead appends to an entry what has to stand before its batch, and for which no client waits. all says that nothing of
	// it is left for a later entry; if it is, the entry gets no batch. Ahead is called with the Batcher's lock held, when all
	// earlier entries have been applied or never will be. The entry is then proposed. If it is not applied, the next call
	// has to append the same bytes again.
	Ahead(buf []byte) (out []byte, all bool)
	// ShipAhead is Ahead for a batch that is forwarded. It is called when the batch before is decided; whatever became of that,
	// the bytes are the same until AheadApplied or until the state shows that they are applied. It may append nothing although
	// not all is through yet: then the batch waits.
	ShipAhead(buf []byte) (out []byte, all bool)
	// AheadApplied says that the node that leads has applied what ShipAhead returned last.
	AheadApplied()
}

// Future is the outcome of a proposal. Error blocks until it is known; nil means committed and applied.
type Future interface {
	Error() error
}

// Proposer is how a Group hands committed entries back to the Batcher they came from. Both methods are called by the
// goroutine that applies.
type Proposer interface {
	// Claim returns the batch behind an entry, or nil when it is not one of ours or was given up. After a non-nil answer
	// the batch can no longer be given up, and a call of Applied must follow.
	Claim(proposer, sequence uint64) Batch
	// Applied reports that the entry has been applied, claimed or not.
	Applied(proposer, sequence uint64)
	// Void reports that the entry is in the log under another term than the one it was proposed in, and is not executed.
	Void(proposer, sequence uint64)
	// TermBegan reports that no entry that was proposed in a term before this one will be applied any more. It may be called
	// by other goroutines as well.
	TermBegan(term uint64)
	// Restored reports that a snapshot has taken the place of the state. An entry in flight is in it, or never will be applied.
	Restored()
	// Tick proposes an entry at once unless one is in flight: followers learn from it that a new term has begun.
	Tick()
	// Check is Tick for an entry that has every node take a checksum.
	Check()
	// Flush proposes or forwards what waits, unless something is in flight.
	Flush()
}

// Group is one Raft group.
type Group interface {
	// Bind sets who proposes here. Call it once, before the first Propose.
	Bind(p Proposer)
	// Propose appends an entry (a sealed buffer) to the log. It does not block. data is the Group's until the entry has been
	// applied; by then it is in the log's files, from which followers are served as well. A failure the caller can be sure of is
	// returned by the future as *NotAppliedError; every other one means unknown.
	Propose(data []byte) Future
	// Term is the term in which this node leads, having applied everything of earlier terms; 0 while it does not lead.
	// Entries are proposed with it.
	Term() uint64
	// Level is the semantics level of the state.
	Level() uint16
	// Writable is nil when a proposal may be tried, or what is written may wait for another node that leads; else the
	// *NotAppliedError that it would meet: no leader, disk full, shut down, failed. It is cheap.
	Writable() error
	// Confirm calls then(nil) once it is certain that no other node has led after the call: what this node has applied by then is
	// all that was answered before the call. Else then gets a *NotAppliedError. then may be called at once, or by another
	// goroutine, and must not block.
	Confirm(then func(err error))
	// Forwards says that what clients want may have to be done by another node. Serve has r take what other nodes forward; free is
	// called when Send of reads may be called again (of writes: Proposer.Flush). Call it once.
	Forwards() bool
	Serve(r Remote, free func())
	// Send forwards a batch to the leader, or returns false if that is not possible now. done is called once, by another
	// goroutine: with the answer; or with nil, and sent says whether the leader may have got the batch. goOn says that the next
	// batch may follow at once; else the connection is made anew.
	Send(body []byte, reads bool, done func(a *Answer, sent bool) (goOn bool)) bool
	// MaySend reports whether Send would take a batch now.
	MaySend(reads bool) bool
	// Resign has another node lead, if this one does and there are others that do not stop. It returns false if this node may still be the one that
	// the others follow, though it does not serve any more.
	Resign() (resigned bool)
	// Remove takes a node out of the cluster; only the leader can.
	Remove(id string) error
	// Promote makes a member that has caught up a voter; only the leader can.
	Promote(id string) error
	// TakeOver has this node lead in place of the one that does.
	TakeOver(ctx context.Context) error
	// Upgrade raises the semantics level to the highest that all members know, and returns it; only the leader can.
	Upgrade(ctx context.Context) (level uint16, err error)
	// Compare has all nodes take a checksum of their states at one entry, and returns its index when all that are up have
	// answered; the error says if they differ. Only the leader can.
	Compare(ctx context.Context) (index uint64, err error)
	// Doubtful says that this node's state is not what that of most nodes is.
	Doubtful() bool
	// Refresh asks the other members for their states, which Status tells.
	Refresh()
	// Stopping tells the other nodes that this one stops, and whether it has something left to bring into the log. OthersDrained
	// says that no other node has, as they have said since then.
	Stopping(drains bool)
	OthersDrained(since time.Time) bool
	// EntryLevel is the semantics level that the next entry gets: that of the state, or the one that it raises it to.
	EntryLevel() uint16
	// SoleVoter says that this node is the only voter, so that a commit needs no other node.
	SoleVoter() bool
	// AppliedIndex is the index of the last entry the state machine has finished.
	AppliedIndex() uint64
	// Ready is closed when the log has been replayed and this node may serve.
	Ready() <-chan struct{}
	// Done is closed when the group has failed or was shut down; Err then says why (nil after a shutdown).
	Done() <-chan struct{}
	Err() error
	// Snapshot writes a snapshot now and compacts the log; nil at once when nothing has changed since the last.
	Snapshot() error
	// OpenSnapshot opens the file of the newest snapshot, which stays until it is closed.
	OpenSnapshot() (*Backup, error)
	Status() Status
	// Syncs is how long syncs of the log took since the start, in ns. It takes no locks.
	Syncs() histogram.Values
	// Clock is the group's log time.
	Clock() *Clock
	// Shutdown stops the group and closes its files. It does not wait for proposals: drain the Batcher first.
	Shutdown(ctx context.Context) error
}
