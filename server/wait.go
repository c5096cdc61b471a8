package server

import (
	"math"
	"slices"
	"sync"
	"time"

	"quipu/protocol"
	"quipu/replication"
)

// waitArguments reads the last two arguments of WAIT and WAITAOF.
func waitArguments(args [][]byte) (replicas int64, timeout time.Duration, text string) {
	replicas, ok := protocol.ParseInt(args[len(args)-2])
	if !ok {
		return 0, 0, protocol.ErrNotInteger
	}
	ms, ok := protocol.ParseInt(args[len(args)-1])
	switch {
	case !ok:
		return 0, 0, protocol.ErrTimeoutNumber
	case ms < 0:
		return 0, 0, protocol.ErrTimeoutNegative
	case ms > int64(pauseMax/time.Millisecond):
		ms = int64(pauseMax / time.Millisecond)
	}
	return replicas, time.Duration(ms) * time.Millisecond, ""
}

// waitCommand counts replicas that have the connection's writes, which are on disk on a majority by the time it runs, once what
// was answered ahead is: a single node has none, so it waits in vain for any.
func waitCommand(s *Session, args [][]byte) bool {
	replicas, timeout, text := waitArguments(args)
	if text != "" {
		s.replyError(text)
		return true
	}
	index, wait := s.ownWrites()
	if wait {
		return false
	}
	s.waitFor(index, 0, replicas, timeout, func(w *protocol.Writer, h holders) { w.Int(h.replicas) })
	return true
}

// ownWrites is the index from which on a node has the connection's writes, once what was answered ahead is applied. If the log did
// not take that, no node has them.
func (s *Session) ownWrites() (index uint64, wait bool) {
	behind := s.barrierPassed
	switch {
	case s.barrier():
		return 0, true
	case behind && s.logOutcome != replication.Applied:
		return math.MaxUint64, false
	}
	return s.index, false
}

// waitAOFCommand: what a node has applied is synced there.
func waitAOFCommand(s *Session, args [][]byte) bool {
	local, ok := protocol.ParseInt(args[1])
	if !ok || local < 0 || local > 1 {
		s.replyError(protocol.ErrOutOfRangeBetween(0, 1))
		return true
	}
	replicas, timeout, text := waitArguments(args)
	if text == "" && replicas < 0 {
		text = protocol.ErrNotPositive
	}
	if text != "" {
		s.replyError(text)
		return true
	}
	index, wait := s.ownWrites()
	if wait {
		return false
	}
	s.waitFor(index, local, replicas, timeout, func(w *protocol.Writer, h holders) { w.Array(2); w.Int(h.local); w.Int(h.replicas) })
	return true
}

// holders is on how many nodes the writes of a connection are.
type holders struct{ local, replicas int64 }

func (h holders) enough(local, replicas int64) bool {
	return h.local >= local && h.replicas >= replicas
}

// holders counts nodes that have applied an index of the log: this one, and those that do not lead.
func (t *topology) holders(index uint64) (h holders) {
	if t.AppliedIndex >= index {
		h.local = 1
	}
	for _, m := range t.Members {
		if m.ID != t.leader.ID && m.Up && m.Applied >= index {
			h.replicas++
		}
	}
	return h
}

// waitInTransaction does not wait.
func waitInTransaction(_ *Session, args [][]byte, w *protocol.Writer) {
	if _, _, text := waitArguments(args); text != "" {
		w.Error(text)
		return
	}
	w.Int(0)
}

func waitAOFInTransaction(_ *Session, _ [][]byte, w *protocol.Writer) { w.Array(2); w.Int(1); w.Int(0) }

// blockedWait is one wait of a client, for replicas or for changes. Whoever takes it out of its session ends it: its alarm, CLIENT UNBLOCK of
// another client, or the end of the connection.
type blockedWait struct {
	reply   func(write func(w *protocol.Writer))
	timeout func(w *protocol.Writer)      // the reply when the time is over, or for CLIENT UNBLOCK
	look    func(t *topology) (over bool) // of a wait for replicas
	ended   func()                        // if not nil, called once when it has ended in any way
	alarm   *time.Timer                   // set and stopped on the session's loop
}

// holdersLook is how often a wait asks the other nodes what they have.
const holdersLook = 10 * time.Millisecond

// waitFor replies when enough nodes have applied an index of the log, or the timeout is over, 0 being never. Nothing of the session
// is pending.
func (s *Session) waitFor(index uint64, local, replicas int64, timeout time.Duration, write func(w *protocol.Writer, h holders)) {
	srv := s.srv
	t := srv.topology()
	if h := t.holders(index); h.enough(local, replicas) {
		s.reply(func(w *protocol.Writer) { write(w, h) })
		return
	}
	b := &blockedWait{reply: s.replyLater(waitBlocked)}
	b.timeout = func(w *protocol.Writer) {
		t := srv.topology()
		write(w, t.holders(index))
	}
	b.look = func(t *topology) (over bool) {
		if h := t.holders(index); h.enough(local, replicas) {
			s.unblock(b, func(w *protocol.Writer) { write(w, h) })
		}
		return s.blocked.Load() != b
	}
	if timeout == 0 {
		timeout = math.MaxInt64
	}
	s.block(b, timeout, func() { s.unblock(b, b.timeout) })
	if srv.config().PeerAddr != "" { // else there are no others
		srv.waits.add(srv, b)
	}
}

// block begins a wait, whose reply function was made by replyLater(waitBlocked). over is called, by another goroutine, when its time is.
func (s *Session) block(b *blockedWait, timeout time.Duration, over func()) {
	s.srv.stats.blocked.Add(1)
	s.blocked.Store(b)
	b.alarm = time.AfterFunc(timeout, over)
}

// waitList is all waits for other nodes: one goroutine looks after them, however many clients wait.
type waitList struct {
	mu     sync.Mutex
	list   []*blockedWait
	looked bool // a goroutine runs
}

func (l *waitList) add(srv *Server, b *blockedWait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, b)
	if !l.looked {
		l.looked = true
		go l.look(srv)
	}
}

// look ends waits that are over, until there are none.
func (l *waitList) look(srv *Server) {
	for {
		srv.replicas[0].Group.Refresh()
		time.Sleep(holdersLook)
		t := srv.topology()
		l.mu.Lock()
		l.list = slices.DeleteFunc(l.list, func(b *blockedWait) bool { return b.look(&t) })
		l.looked = len(l.list) > 0 && !srv.draining.Load()
		goOn := l.looked
		l.mu.Unlock()
		if !goOn {
			return
		}
	}
}

// unblock ends a wait with a reply, and reports whether it had not ended before. Called from any goroutine.
func (s *Session) unblock(b *blockedWait, write func(w *protocol.Writer)) bool {
	if b == nil || !s.blocked.CompareAndSwap(b, nil) {
		return false
	}
	s.waitEnded(b)
	s.worker.loop.Post(func() {
		b.alarm.Stop()
		if s.waiting == waitBlocked && !s.closing {
			b.reply(write)
		}
	})
	return true
}

// endWait is called by release.
func (s *Session) endWait() {
	if b := s.blocked.Swap(nil); b != nil {
		b.alarm.Stop()
		s.waitEnded(b)
	}
}

// waitEnded is called by who has taken the wait out of the session.
func (s *Session) waitEnded(b *blockedWait) {
	s.srv.stats.blocked.Add(-1)
	if b.ended != nil {
		b.ended()
	}
}
