package server

import (
	"sync/atomic"
	"time"

	"quipu/acl"
	"quipu/commands"
	"quipu/config"
	"quipu/exec"
	"quipu/protocol"
	"quipu/replica"
	"quipu/replication"
	"quipu/transport"
)

// Session is one client's conversation with the node, the same for every transport. Only the
// goroutine of its worker's loop touches it, but for the atomic fields and what is said of watcher.
//
// A command takes one of three ways. A read runs at once if nothing of the client is pending. A write is added to the
// lane's sub-batch, as one submission with the rest of the client's pipeline. Once anything is pending, reads behind it
// are added to the sub-batch as well, and ready replies wait in their reply slots, so that replies keep their order
// without waiting command by command.
type Session struct {
	srv    *Server
	worker *worker
	link   transport.Link
	id     int64
	remote string
	local  string
	since  time.Time
	trusts bool // connected over loopback or a unix socket

	parser   protocol.Parser
	limits   protocol.Limits
	limitsOf *config.Config // the configuration the limits were taken from
	args     [][]byte
	size     int             // bytes of the command being read
	out      protocol.Writer // replies for the transport to send
	side     protocol.Writer // a reply on its way into its reply slot

	db                   int
	users                *acl.Users   // those that the session was judged by last
	subject              *acl.Subject // its user
	restricted           *acl.Subject // its user, nil if nothing is denied to it: the one thing that the gate looks at
	authenticated        bool         // by a password, or because none was needed when it connected
	authed               bool         // may run commands: authenticated, or none is needed now
	unauthenticatedSince time.Time
	silent               replyMode
	ack                  ackChoice
	reads                consistency
	readonly             bool // READONLY: reads see what this node has applied, though another one leads
	barrierPassed        bool // for the command that is read again: all that was answered ahead before it is applied
	multi                *transaction
	watcher              *watcher
	deciding             *watcher    // the guard of an EXEC under way
	forgets              []forgotten // to be forgotten when nothing is pending any more

	lane         *lane               // of the command being read
	open         *lane               // whose sub-batch has an open submission of the session; nil: none
	slots        replySlots          // replies under way
	lost         bool                // replies were dropped, so none of those behind them may be sent
	bytes        int                 // memory of the submissions that are closed and not complete
	inLog        int                 // submissions handed over to the log, and not complete
	inReads      int                 // submissions handed over as reads, and not complete
	index        uint64              // index of the log that the session's last commands were answered at
	logged       uint64              // the same of the last that went through the log
	logOutcome   replication.Outcome // of the last that went through the log
	bulk         int                 // most bytes that commands in submissions may reply with, taken from Server.bulk
	waiting      waitReason
	backup       *replication.Backup // opened with BACKUP BEGIN, or nil
	subs         *subscriptions      // nil: none
	subsBefore   *subscriptions      // those at the beginning of EXEC
	publications []publication       // of the transaction under way
	box          pushBox
	cacher       atomic.Pointer[cacher]      // nil: its reads were never tracked
	caching      bool                        // CLIENT CACHING was just read, see Session.track
	unsettled    []string                    // keys of reads that are not answered yet, see Session.settle
	toldBefore   uint64                      // cacher.told before the first of them
	changesUsers bool                        // the submission under way is a change of users
	blocked      atomic.Pointer[blockedWait] // in WAIT, WAITAOF or FEED READ, else nil
	feed         feedPace                    // of FEED READ
	closing      bool                        // close once out has been sent
	reason       string                      // why it is closing, for the log

	ran      int64 // commands run
	last     *commands.Command
	identity atomic.Pointer[identity]
	kill     atomic.Bool
	evicted  atomic.Int64 // bytes that it counts for in clientMemory.going
	held     int          // bytes, see holds
	released bool
	paused   pauseReason
	seen     sessionStats
}

// identity is what the client said of itself; CLIENT LIST reads it from other goroutines.
type identity struct {
	name, libName, libVersion string
}

// sessionStats are figures other goroutines may read; they are brought up to date once per burst of input.
type sessionStats struct {
	db, resp, multi   atomic.Int32
	lastCommand       atomic.Pointer[commands.Command]
	lastActive        atomic.Int64 // unix nanoseconds
	commands          atomic.Int64
	bytesIn, bytesOut atomic.Int64
	input, output     atomic.Int64 // bytes that the transport keeps
	memory            atomic.Int64 // bytes, see Session.holds
	transaction       atomic.Int64 // bytes of the queue of MULTI
	authed            atomic.Bool
	noEvict, noTouch  atomic.Bool
	monitors          atomic.Bool
	subs              [topicKinds]atomic.Int32
	watcher           atomic.Pointer[watcher]
	user              atomic.Pointer[acl.Subject]
}

// waitReason says what a session waits for before it reads the next command.
type waitReason uint8

const (
	waitNothing waitReason = iota
	waitPending            // for its own submissions
	waitPause              // for the end of CLIENT PAUSE
	waitTask               // for a slow command that runs elsewhere
	waitParts              // for the end of a long lock
	waitBulk               // for less replies of others to be under way
	waitBlocked            // in WAIT, WAITAOF or FEED READ, for what may not come
)

type replyMode uint8

const (
	replyOn replyMode = iota
	replyOff
	replySkipNext // CLIENT REPLY SKIP was just read
	replySkip     // the command being read gets no reply
)

func newSession(w *worker, link transport.Link, peer transport.Peer) *Session {
	srv := w.srv
	s := &Session{
		srv: srv, worker: w, link: link, lane: &w.lanes[0], id: srv.nextClient.Add(1),
		remote: peer.Remote, local: peer.Local, since: time.Now(), trusts: peer.Trusted,
	}
	s.out = protocol.Writer{V: 2, Failed: srv.stats.errors.count}
	s.side = s.out
	s.unauthenticatedSince = s.since
	s.identity.Store(&identity{})
	s.seen.multi.Store(-1)
	s.seen.resp.Store(2)
	s.seen.lastActive.Store(s.since.UnixNano())
	s.beginUser()
	s.useLimits(srv.config())
	return s
}

// useLimits takes the parser's limits from the configuration; before authentication they are tighter.
func (s *Session) useLimits(c *config.Config) {
	s.limitsOf = c
	s.limits = protocol.Limits{MaxArgs: c.MaxArguments, MaxBulk: c.MaxBulk, MaxInline: c.MaxInline, MaxCommand: c.MaxCommand}
	if !s.authed {
		before := protocol.UnauthenticatedLimits()
		before.MaxInline, before.MaxCommand = min(s.limits.MaxInline, before.MaxBulk), s.limits.MaxCommand
		s.limits = before
	}
}

// Process implements transport.Conn.
func (s *Session) Process(input []byte, out int) int {
	used := 0
	cfg := s.srv.config()
	if out >= cfg.ClientOutputPause {
		return 0
	}
	if users := s.srv.users.Load(); cfg != s.limitsOf || users != s.users {
		s.useUsers(users)
		s.useLimits(cfg)
	}
	s.worker.begins()
	ran := s.ran
	for used < len(input) && s.ready(cfg) {
		args, n, err := s.parser.Next(input[used:], &s.limits, s.args)
		if err != nil {
			s.srv.limits.met(limitProtocol, s.remote, "error", err.Error())
			s.worker.CarryOut()
			s.replyError(err.Error())
			s.Close("protocol error")
			break
		}
		if n == 0 {
			break
		}
		if len(args) != 0 {
			s.args, s.size = args, n
			if !s.dispatch(args) {
				break
			}
			if !s.authed && len(s.out.B) > unauthenticatedOutput && !s.closing {
				s.replyError(protocol.ErrUnauthOutput)
				s.Close("too much output without authentication")
			}
		}
		used += n
	}
	s.worker.ran += s.ran - ran
	s.endSubmission()
	s.settle()
	s.dropScratch()
	s.publish(used)
	return used
}

const (
	// unauthenticatedOutput is how many bytes of replies may wait for a client that is not authenticated.
	unauthenticatedOutput = 64 << 10
	keptArguments         = 64 // arguments that the scratch memory for them keeps room for
)

// dropScratch lets go of the input, which the arguments point into, and of memory that a large command has left behind:
// an idle client keeps its scratch memory, and there may be ten thousand of them.
func (s *Session) dropScratch() {
	if cap(s.args) > keptArguments {
		s.args = nil
	}
	clear(s.args[:cap(s.args)])
	if cap(s.side.B) > transport.MaxIdleBuffer {
		s.side.B = nil
	}
}

// ready is Ready under a configuration.
func (s *Session) ready(cfg *config.Config) bool {
	if s.closing || s.waiting != waitNothing || len(s.out.B) >= cfg.ClientOutputPause || s.srv.draining.Load() {
		return false
	}
	return !s.pending() || !s.crowded(cfg)
}

// crowded reports whether as many writes wait for their replies as may, of this client or of all.
func (s *Session) crowded(cfg *config.Config) bool {
	unanswered := s.bytes + s.slots.bytes
	if s.open != nil {
		unanswered += s.open.open.Size()
	}
	return unanswered >= cfg.ClientOutstanding || s.srv.queued() >= cfg.Outstanding
}

// publish makes the figures of the burst visible to other goroutines.
func (s *Session) publish(used int) {
	if used != 0 {
		s.publishState()
	}
}

// publishState is publish in the middle of a burst.
func (s *Session) publishState() {
	s.seen.commands.Store(s.ran)
	s.seen.lastCommand.Store(s.last)
	s.seen.db.Store(int32(s.db))
	s.seen.resp.Store(int32(s.out.V))
	multi := int32(-1)
	if s.multi != nil {
		multi = int32(len(s.multi.queue))
	}
	s.seen.multi.Store(multi)
}

// pending reports whether earlier commands of the client are in sub-batches and not answered yet.
func (s *Session) pending() bool { return !s.slots.empty() }

// as is how a command now being read is to be executed.
func (s *Session) as() exec.As {
	return exec.As{DB: s.db, RESP: s.out.V, Silent: s.isSilent()}
}

func (s *Session) isSilent() bool { return s.silent == replyOff || s.silent == replySkip }

// submission is the sub-batch to add size bytes of the command being read to.
func (s *Session) submission(size int) *replica.SubBatch { return s.submissionOn(s.lane, size) }

// submissionOn is the sub-batch of a lane to add size bytes of the client's commands to; it opens a submission on first
// use, and goes on in the next sub-batch when one is full.
func (s *Session) submissionOn(l *lane, size int) *replica.SubBatch {
	if s.open != nil && s.open != l {
		s.endSubmission()
	}
	if l.open != nil && l.open.Size()+size > replica.SoftLimit && !l.open.Empty() {
		s.endSubmission()
		l.needsLog = true // in case there are only reads in it: what follows may write, and they must not see it
		s.worker.handOver(l)
	}
	l.needsLog = l.needsLog || s.inLog > 0
	if s.open == nil {
		s.worker.CarryOut() // increments of other clients in the burst may open submissions
		l.subBatch(s.worker).Begin(s, s.slots.take())
		s.open = l
	}
	return l.open
}

// submissionFor is submission; behind says that what is added must go through the log even if it only reads: it stands behind all
// that is answered ahead.
func (s *Session) submissionFor(size int, behind bool) *replica.SubBatch {
	b := s.submission(size)
	s.lane.needsLog = s.lane.needsLog || behind
	return b
}

func (s *Session) endSubmission() {
	if s.open != nil {
		s.bytes += s.open.open.End()
		s.open = nil
	}
}

// handedOver is called when a submission of the session was handed over, as reads or to the log.
func (s *Session) handedOver(reads bool) {
	if reads {
		s.inReads++
	} else {
		s.inLog++
	}
}

// finish takes the replies of a submission that is complete. The session may be able to read on afterwards.
func (s *Session) finish(b *replica.SubBatch, sub *exec.Submission) {
	if s.changesUsers && s.finishLater(b, sub) {
		return
	}
	s.finishWith(sub, b.Replies(sub), b.Index, b.Reads, b.Outcome)
}

// finishWith is finish with what the sub-batch says of the submission.
func (s *Session) finishWith(sub *exec.Submission, replies []byte, index uint64, reads bool, outcome replication.Outcome) {
	s.bytes -= sub.Bytes
	if s.index = max(s.index, index); reads {
		s.inReads--
	} else {
		s.logged, s.logOutcome = max(s.logged, index), outcome
		s.inLog--
	}
	if sub.Overflowed {
		s.lost = true
		s.srv.limits.met(limitOutput, s.remote)
		s.Close("more unsent replies than a client may have")
	}
	if out := s.slots.fill(sub.Slot, replies, s.out.B); !s.lost {
		s.out.B = out
	}
	if !s.pending() {
		s.srv.bulk.giveBack(s.bulk)
		s.bulk = 0
		if s.publications != nil {
			s.publishLate(outcome == replication.Applied && (s.deciding == nil || s.deciding.runs))
		}
		if s.deciding != nil {
			s.forget(s.deciding)
			if !s.deciding.runs && s.deciding.undo != nil {
				s.restore(s.deciding.undo)
			}
			s.deciding = nil
		}
		if s.forgets != nil {
			s.forgetLate()
		}
		if s.waiting == waitPending {
			s.waiting = waitNothing
		}
		s.settle()
	}
}

// awaitPending makes the session wait for its own submissions, if there are any, before it reads on; the command
// being read is then read again.
func (s *Session) awaitPending() bool {
	if !s.pending() {
		return false
	}
	s.waiting = waitPending
	return true
}

// reply calls fn to write one reply, in its place behind whatever is pending.
func (s *Session) reply(fn func(w *protocol.Writer)) {
	w := s.beginReply()
	fn(w)
	s.endReply()
}

func (s *Session) replyError(text string) {
	s.beginReply().Error(text)
	s.endReply()
}

// beginReply returns the writer for one reply; endReply must follow.
func (s *Session) beginReply() *protocol.Writer {
	if !s.pending() && !s.isSilent() {
		return &s.out
	}
	s.side.V = s.out.V
	s.side.B = s.side.B[:0]
	return &s.side
}

// endReply puts the reply in its place. It asks again whether the client wants replies: RESET may just have ended CLIENT
// REPLY OFF.
func (s *Session) endReply() {
	if len(s.side.B) == 0 {
		return // it went to out, or the command had none
	}
	switch {
	case s.isSilent():
	case s.open != nil: // between the commands of the submission, whichever lane the command belongs to
		s.submissionOn(s.open, len(s.side.B)).Literal(s.side.B, s.as())
	case s.pending():
		s.slots.append(s.side.B)
	default:
		s.out.B = append(s.out.B, s.side.B...)
	}
	s.side.B = s.side.B[:0]
}

// replyLater makes the session wait for reason, until the function that it returns is called, on the loop's goroutine,
// with the command's reply. Nothing of the session is pending.
func (s *Session) replyLater(reason waitReason) func(write func(w *protocol.Writer)) {
	s.waiting = reason
	silent := s.isSilent() // CLIENT REPLY SKIP is over by the time of the reply
	return func(write func(w *protocol.Writer)) {
		if s.waiting == reason {
			s.waiting = waitNothing
		}
		if !silent && !s.closing {
			write(&s.out)
		}
		s.settle()
		s.link.Resume()
	}
}
