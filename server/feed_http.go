package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"quipu/acl"
	"quipu/commands"
	"quipu/engine"
	"quipu/internal/glob"
	"quipu/protocol"
)

// /feed is FEED as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), for EventSource in a browser:
//
//	GET /feed?match=likes:*&snapshot=1&interval=100
//
// Each event has rows and the cursor, which the browser sends back as Last-Event-ID when it connects again.

const (
	feedStreams   = 256              // at a time
	feedAlive     = 15 * time.Second // a comment is sent, so that nobody on the way takes the connection for dead
	feedInterval  = 100              // ms between events
	feedPrelude   = "retry: 500\n\n"
	feedEventRows = 1000
)

// feedEvent is the data of an event.
type feedEvent struct {
	Rows  []feedEventRow `json:"rows"`
	Stamp int64          `json:"stamp"`
}

// feedEventRow is a row. Value is a number, a string, or null.
type feedEventRow struct {
	Key      string `json:"key"`
	Kind     string `json:"kind"`
	Value    any    `json:"value"`
	Deadline int64  `json:"deadline"`
	Index    uint64 `json:"index"`
}

func (e *feedEvent) add(v engine.View, row engine.FeedRow) {
	item := commands.FeedItemOf(v, row)
	r := feedEventRow{Key: string(row.Key), Kind: item.Kind, Deadline: row.Value.Deadline, Index: row.Index}
	switch {
	case item.IsInt:
		r.Value = item.Value
	case item.Text != nil:
		r.Value = string(item.Text)
	}
	e.Rows = append(e.Rows, r)
}

// feedStream is one client of /feed.
type feedStream struct {
	srv      *Server
	user     *acl.Subject // as it was when the client connected
	feed     *engine.Feed
	w        http.ResponseWriter
	control  *http.ResponseController
	query    feedQuery
	interval time.Duration
	snapshot bool // send everything at the beginning, and after a gap
	cursor   engine.FeedCursor
	sent     time.Time
}

func (srv *Server) serveFeed(w http.ResponseWriter, r *http.Request) {
	if srv.feedStreams.Add(1) > feedStreams {
		srv.feedStreams.Add(-1)
		http.Error(w, "There are as many streams as a node has. Ask another node.", http.StatusServiceUnavailable)
		return
	}
	defer srv.feedStreams.Add(-1)
	replica, text := srv.feed()
	if text != "" {
		http.Error(w, text, http.StatusNotFound)
		return
	}
	user := userOf(r)
	if text := srv.mayFollow(user); text != "" {
		http.Error(w, text, http.StatusForbidden)
		return
	}
	s := &feedStream{srv: srv, user: user, feed: replica.Feed, w: w, control: http.NewResponseController(w), query: feedQuery{count: feedEventRows}}
	fresh, text := s.parse(r)
	if text != "" {
		http.Error(w, text, http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if s.write(feedPrelude) != nil || fresh && s.snapshot && s.sweep(r) != nil {
		return
	}
	s.follow(r)
}

// parse reads the query. fresh: the client has no cursor.
func (s *feedStream) parse(r *http.Request) (fresh bool, text string) {
	q := r.URL.Query()
	number := func(name string, def, low, high int) (n int) {
		n, err := strconv.Atoi(q.Get(name))
		switch {
		case q.Get(name) == "":
			return def
		case err != nil || n < low || n > high:
			text = fmt.Sprintf("%s is a number from %d to %d", name, low, high)
		}
		return n
	}
	s.query.db = number("db", 0, 0, s.srv.config().Databases-1)
	s.interval = time.Duration(number("interval", feedInterval, 10, 10_000)) * time.Millisecond
	s.snapshot = number("snapshot", 0, 0, 1) == 1
	if match := q.Get("match"); len(match) > glob.MaxPattern {
		text = protocol.ErrPatternTooLong
	} else if match != "" && match != "*" {
		s.query.pattern = []byte(match)
	}
	cursor := r.Header.Get("Last-Event-ID")
	if cursor == "" {
		cursor = q.Get("cursor")
	}
	if fresh = cursor == ""; fresh {
		cursor = "$"
	}
	if text != "" {
		return fresh, text
	}
	s.cursor, text = s.srv.parseFeedCursor(s.feed, cursor)
	return fresh, text
}

// sweep sends all keys, and sets the cursor to go on from.
func (s *feedStream) sweep(r *http.Request) error {
	begun := int64(0) // the stamp of the cursor
	for scan, first := uint64(0), true; first || scan != 0; first = false {
		if text := s.srv.mayFollow(s.user); text != "" {
			return errors.New(text)
		}
		var e feedEvent
		s.srv.reading.RLock()
		next, c, stamp := s.feed.Sweep(scan, s.query.page(e.add))
		s.srv.reading.RUnlock()
		if first {
			s.cursor, begun = c, stamp
		}
		scan, e.Stamp = next, begun
		if err := s.send(&e, ""); err != nil {
			return err
		}
		if r.Context().Err() != nil {
			return r.Context().Err()
		}
	}
	return s.send(&feedEvent{Stamp: begun}, s.srv.feedCursorText(s.cursor))
}

// follow sends what changes until the client goes, or the node stops.
func (s *feedStream) follow(r *http.Request) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for s.srv.mayFollow(s.user) == "" {
		var e feedEvent
		done := s.srv.streamBudget.turn(r.Context().Done())
		if done == nil {
			return
		}
		begun := time.Now()
		s.srv.reading.RLock()
		page := s.query.page(e.add)
		page.Share = s.srv.feedShared()
		next, stamp, err := s.feed.Read(s.cursor, page)
		s.srv.reading.RUnlock()
		s.srv.streamBudget.spend(time.Now(), 2*time.Since(begun), len(e.Rows)) // as JSON they take as long again
		done()
		switch {
		case errors.Is(err, engine.ErrFeedGap):
			err = s.gap(r)
		case len(e.Rows) > 0:
			s.cursor, e.Stamp = next, stamp
			err = s.send(&e, s.srv.feedCursorText(next))
		default:
			if s.cursor, err = next, nil; time.Since(s.sent) > feedAlive {
				err = s.write(":\n\n")
			}
		}
		if err != nil {
			return
		}
		if s.cursor.Place != 0 && r.Context().Err() == nil {
			continue // there is more
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// gap says that changes are lost to the client, and goes on from now, or with everything.
func (s *feedStream) gap(r *http.Request) error {
	if err := s.write("event: gap\ndata: {}\n\n"); err != nil {
		return err
	}
	if s.snapshot {
		return s.sweep(r)
	}
	s.cursor = engine.FeedCursor{Index: s.feed.Stats().Index}
	return nil
}

func (s *feedStream) send(e *feedEvent, id string) error {
	if e.Rows == nil {
		e.Rows = []feedEventRow{}
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return s.write(id + "data: " + string(data) + "\n\n")
}

// write fails if the client does not take it.
func (s *feedStream) write(text string) error {
	s.sent = time.Now()
	if err := s.control.SetWriteDeadline(s.sent.Add(httpWait)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
