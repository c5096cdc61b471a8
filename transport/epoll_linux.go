package transport

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// An event loop serves many connections on one goroutine. One turn of it:
//
//	wait for ready sockets
//	for each: read once, and process every whole command in what was read: the worker runs it, adds it to the burst
//	          or submits it
//	the worker carries out the burst (also whenever it is full, and before any other command)
//	send the replies of those with nothing submitted
//	the worker hands over what is submitted; where the worker allows it, wait for the commit here
//	the worker takes the replies to what is complete; its connections go on with the input left unread; send
//
// Waiting for the commit inside the loop saves two hand-overs between threads per commit, which cost more than the
// sync itself. The wait is bounded by inlineWait: behind a slow disk the loop goes back to its sockets, does not wait
// like that again, and the completion arrives as an event. What one turn does is bounded too, so that clients with much
// input waiting do not keep the loop from the others' sockets.
//
// Sockets are level-triggered. A connection that must not be read any more, because its Conn waits or has too
// much to do, loses its read interest until it may go on: the client then feels TCP's own backpressure.

const (
	inlineWait = 20 * time.Millisecond // longest wait for a commit before the loop returns to its sockets
	maxEvents  = 512
	turnInput  = 4 * ReadChunk // what is read in a turn, where it is shared
	minShare   = 4 << 10
	turnRounds = 4                      // commits, or bursts of one connection, between two looks at the sockets
	loopTick   = 200 * time.Millisecond // how often time limits are checked
	fullSweep  = 5                      // ticks between two sweeps over all connections
)

type eventLoop struct {
	t      *Transport
	worker Worker
	epfd   int
	wakefd int
	conns  map[int]*conn
	buf    []byte // read buffer, shared by the connections
	used   int    // bytes of buf that commands of the burst may point into
	share  int    // bytes that are read from each socket in this turn
	reads  int    // sockets that were read in this turn
	brief  int    // of them, those that had less than minShare
	events []unix.EpollEvent

	touched []*conn // connections with something to send at the end of the turn
	late    bool    // the commit has outlasted inlineWait: no more waiting for it in place
	more    bool    // the turn has left something to do

	mu        sync.Mutex // guards the fields below; a leaf
	posted    []func()
	completed bool // the worker has something to take
	inline    bool // the loop waits on signal, not in epoll
	awake     bool // wakefd was raised and the above not yet looked at
	ended     bool // nothing looks at the above any more, and wakefd is closed: its number may be another file's
	signal    chan struct{}

	spareTouched []*conn
	sealedIn     []byte // read buffer of what is to be opened
	sealedOut    []byte // spare buffer of what is to be sent
	timer        *time.Timer
	now          int64 // unix nanoseconds, as of the last wait
	ticks        int
	nextTick     time.Time
}

// conn is one connection of an event loop.
type conn struct {
	loop    *eventLoop
	fd      int
	side    Conn
	tls     *secured // nil: plain
	replies *[]byte  // the Conn's output
	in      []byte   // input that could not be used yet
	out     []byte   // replies the socket would not take yet; sealed with TLS
	reads   bool     // registered for reading
	writes  bool     // registered for writing
	listed  bool     // in touched
	closed  bool
	eof     bool

	lastRead  int64 // unix nanoseconds
	lastWrite int64 // of progress in sending, or of the start of waiting for it
}

func newEventLoop(t *Transport) (*eventLoop, error) {
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
		t: t, epfd: epfd, wakefd: wakefd, conns: map[int]*conn{}, buf: make([]byte, 2*ReadChunk), events: make([]unix.EpollEvent, maxEvents),
		signal: make(chan struct{}, 1), timer: time.NewTimer(time.Hour),
	}
	l.timer.Stop()
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wakefd)}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wakefd, &ev); err != nil {
		unix.Close(epfd)
		unix.Close(wakefd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l.worker = t.host.NewWorker(l, true)
	return l, nil
}

// Completed implements Loop.
func (l *eventLoop) Completed() {
	l.mu.Lock()
	l.completed = true
	l.wake(true)
	l.mu.Unlock()
}

// Post implements Loop.
func (l *eventLoop) Post(fn func()) { l.tryPost(fn) }

// tryPost is Post, and reports false if the loop has ended.
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

// run is the loop; it returns when the transport has stopped.
func (l *eventLoop) run() {
	l.nextTick = time.Now().Add(loopTick)
	defer l.end()
	for !l.t.stopping.Load() {
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
		l.t.host.Fail(fmt.Errorf("epoll_wait: %w", err))
		return false
	}
	l.now = time.Now().UnixNano()
	l.share = l.fairShare(n)
	for i := range n {
		l.handle(&l.events[i])
	}
	l.turn()
	return true
}

// fairShare is how many bytes to read from each of n sockets that are ready. Where some clients have little to say and others much, they
// share turnInput, and what is left comes with the next turns: when each was read ReadChunk, fifty clients that pipelined a million
// commands had the others wait for 25,000 a turn, and count at 0.55 of their speed. Where all have much to say, large reads are
// better for all: with 64 clients and pipelines of 1000, by a fifth.
func (l *eventLoop) fairShare(n int) int {
	mixed := l.brief*4 >= l.reads
	l.reads, l.brief = 0, 0
	if !mixed {
		return ReadChunk
	}
	return min(max(turnInput/max(n, 1), minShare), ReadChunk)
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
	l.takeMessages()
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
	l.worker.CarryOut()
	for range turnRounds {
		l.sendTouched()
		l.worker.Submit()
		worked := l.takeMessages()
		if !worked && l.waitsInPlace() && l.awaitCommit() {
			worked = l.takeMessages()
		}
		if !worked && len(l.touched) == 0 {
			return
		}
	}
	l.more = true
}

// waitsInPlace reports whether the loop should wait for commits without looking at its sockets. Reading on meanwhile for
// the next batch was measured and gains nothing: the batches get smaller by as much.
func (l *eventLoop) waitsInPlace() bool { return !l.late && l.worker.MayAwait() }

// awaitCommit waits until the worker has something to take, at most inlineWait.
func (l *eventLoop) awaitCommit() bool {
	l.mu.Lock()
	if l.completed {
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
	done := l.completed
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

// takeMessages runs what was posted and has the worker take what is complete. It reports whether there was anything.
func (l *eventLoop) takeMessages() bool {
	l.mu.Lock()
	posted, completed := l.posted, l.completed
	l.posted, l.completed, l.awake = nil, false, false
	l.mu.Unlock()
	for _, fn := range posted {
		fn()
	}
	if completed {
		l.late = false
		l.worker.TakeCompleted()
	}
	return len(posted) > 0 || completed
}

// Resume implements Link.
func (c *conn) Resume() {
	if !c.closed {
		c.loop.advance(c)
	}
}

// Interrupt implements Link: no write to this socket ever waits.
func (c *conn) Interrupt() {}

// touch has the connection looked at before the loop waits again: replies sent, interests set.
func (l *eventLoop) touch(c *conn) {
	if !c.listed {
		c.listed = true
		l.touched = append(l.touched, c)
	}
}

// adopt makes an accepted socket a connection of this loop.
func (l *eventLoop) adopt(fd int, tls *secured, peer Peer) {
	c := &conn{loop: l, fd: fd, tls: tls, reads: true, lastRead: time.Now().UnixNano()}
	c.side = l.worker.Accept(c, peer)
	c.replies = c.side.Output()
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		c.closed = true
		unix.Close(fd)
		c.side.Release("epoll_ctl: " + err.Error())
		return
	}
	l.conns[fd] = c
	if tls != nil {
		l.open(c, nil) // what came with the end of the handshake
		l.worker.CarryOut()
	}
}
