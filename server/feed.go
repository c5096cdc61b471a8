package server

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"quipu/commands"
	"quipu/engine"
	"quipu/internal/glob"
	"quipu/protocol"
	"quipu/replica"
)

// FEED gives out which keys have changed, with their values. What a reader gets, and why it misses nothing, stands in engine/feed.go.

const (
	feedCount     = 1000 // rows of a page, unless the reader says how many
	feedCountMax  = 10_000
	feedPageBytes = 1 << 20 // of keys at which a page ends
	feedBlockMax  = 60_000  // ms
)

func feedHandler() handler {
	entry := func(flow func(s *Session, args [][]byte) bool, name string, arity int, flags commands.Flag, complexity, syntax, summary string) handler {
		return handler{run: feedInTransaction, flow: flow, entry: commands.Command{Name: name, Own: true, Arity: arity,
			Flags: commands.FlagReadonly | commands.FlagNoScript | commands.FlagNoMulti | flags, Categories: commands.CatKeyspace,
			Since: "0.3.0", Group: "generic", Complexity: complexity, Syntax: syntax, Summary: summary}}
	}
	return handler{
		entry: commands.Command{Name: "feed", Own: true, Arity: -2, Since: "0.3.0", Group: "generic", Complexity: "That of the subcommand", Summary: "Follow which keys change"},
		run:   missingSubcommand,
		subs: []handler{
			entry(feedRead, "read", -3, commands.FlagBlocking|commands.FlagAllKeys, "O(N) for N keys that have changed", "cursor [MATCH pattern] [COUNT count:integer] [BLOCK milliseconds:integer]", "Keys that have changed since a cursor, with their values"),
			entry(feedSnapshot, "snapshot", -3, commands.FlagAllKeys, "O(COUNT)", "position [MATCH pattern] [COUNT count:integer]", "All keys with their values, a few at a time, and where to read on"),
			entry(feedInfo, "info", -2, 0, "O(1)", "[cursor]", "How far the feed goes, and how many changes are behind a cursor"),
		},
	}
}

func feedInTransaction(_ *Session, _ [][]byte, w *protocol.Writer) { w.Error(protocol.ErrNotInMulti) }

// feedQuery is what a reader wants.
type feedQuery struct {
	db, count int
	pattern   []byte // nil: all keys
	block     time.Duration
}

// feed is the feed that a reader follows, or an error text.
func (srv *Server) feed() (*replica.Replica, string) {
	switch {
	case srv.config().FeedRing == 0:
		return nil, protocol.ErrNoFeed
	case len(srv.replicas) > 1:
		return nil, protocol.ErrFeedGroups // a cursor would be one index for each
	}
	return srv.replicas[0], ""
}

// parseFeedOptions reads what follows a cursor.
func parseFeedOptions(args [][]byte, q *feedQuery, canBlock bool) (text string) {
	q.count = feedCount
	for ; len(args) >= 2; args = args[2:] {
		word, value := commands.LowerWord(args[0]), args[1]
		if word == "match" {
			if len(value) > glob.MaxPattern {
				return protocol.ErrPatternTooLong
			}
			if q.pattern = bytes.Clone(value); string(value) == "*" {
				q.pattern = nil
			}
			continue
		}
		n, ok := protocol.ParseInt(value)
		switch {
		case !ok:
			return protocol.ErrNotInteger
		case word == "count" && n >= 1 && n <= feedCountMax:
			q.count = int(n)
		case word == "count":
			return protocol.ErrOutOfRangeBetween(1, feedCountMax)
		case word == "block" && canBlock && n >= 0 && n <= feedBlockMax:
			q.block = time.Duration(n) * time.Millisecond
		case word == "block" && canBlock:
			return protocol.ErrOutOfRangeBetween(0, feedBlockMax)
		default:
			return protocol.ErrSyntax
		}
	}
	if len(args) != 0 {
		return protocol.ErrSyntax
	}
	return ""
}

// feedCursorText is INCARNATION:INDEX, or INCARNATION:INDEX/PLACE.
func (srv *Server) feedCursorText(c engine.FeedCursor) string {
	text := srv.incarnation + ":" + strconv.FormatUint(c.Index, 10)
	if c.Place != 0 {
		text += "/" + strconv.FormatUint(c.Place, 36)
	}
	return text
}

// parseFeedCursor returns an error text for what is no cursor of this data. $ is where the feed is now.
func (srv *Server) parseFeedCursor(f *engine.Feed, word string) (c engine.FeedCursor, text string) {
	if word == "$" {
		return engine.FeedCursor{Index: f.Applied()}, ""
	}
	incarnation, at, ok := strings.Cut(word, ":")
	index, place, inside := strings.Cut(at, "/")
	var err, err2 error
	c.Index, err = strconv.ParseUint(index, 10, 64)
	if inside {
		c.Place, err2 = strconv.ParseUint(place, 36, 64)
	}
	switch {
	case !ok || err != nil || err2 != nil:
		return c, protocol.ErrFeedCursor
	case incarnation != srv.incarnation:
		return c, protocol.ErrFeedIncarnation(srv.incarnation)
	}
	return c, ""
}

// feedPage is the engine's form of a query; write is called with each row.
func (q *feedQuery) page(write func(v engine.View, row engine.FeedRow)) engine.FeedPage {
	p := engine.FeedPage{DB: q.db, Count: q.count, Bytes: feedPageBytes, Give: write}
	if q.pattern != nil {
		p.Match = func(key []byte) bool { return glob.Match(q.pattern, key, false) }
	}
	return p
}

// feedRows collects rows of a reply, behind room for what stands before them.
type feedRows struct {
	w protocol.Writer
	n int
}

// feedHead is how much room there is, in bytes.
const feedHead = 128

// newFeedRows is for rows of about so many bytes.
func newFeedRows(resp, bytes int) *feedRows {
	return &feedRows{w: protocol.Writer{V: resp, B: make([]byte, feedHead, feedHead+bytes)}}
}

func (r *feedRows) add(v engine.View, row engine.FeedRow) {
	commands.WriteFeedRow(&r.w, v, row)
	r.n++
}

func (r *feedRows) reply(w *protocol.Writer) {
	w.Array(r.n)
	w.Raw(r.w.B[feedHead:])
}

func feedSnapshot(s *Session, args [][]byte) bool {
	r, text := s.srv.feed()
	q := feedQuery{db: s.db}
	scan, err := strconv.ParseUint(string(args[2]), 10, 64)
	if text == "" && err != nil {
		text = protocol.ErrFeedPosition
	}
	if text == "" {
		text = parseFeedOptions(args[3:], &q, false)
	}
	if text != "" {
		s.replyError(text)
		return true
	}
	if s.awaitPending() {
		return false
	}
	reply := s.replyLater(waitTask)
	rows := newFeedRows(s.out.V, 0)
	s.srv.tasks.run(func() {
		s.srv.reading.RLock()
		next, c, stamp := r.Feed.Sweep(scan, q.page(rows.add))
		s.srv.reading.RUnlock()
		s.worker.loop.Post(func() {
			reply(func(w *protocol.Writer) {
				w.Array(4)
				w.BulkString(strconv.FormatUint(next, 10))
				w.BulkString(s.srv.feedCursorText(c))
				w.Int(stamp)
				rows.reply(w)
			})
		})
	})
	return true
}

func feedInfo(s *Session, args [][]byte) bool {
	r, text := s.srv.feed()
	var c engine.FeedCursor
	if text == "" && len(args) > 3 {
		text = protocol.ErrSyntax
	}
	if text == "" && len(args) == 3 {
		c, text = s.srv.parseFeedCursor(r.Feed, string(args[2]))
	}
	if text != "" {
		s.replyError(text)
		return true
	}
	if s.awaitPending() {
		return false
	}
	cursor := len(args) == 3
	s.replyFromTask(func(w *protocol.Writer) { s.srv.writeFeedInfo(w, r.Feed, cursor, c) })
	return true
}

// writeFeedInfo writes the reply to FEED INFO, with or without a cursor.
func (srv *Server) writeFeedInfo(w *protocol.Writer, f *engine.Feed, cursor bool, c engine.FeedCursor) {
	st, n := f.Stats(), 7
	if cursor {
		n++
	}
	w.Map(n)
	w.BulkString("incarnation")
	w.BulkString(srv.incarnation)
	for _, field := range []struct {
		name string
		n    int64
	}{
		{"index", int64(st.Index)}, {"stamp", st.Stamp}, {"first-index", int64(st.First)}, {"rows", st.Rows}, {"bytes", st.Bytes}, {"limit", st.Limit},
	} {
		w.BulkString(field.name)
		w.Int(field.n)
	}
	if cursor {
		w.BulkString("behind")
		w.Int(f.Behind(c))
	}
}
