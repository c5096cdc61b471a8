package server

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"quipu/commands"
)

// An event loop serves many connections on one goroutine. One turn of it:
//
//	wait for ready sockets
//	for each: read once, run every whole command in what was read, but gather short reads and increments answered from memory
//	carry out what is gathered (whenever there is enough of it, and before any other command)
//	send the replies of those with nothing pending
//	flush the batcher; while this node is the only voter, wait for the commit here
//	for each batch that is complete: take its replies, run what was left unread, send
//
// Waiting for the commit inside the loop saves two hand-overs between threads per commit, which cost more than the
// sync itself. The wait is bounded by inlineWait: behind a slow disk the loop goes back to its sockets, does not wait
// like that again, and the completion arrives as an event. What one turn does is bounded too, so that clients with much
// input waiting do not keep the loop from the others' sockets.
//
// Sockets are level-triggered. A connection that must not be read any more, because its session waits or holds too
// much, loses its read interest until it may go on: the client then feels TCP's own backpressure.

const (
	inlineWait = 20 * time.Millisecond // longest wait for a commit before the loop returns to its sockets
	maxEvents  = 512
	turnRounds = 4                      // commits, or bursts of one connection, between two looks at the sockets
	loopTick   = 200 * time.Millisecond // how often time limits are checked
	fullSweep  = 5                      // ticks between two sweeps over all connections
)

type eventLoop struct {
	srv    *Server
	epfd   int
	wakefd int
	conns  map[int]*conn
	runner *commands.Runner
	counts []atomic.Int64
	serial uint64 // batch joined last
	stripe uint32 // of the server's statistics
	buf    []byte // read buffer, shared by the connections
	used   int    // bytes of it that gathered commands may point into
	events []unix.EpollEvent

	touched []*conn // connections with something to send at the end of the turn
	waiting int     // batches joined and not yet complete
	late    bool    // the commit has outlasted inlineWait: no more waiting for it in place
	flush   bool    // something was submitted in this turn
	more    bool    // the turn has left something to do

	mu        sync.Mutex // guards the fields below; a leaf
	posted    []func()
	completed []*batch
	inline    bool // the loop waits on signal, not in epoll
	awake     bool // wakefd was raised and the lists not yet taken
	ended     bool // nothing takes the lists any more, and wakefd is closed: its number may be another file's
	signal    chan struct{}

	spareCompleted []*batch
	spareHeld      []*conn
	spareTouched   []*conn
	timer          *time.Timer
	now            int64 // unix nanoseconds, as of the last wait
	ticks          int
	nextTick       time.Time
}

// conn is one connection of an event loop.
type conn struct {
	fd      int
	session *Session
	in      []byte // input that could not be used yet
	out     []byte // replies the socket would not take yet
	reads   bool   // registered for reading
	writes  bool   // registered for writing
	listed  bool   // in touched
	closed  bool
	eof     bool

	lastRead  int64 // unix nanoseconds
	lastWrite int64 // of progress in sending, or of the start of waiting for it
}

func newEventLoop(srv *Server) (*eventLoop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	l := &eventLoop{
		srv: srv, epfd: epfd, wakefd: wakefd, conns: map[int]*conn{}, runner: srv.newRunner(), stripe: srv.nextStripe.Add(1),
		counts: make([]atomic.Int64, len(srv.table.All())), buf: make([]byte, 2*readChunk), events: make([]unix.EpollEvent, maxEvents),
		signal: make(chan struct{}, 1), timer: time.NewTimer(time.Hour),
	}
	l.timer.Stop()
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wakefd)}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wakefd, &ev); err != nil {
		unix.Close(epfd)
		unix.Close(wakefd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return l, nil
}

func (l *eventLoop) commandRunner() *commands.Runner { return l.runner }
func (l *eventLoop) calls() []atomic.Int64           { return l.counts }
func (l *eventLoop) submitted()                      { l.flush = true }

func (l *eventLoop) joins(serial uint64) bool {
	if l.serial == serial {
		return false
	}
	l.serial = serial
	l.waiting++
	return true
}

func (l *eventLoop) complete(b *batch) {
	l.mu.Lock()
	l.completed = append(l.completed, b)
	l.wake(true)
	l.mu.Unlock()
}

func (l *eventLoop) post(fn func()) { l.tryPost(fn) }

// tryPost is post, and reports false if the loop has ended.
func (l *eventLoop) tryPost(fn func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.posted = append(l.posted, fn)
	l.wake(false)
	return true
}

// wake raises the loop from wherever it waits; only a completion ends the inline wait. mu is held.
func (l *eventLoop) wake(completion bool) {
	if l.inline {
		if completion {
			select {
			case l.signal <- struct{}{}:
			default:
			}
		}
		return
	}
	if !l.awake && !l.ended {
		l.awake = true
		one := [8]byte{1}
		_, _ = unix.Write(l.wakefd, one[:]) // a full counter is as good as a raised one
	}
}

// run is the loop; it returns when the server has stopped.
func (l *eventLoop) run() {
	l.nextTick = time.Now().Add(loopTick)
	defer l.end()
	for !l.srv.stopped.Load() {
		if !l.once() {
			return
		}
		if now := time.Now(); !now.Before(l.nextTick) {
			l.nextTick = now.Add(loopTick)
			l.tick(now)
			l.turn()
		}
	}
	// What is complete by now is answered, and clients get some time to take it.
	end := time.Now().Add(lingerTime)
	for l.more = true; (l.more || l.unsent()) && time.Now().Before(end); {
		l.nextTick = time.Now().Add(10 * time.Millisecond)
		if !l.once() {
			return
		}
	}
}

// once looks at the sockets and does what is due.
func (l *eventLoop) once() bool {
	n, err := l.poll()
	if err != nil {
		l.srv.fail(fmt.Errorf("epoll_wait: %w", err))
		return false
	}
	l.now = time.Now().UnixNano()
	for i := range n {
		l.handle(&l.events[i])
	}
	l.turn()
	return true
}

func (l *eventLoop) unsent() bool {
	for _, c := range l.conns {
		if len(c.out) > 0 {
			return true
		}
	}
	return false
}

// end closes everything. Connections that were handed over and not adopted are adopted, to be closed with the others.
func (l *eventLoop) end() {
	l.mu.Lock()
	l.ended = true
	unix.Close(l.wakefd)
	l.mu.Unlock()
	l.takePosted()
	for _, c := range l.conns {
		l.closeConn(c, "shutdown")
	}
	unix.Close(l.epfd)
}

// poll waits for events. A first look without waiting avoids telling Go's scheduler about a system call that would
// return at once.
func (l *eventLoop) poll() (int, error) {
	n, err := epollNow(l.epfd, l.events)
	if n == 0 && err == nil && !l.more {
		wait := time.Until(l.nextTick)
		n, err = unix.EpollWait(l.epfd, l.events, int(max(wait, 0)/time.Millisecond)+1)
	}
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return n, err
}

func (l *eventLoop) handle(ev *unix.EpollEvent) {
	fd := int(ev.Fd)
	if fd == l.wakefd {
		var drop [8]byte
		_, _ = unix.Read(fd, drop[:])
		return
	}
	c := l.conns[fd]
	if c == nil {
		return
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		l.touch(c)
	}
	switch {
	case ev.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 && !c.mayRead():
		// Reported whatever the interests are: left alone, it would be reported for ever.
		l.closeConn(c, "reset by the client")
	case ev.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLRDHUP) != 0:
		l.read(c)
	}
}

// turn does what is due between two looks at the sockets.
func (l *eventLoop) turn() {
	l.more = false
	l.srv.answer(l.runner)
	for range turnRounds {
		l.sendTouched()
		if l.flush {
			l.flush = false
			l.srv.batcher.Flush()
		}
		worked := l.takePosted()
		if l.takeCompleted() {
			worked = true
		} else if !worked && l.waitsInPlace() && l.awaitCommit() {
			worked = l.takeCompleted()
		}
		if !worked && !l.flush && len(l.touched) == 0 {
			return
		}
	}
	l.more = true
}

// waitsInPlace reports whether the loop should wait for commits without looking at its sockets. Reading on meanwhile for
// the next batch was measured and gains nothing: the batches get smaller by as much.
func (l *eventLoop) waitsInPlace() bool {
	return l.waiting > 0 && !l.late && l.srv.group.SoleVoter()
}

// awaitCommit waits until a batch is complete, at most inlineWait.
func (l *eventLoop) awaitCommit() bool {
	l.mu.Lock()
	if len(l.completed) > 0 {
		l.mu.Unlock()
		return true
	}
	l.inline = true
	l.mu.Unlock()
	l.timer.Reset(inlineWait)
	select {
	case <-l.signal:
		l.timer.Stop()
	case <-l.timer.C:
	}
	l.mu.Lock()
	l.inline = false
	done := len(l.completed) > 0
	l.late = !done
	if len(l.posted) > 0 {
		l.wake(false)
	}
	select {
	case <-l.signal: // raised between the timeout and here
	default:
	}
	l.mu.Unlock()
	return done
}

func (l *eventLoop) takePosted() bool {
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.awake = false
	l.mu.Unlock()
	for _, fn := range posted {
		fn()
	}
	return len(posted) > 0
}

// takeCompleted takes the replies of complete batches and lets their sessions read on.
func (l *eventLoop) takeCompleted() bool {
	l.mu.Lock()
	batches := l.completed
	l.completed = l.spareCompleted[:0]
	l.mu.Unlock()
	l.spareCompleted = batches
	if len(batches) > 0 {
		l.late = false
	}
	for _, b := range batches {
		held := l.spareHeld[:0]
		for i := range b.Submissions() {
			sub := &b.Submissions()[i]
			s, ok := sub.Client.(*Session)
			if !ok || s.owner != owner(l) { // nobody waits for drains
				continue
			}
			s.finish(b, sub)
			if c := s.conn.(*conn); !c.closed {
				held = append(held, c)
			}
		}
		l.waiting--
		b.done()
		for _, c := range held {
			l.advance(c)
		}
		l.spareHeld = held
	}
	clear(batches)
	return len(batches) > 0
}

func (l *eventLoop) resume(s *Session) {
	if c := s.conn.(*conn); !c.closed {
		l.advance(c)
	}
}

// touch has the connection looked at before the loop waits again: replies sent, interests set.
func (l *eventLoop) touch(c *conn) {
	if !c.listed {
		c.listed = true
		l.touched = append(l.touched, c)
	}
}

// adopt makes an accepted socket a connection of this loop.
func (l *eventLoop) adopt(fd int, local, remote net.Addr, trusts bool) {
	c := &conn{fd: fd, reads: true, lastRead: time.Now().UnixNano()}
	s := newSession(l.srv, l, remote.String(), local.String(), trusts)
	s.conn, c.session = c, s
	l.srv.clients.add(s)
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		l.srv.clients.remove(s)
		unix.Close(fd)
		return
	}
	l.conns[fd] = c
}
