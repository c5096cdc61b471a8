package server

import (
	"cmp"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"quipu/engine"
	"quipu/protocol"
	"quipu/replica"
)

// A reader that asks again at once, whenever it has an answer, would be given a row or two a hundred thousand times a second, and with
// many keys take as much of the machine as those who count. So one that may wait (BLOCK) has to: after it has got everything there
// was, it is left alone for feedRest times as long as that took, up to feedRestMax, so that reading takes a fiftieth of the time.
//
// Where more than feedFree keys have changed it rests for longer, so that it is given no more than feedRate a second beyond them: most of
// what is incremented again meanwhile is one row then. With 1,000,000 random keys and half a second it was a row for each increment,
// and counting was at 0.6 of its speed (bench F2). It rests for no longer than feedRestLong, and only as long as its rows
// fit into half of the ring.
const (
	feedRest     = 50
	feedRestMin  = 5 * time.Millisecond   // in which more changes
	feedRestMax  = 500 * time.Millisecond // readers are not further behind, if no more than feedRate changes
	feedFree     = 50_000                 // rows that it may have at once: what it does with them is a part of the time between two passes
	feedRate     = 40_000                 // rows a second, of those beyond
	feedRestLong = 25 * time.Second
	feedCalm     = 30                    // rows in feedLook that are hardly anything,
	feedCalmLog  = 4 << 10               // and bytes of the log: some increments of keys that have a row already
	feedLook     = 50 * time.Millisecond // whether there are too many rows is looked at so often
)

// feedPace is how fast a connection reads the feed. It belongs to the session's loop.
type feedPace struct {
	bytes int           // of the last page
	spent time.Duration // on pages since it had everything
	since time.Time     // when it last had everything
	until time.Time     // when it may ask again, if not too much changes
}

// page notes a page that took some time; all says that the reader has everything there is.
func (p *feedPace) page(took time.Duration, all bool) {
	if p.spent += took; all {
		p.since = time.Now()
		p.until = p.since.Add(max(min(feedRest*p.spent, feedRestMax), feedRestMin))
		p.spent = 0
	}
}

// tooMany reports whether so many rows are more than a reader is to be given that had everything so long ago.
func tooMany(rows int64, ago time.Duration) bool {
	return ago < feedRestLong && rows > feedFree+int64(ago.Seconds()*feedRate)
}

// feedReader is one FEED READ.
type feedReader struct {
	s     *Session
	r     *replica.Replica
	wait  *blockedWait
	query feedQuery
	resp  int       // version of the protocol of its reply
	bytes int       // that the page may have
	since time.Time // it had everything then
	until time.Time // it rests; zero: it does not
	turn  time.Time // it waits for the budget of all readers

	looked  time.Time // by calm
	behind  int64     // rows then
	written uint64    // bytes of the log then
	at      atomic.Pointer[feedAt]
	looks   sync.Mutex // one at a time
}

// feedAt is how far a reader has come, perhaps without rows, and the stamp that belongs to that: 0 if it has not moved.
type feedAt struct {
	cursor engine.FeedCursor
	stamp  int64
}

// feedRead replies when there is anything to give, or its time is over. It is looked for on another goroutine.
func feedRead(s *Session, args [][]byte) bool {
	r, text := s.srv.feed()
	q := feedQuery{db: s.db}
	var c engine.FeedCursor
	if text == "" {
		c, text = s.srv.parseFeedCursor(r.Feed, string(args[2]))
	}
	if text == "" {
		text = parseFeedOptions(args[3:], &q, true)
	}
	if text != "" {
		s.replyError(text)
		return true
	}
	if s.awaitPending() {
		return false
	}
	reader := &feedReader{s: s, r: r, query: q, resp: s.out.V, bytes: s.feed.bytes}
	reader.at.Store(&feedAt{cursor: c})
	if q.block > 0 && c.Place == 0 {
		reader.since, reader.until = s.feed.since, s.feed.until
		reader.turn = time.Now().Add(s.srv.feedBudget.rest(time.Now()))
	}
	reader.wait = &blockedWait{reply: s.replyLater(waitBlocked), timeout: reader.empty}
	s.block(reader.wait, cmp.Or(q.block, feedBlockMax*time.Millisecond), func() { s.srv.tasks.run(func() { reader.look(true) }) })
	begin := func() {
		if !reader.look(q.block == 0) {
			s.srv.feedWaits.add(s.srv, reader)
		}
	}
	s.srv.tasks.run(func() { reader.afterRest(begin) })
	return true
}

// rests reports whether the reader is to be left alone. Not for event loops: it waits for the entry that is being executed.
func (r *feedReader) rests() bool {
	now, at := time.Now(), r.at.Load().cursor
	return (r.early(now) || tooMany(r.r.Feed.Behind(at), now.Sub(r.since))) && !r.r.Feed.Filling(at)
}

func (r *feedReader) early(now time.Time) bool { return now.Before(r.until) || now.Before(r.turn) }

// calm reports whether hardly anything has changed since it was called last, feedLook ago or more: many keys were loaded, and to wait
// for longer would not make their rows fewer. That there are hardly more rows is not enough: where each key that is counted has a row
// already, to read them now would have all of them get another one. Only afterRest calls it.
func (r *feedReader) calm(now time.Time) bool {
	if now.Sub(r.looked) < feedLook {
		return false
	}
	behind, written, first := r.behind, r.written, r.looked.IsZero()
	r.behind, r.written, r.looked = r.r.Feed.Behind(r.at.Load().cursor), r.r.Feed.Written(), now
	return !first && r.behind-behind <= feedCalm && r.written-written <= feedCalmLog
}

// afterRest calls begin, on this goroutine of the task pool or on another one.
func (r *feedReader) afterRest(begin func()) {
	if now := time.Now(); !r.rests() || !r.early(now) && r.calm(now) {
		begin()
		return
	}
	rest := min(max(time.Until(r.until), time.Until(r.turn), feedLook), feedRestMax)
	time.AfterFunc(rest, func() { r.s.srv.tasks.run(func() { r.afterRest(begin) }) })
}

// empty is the reply to CLIENT UNBLOCK.
func (r *feedReader) empty(w *protocol.Writer) {
	at := r.at.Load()
	newFeedRows(r.resp, 0).replyPage(w, r.s.srv.feedCursorText(at.cursor), at.stamp)
}

// replyPage is the reply to FEED READ. What stands before the rows is put into the room that newFeedRows has left for it: a page of
// 10,000 rows is 600 KB, and copying it into a fresh buffer took a tenth of the time of reading.
func (rows *feedRows) replyPage(w *protocol.Writer, cursor string, stamp int64) {
	head := protocol.Writer{V: w.V}
	head.Array(3)
	head.BulkString(cursor)
	head.Int(stamp)
	head.Array(rows.n)
	if begin := feedHead - len(head.B); begin >= 0 && len(w.B) == 0 {
		copy(rows.w.B[begin:], head.B)
		w.B = rows.w.B[begin:]
		return
	}
	w.Raw(head.B)
	w.Raw(rows.w.B[feedHead:])
}

// look replies, if there is anything to say or it is the last look, and reports whether the wait is over.
func (r *feedReader) look(last bool) (over bool) {
	r.looks.Lock()
	defer r.looks.Unlock()
	if r.s.blocked.Load() != r.wait {
		return true
	}
	srv, begun := r.s.srv, time.Now()
	if last && r.rests() { // BLOCK has ended before the rest
		r.s.unblock(r.wait, r.empty)
		return true
	}
	if text := srv.mayFollow(r.s.seen.user.Load()); text != "" { // any more
		r.s.unblock(r.wait, func(w *protocol.Writer) { w.Error(text) })
		return true
	}
	rows := newFeedRows(r.resp, r.bytes)
	srv.reading.RLock()
	at := r.at.Load()
	page := r.query.page(rows.add)
	if r.query.block > 0 && !last {
		page.Share = srv.feedShared()
	}
	next, stamp, err := r.r.Feed.Read(at.cursor, page)
	srv.reading.RUnlock()
	if errors.Is(err, engine.ErrFeedGap) {
		first := r.r.Feed.Stats().First
		r.s.unblock(r.wait, func(w *protocol.Writer) { w.Error(protocol.ErrFeedGap(first)) })
		return true
	}
	stamp = max(at.stamp, stamp)
	r.at.Store(&feedAt{next, stamp})
	if rows.n == 0 && !last && next.Place == 0 {
		return false
	}
	took := time.Since(begun)
	srv.feedBudget.spend(time.Now(), took, rows.n)
	r.s.unblock(r.wait, func(w *protocol.Writer) {
		r.s.feed.page(took, next.Place == 0)
		r.s.feed.bytes = len(rows.w.B)
		rows.replyPage(w, srv.feedCursorText(next), stamp)
	})
	return true
}

// feedWaits is all readers that wait: one goroutine looks after them, while there are any.
type feedWaits struct {
	mu      sync.Mutex
	list    []*feedReader
	added   chan struct{} // a reader is new; made with the goroutine, as the next two are
	end     chan struct{} // closed by stop
	ended   chan struct{} // closed when the goroutine ends; nil: there is none
	stopped bool
}

// feedTick is how often the goroutine looks whether anybody still waits.
const feedTick = 200 * time.Millisecond

func (l *feedWaits) add(srv *Server, r *feedReader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return // and the connection ends with the node
	}
	l.list = append(l.list, r)
	if l.ended == nil {
		l.added, l.end, l.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
		go l.serve(r.r.Feed, l.ended)
	}
	select {
	case l.added <- struct{}{}:
	default:
	}
}

// feedShared is for how long a mark that one reader made does for others: they see a change later by as much, and what changes has
// fewer rows. It grows with those who read, up to a second.
func (srv *Server) feedShared() int64 {
	srv.feedWaits.mu.Lock()
	readers := int64(len(srv.feedWaits.list))
	srv.feedWaits.mu.Unlock()
	return min(10*(readers+int64(srv.feedStreams.Load())), 1000)
}

// stop ends the goroutine: it must not use the keyspace any more.
func (l *feedWaits) stop() {
	l.mu.Lock()
	ended := l.ended
	if !l.stopped && ended != nil {
		close(l.end)
	}
	l.stopped = true
	l.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// serve has all readers look, whenever something has changed or one is new: what changed between its first look and the call of
// Await nobody would tell.
func (l *feedWaits) serve(f *engine.Feed, ended chan struct{}) {
	defer close(ended)
	for {
		changed := f.Await()
		if !l.look() {
			return
		}
		select {
		case <-changed:
		case <-l.added:
		case <-time.After(feedTick):
		case <-l.end:
			return
		}
		time.Sleep(feedRestMin) // so that those who wait are given more than the first change
	}
}

// look has all readers look, and keeps those whose wait goes on. It reports whether there are any.
func (l *feedWaits) look() bool {
	l.mu.Lock()
	list := l.list
	l.list = nil
	l.mu.Unlock()
	var left []*feedReader
	for _, r := range list {
		if !r.look(false) {
			left = append(left, r)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list = append(l.list, left...); len(l.list) == 0 && !l.stopped {
		l.ended = nil
	}
	return len(l.list) > 0
}
