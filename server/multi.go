package server

import (
	"quipu/acl"
	"quipu/commands"
	"quipu/exec"
	"quipu/protocol"
)

// transaction is what a client has queued since MULTI.
type transaction struct {
	queue   []queued
	memory  []byte  // the arguments of all queued commands, one after the other
	sizes   []int32 // their lengths
	spoiled bool    // a command was refused: EXEC aborts
	once    bool    // the first command is ONCE, which stands for all of them
	lane    *lane   // of the commands with keys; nil: there are none yet

	scratch [][]byte // for arguments
}

// queued is a command of a transaction: its arguments are sizes[firstSize:][:args], and begin at memory[start].
type queued struct {
	cmd                    *commands.Command
	start, firstSize, args int
}

// What queued commands and their arguments take beside their bytes, for the limit.
const (
	queuedOverhead   = 64
	argumentOverhead = 4
)

// size is the memory the transaction takes, in bytes; its log entry takes less.
func (t *transaction) size() int {
	return len(t.memory) + len(t.queue)*queuedOverhead + len(t.sizes)*argumentOverhead
}

// held is the memory that the transaction has reserved, in bytes.
func (t *transaction) held() int {
	return cap(t.memory) + cap(t.queue)*queuedOverhead + cap(t.sizes)*argumentOverhead
}

// arguments rebuilds the arguments of a queued command. They are valid until the next call.
func (t *transaction) arguments(q *queued) [][]byte {
	t.scratch = t.scratch[:0]
	at := q.start
	for _, n := range t.sizes[q.firstSize:][:q.args] {
		t.scratch = append(t.scratch, t.memory[at:at+int(n):at+int(n)])
		at += int(n)
	}
	return t.scratch
}

// maxSpareTransaction is the most bytes of a transaction that are kept for the next one of any session of the worker.
// Without it each transaction allocates its slices anew, a tenth of the CPU time of MULTI, two INCR, EXEC.
const maxSpareTransaction = 64 << 10

// newTransaction returns an empty transaction.
func (w *worker) newTransaction() *transaction {
	t := w.spareTransaction
	if w.spareTransaction = nil; t == nil {
		return &transaction{}
	}
	*t = transaction{queue: t.queue[:0], memory: t.memory[:0], sizes: t.sizes[:0], scratch: t.scratch[:0]}
	return t
}

// doneWith takes back a transaction that no session has any more.
func (w *worker) doneWith(t *transaction) {
	if t.held() <= maxSpareTransaction {
		w.spareTransaction = t
	}
}

// queue keeps a command for EXEC.
func (s *Session) queue(cmd *commands.Command, args [][]byte) {
	t := s.multi
	if text := t.refuses(cmd, args); text != "" {
		t.spoiled = true
		s.replyError(text)
		return
	}
	if cmd.HasKeys() {
		if t.lane != nil && t.lane != s.lane || s.watcher != nil && s.watcher.lane != s.lane {
			t.spoiled = true
			s.replyError(protocol.ErrCrossSlot)
			return
		}
		t.lane = s.lane
	}
	if t.spoiled || s.watcher != nil && s.watcher.touched.Load() { // EXEC will run nothing
		s.beginReply().Queued()
		s.endReply()
		return
	}
	size := t.size()
	for _, arg := range args {
		size += len(arg) + argumentOverhead
	}
	if size > s.srv.config().MaxCommand {
		t.spoiled = true
		s.replyError(protocol.ErrCommandTooBig)
		return
	}
	t.queue = append(t.queue, queued{cmd: cmd, start: len(t.memory), firstSize: len(t.sizes), args: len(args)})
	for _, arg := range args {
		t.memory = append(t.memory, arg...)
		t.sizes = append(t.sizes, int32(len(arg)))
	}
	s.beginReply().Queued()
	s.endReply()
}

// refuses is the error text for what a transaction cannot have because of ONCE or INGEST, or "".
func (t *transaction) refuses(cmd *commands.Command, args [][]byte) string {
	switch {
	case cmd.IsIngest() && (len(t.queue) > 0 || t.spoiled):
		return protocol.ErrIngestInMulti
	case cmd.IsIngest():
		_, refusal := commands.ParseIngest(args)
		return refusal
	case cmd.IsOnce() && (len(args) != 4 || len(t.queue) > 0 || t.spoiled):
		return protocol.ErrOnceInMulti
	case cmd.IsOnce():
		_, refusal := commands.ParseOnce(args)
		t.once = refusal == ""
		return refusal
	case t.once && (cmd.Write == nil || !cmd.HasKeys()):
		return protocol.ErrOnceTxn
	}
	return ""
}

func multiCommand(s *Session, _ [][]byte) bool {
	if s.multi != nil {
		s.replyError(protocol.ErrNestedMulti)
		return true
	}
	s.multi = s.worker.newTransaction()
	s.beginReply().OK()
	s.endReply()
	return true
}

func discardCommand(s *Session, _ [][]byte) bool {
	if s.multi == nil {
		s.replyError(protocol.ErrDiscardWithoutMulti)
		return true
	}
	s.discard()
	s.beginReply().OK()
	s.endReply()
	return true
}

// discard forgets the queued transaction and what the client watches.
func (s *Session) discard() {
	if s.multi != nil {
		s.worker.doneWith(s.multi)
	}
	s.multi = nil
	s.unwatch()
}

// execCommand adds the transaction to the lane's sub-batch if it writes, or if anything is pending or answered ahead; one
// that only reads runs on the keyspace at once.
func execCommand(s *Session, _ [][]byte) bool {
	t := s.multi
	if t == nil {
		s.replyError(protocol.ErrExecWithoutMulti)
		return true
	}
	writes, grows, ownWritesFirst := t.needs(s.srv)
	if (ownWritesFirst || s.watcher != nil || s.inReads > 0) && s.awaitPending() {
		return false // with keys watched, the client's own earlier writes are judged by what they really changed
	}
	if s.srv.pauseCovers(writes) {
		s.waiting = waitPause
		return false
	}
	if t.lane != nil {
		s.lane = t.lane
	}
	switch {
	case t.spoiled:
		s.replyError(protocol.ErrExecAbort)
	case grows && s.srv.outOfMemory(): // since its commands were queued
		s.replyError(protocol.ErrExecAbortBecause(protocol.ErrOOM))
	case s.watcher != nil && (s.touched() || s.watcher.lostOffice()):
		s.beginReply().NullArray()
		s.endReply()
	default:
		return s.exec(t, writes)
	}
	s.discard()
	return true
}

// exec runs a transaction, or adds it to what is pending. false: it has to wait.
func (s *Session) exec(t *transaction, writes bool) bool {
	ks := s.lane.replica.Keyspace
	behind := ks.HasAhead() || !writes && t.isLong(ks) // then it holds up the log, and not the loop
	pends := writes || s.pending() || behind || !s.direct() || s.watcher != nil && s.watcher.name.ID != 0
	if pends && s.awaitBulk(s.bulkOfTransaction(t)) {
		return false
	}
	defer s.discard()
	state := s.connectionState()
	s.subsBefore = s.subs
	if pends {
		s.addTransaction(s.submissionFor(t.size(), behind), t)
		if s.publications != nil { // what stands behind EXEC comes behind them
			s.waiting = waitPending
		}
		if s.watcher != nil { // nothing was pending, so no other EXEC of the session is being decided
			s.deciding, s.watcher = s.watcher, nil // its keys stay watched until EXEC is decided
			s.seen.watcher.Store(nil)
			if s.connectionState() != state { // what stands behind EXEC depends on the decision
				undo := state
				s.deciding.undo = &undo
				s.waiting = waitPending
			}
		}
		return true
	}
	aborted := s.runReadTransaction(t)
	if aborted {
		s.restore(&state)
	}
	s.publishLate(!aborted)
	return true
}

// connectionState is what the commands of a connection inside of a transaction may change of how it goes on. They are
// run when EXEC is handed over, and have not run if it turns out to abort.
type connectionState struct {
	db, resp      int
	silent        replyMode
	identity      *identity
	subject       *acl.Subject
	authenticated bool
	subs          *subscriptions
	tracking      *trackMode
}

func (s *Session) connectionState() connectionState {
	silent := s.silent
	if silent == replySkip {
		silent = replyOn // behind EXEC
	}
	return connectionState{s.db, s.out.V, silent, s.identity.Load(), s.subject, s.authenticated, s.subs, s.tracks()}
}

func (s *Session) restore(state *connectionState) {
	s.db, s.out.V, s.silent = state.db, state.resp, state.silent
	s.identity.Store(state.identity)
	s.restoreSubscriptions(state.subs)
	s.useTracking(state.tracking)
	if s.subject != state.subject || s.authenticated != state.authenticated {
		s.subject, s.authenticated = state.subject, state.authenticated
		s.useUsers(s.users) // which may be later ones
		s.useLimits(s.srv.config())
	}
}

// needs reports whether the transaction writes, whether it may take more memory, and whether any of its commands must
// wait for the client's earlier writes.
func (t *transaction) needs(srv *Server) (writes, grows, ownWritesFirst bool) {
	for i := range t.queue {
		cmd := t.queue[i].cmd
		writes = writes || cmd.Write != nil || srv.handlers[cmd.ID()].write != nil
		grows = grows || cmd.Flags&commands.FlagDenyOOM != 0
		ownWritesFirst = ownWritesFirst || srv.handlers[cmd.ID()].ownWritesFirst
	}
	return writes, grows, ownWritesFirst
}

// literalRoom bounds the replies of a transaction's connection commands, in bytes: they stand in the sub-batch
// beside its operation, and a batch that is too large takes the writes of other clients down with it.
const literalRoom = 1 << 20

// txnTarget is what a transaction's commands are added to.
type txnTarget interface {
	Hold(cmd *commands.Command, args [][]byte)
	BeginTxn(n int, deadline int64, guard exec.Guard, as exec.As)
	Write(cmd *commands.Command, args [][]byte, as exec.As)
	Read(cmd *commands.Command, args [][]byte, as exec.As)
	Literal(reply []byte, as exec.As)
	EndTxn()
}

// readsOnly is a sub-batch of a transaction that only reads: it needs no holds.
type readsOnly struct{ *exec.SubBatch }

func (readsOnly) Hold(*commands.Command, [][]byte) {}

// addTransaction adds the queued commands as one operation. Commands of the connection run now, so that
// SELECT and HELLO take effect for those behind them.
func (s *Session) addTransaction(b txnTarget, t *transaction) {
	var guard exec.Guard
	var deadline int64
	if s.watcher != nil {
		guard, deadline = s.watcher, s.watcher.Deadline()
	}
	b.BeginTxn(len(t.queue), deadline, guard, s.as())
	room := literalRoom
	for i := range t.queue {
		q := &t.queue[i]
		cmd, args := q.cmd, t.arguments(q)
		s.worker.calls[cmd.ID()].Add(1)
		s.addQueued(b, cmd, args, &room)
		if s.srv.monitors.count.Load() != 0 {
			s.tellMonitors(cmd, args)
		}
	}
	b.EndTxn()
}

// addQueued adds one queued command.
func (s *Session) addQueued(b txnTarget, cmd *commands.Command, args [][]byte, room *int) {
	if s.restricted != nil || s.srv.handlers[cmd.ID()].write != nil || cmd.Write == nil && cmd.Read == nil {
		var literal []byte
		if cmd, args, literal = s.queuedHere(cmd, args, room); cmd == nil {
			b.Literal(literal, s.as())
			return
		}
	}
	if cmd.Write != nil {
		b.Hold(cmd, args)
		b.Write(cmd, args, s.as())
	} else {
		if m := s.tracks(); m != nil && s.mayKeep(m, cmd) {
			s.noteKeys(m, cmd, args)
		}
		b.Read(cmd, args, s.as())
	}
}

// queuedHere is what the session itself has to do for a queued command: judge its user once more, run commands of the connection, and
// have those of the node make what is logged. It returns the command that goes into the operation, or nil and its reply. It is apart
// from addTransaction because its Writer is allocated: two of them were a twentieth of the time of a transaction of two increments.
func (s *Session) queuedHere(cmd *commands.Command, args [][]byte, room *int) (logged *commands.Command, loggedArgs [][]byte, literal []byte) {
	w := protocol.Writer{V: s.out.V, Failed: s.out.Failed}
	if text := s.textInExec(cmd, args); text != "" {
		w.Error(text)
		return nil, nil, w.B
	}
	if write := s.srv.handlers[cmd.ID()].write; write != nil {
		if logged, loggedArgs = write(s, args, &w); logged == nil {
			return nil, nil, w.B
		}
		return logged, loggedArgs, nil
	}
	if cmd.Write != nil || cmd.Read != nil {
		return cmd, args, nil
	}
	if *room >= 0 { // else it is not executed: it may take long
		s.runQueued(cmd, args, &w)
		*room -= len(w.B)
	}
	if *room < 0 {
		w.B = w.B[:0]
		w.Error(protocol.ErrCommandTooBig)
	}
	return nil, nil, w.B
}

// textInExec is the error text for a queued command that the user may not run any more, or "".
func (s *Session) textInExec(cmd *commands.Command, args [][]byte) string {
	if s.restricted == nil {
		return ""
	}
	return s.deniedInExec(cmd, args)
}

// runQueued executes a command of the connection inside EXEC.
func (s *Session) runQueued(cmd *commands.Command, args [][]byte, w *protocol.Writer) {
	h := &s.srv.handlers[cmd.ID()]
	if h.run == nil {
		w.Error(protocol.ErrNotInMulti)
		return
	}
	if h.slow {
		s.publishState()
	}
	if !s.timesHandler(cmd) {
		h.run(s, args, w)
		return
	}
	start := s.worker.times.Now()
	h.run(s, args, w)
	s.tookHandler(start, cmd, args)
}

// runReadTransaction executes a transaction without writes, all its keys locked together, and reports whether what the
// client watches made it abort.
func (s *Session) runReadTransaction(t *transaction) (aborted bool) {
	var aborts func() bool
	now := s.readTime()
	if s.watcher != nil {
		aborted = s.watcher.expired(now)
		aborts = func() bool { // with the keys locked
			aborted = aborted || s.touched()
			return aborted
		}
	}
	b := exec.NewSubBatch(s.srv.table)
	b.CountErrors(s.out.Failed)
	b.Begin(s, 0)
	s.addTransaction(readsOnly{b}, t)
	b.End()
	if err := b.ReadTxn(s.lane.runner, now, aborts); err != nil {
		panic("BUG: transaction of reads: " + err.Error())
	}
	sub := &b.Submissions()[0]
	s.out.B = append(s.out.B, b.Replies(sub)...)
	if sub.Overflowed {
		s.Close("more unsent replies than a client may have")
	}
	return aborted
}

func transactionHandlers() []handler {
	fast := flagsControl | commands.FlagFast | commands.FlagAllowBusy
	return []handler{
		{entry: commands.Command{Name: "multi", Arity: 1, Flags: fast, Categories: commands.CatTransaction, Summary: "Start a transaction",
			Since: "1.2.0", Group: "transactions", Complexity: "O(1)"}, flow: multiCommand, control: true},
		{entry: commands.Command{Name: "exec", Arity: 1, Flags: flagsControl | commands.FlagSkipSlowlog, Categories: commands.CatTransaction,
			Summary: "Run the commands queued since MULTI", Since: "1.2.0", Group: "transactions",
			Complexity: "The sum of its commands"}, flow: execCommand, control: true},
		{entry: commands.Command{Name: "discard", Arity: 1, Flags: fast, Categories: commands.CatTransaction, Summary: "Forget the commands queued since MULTI",
			Since: "2.0.0", Group: "transactions", Complexity: "O(N) for N queued commands"}, flow: discardCommand, control: true},
		{entry: commands.Command{Name: "watch", Arity: -2, Flags: fast, Categories: commands.CatTransaction,
			Keys: []commands.KeySpec{{First: 1, Last: -1, Step: 1, Flags: commands.KeyRO}}, Summary: "Make EXEC depend on keys not changing",
			Since: "2.2.0", Group: "transactions", Complexity: "O(1) for a key", Syntax: "key [key ...]"}, flow: watchCommand, control: true},
		{entry: commands.Command{Name: "unwatch", Arity: 1, Flags: fast, Categories: commands.CatTransaction, Summary: "Forget all watched keys",
			Since: "2.2.0", Group: "transactions", Complexity: "O(1)"}, run: unwatchCommand},
	}
}
