package quipu

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Row is a key as the feed gives it: what it is after the entry Index of the log. Of two rows of a key the one with the higher
// index is newer.
type Row struct {
	Key      string
	Kind     string // counter, string, hll, uc, cms, topk; none: the key is absent; flush: see KindFlush
	Value    int64  // with IsNumber
	IsNumber bool
	Text     string // with IsText
	IsText   bool
	Deadline int64 // ms since 1970; 0: none
	Index    int64
}

// Kinds of rows that are not kinds of values.
const (
	KindNone  = "none"  // the key is absent
	KindFlush = "flush" // all keys whose rows have this index or a lower one are absent; Key is empty
)

// Cursor is how far a reader of the feed has come: it has every change up to an index of one incarnation. It is opaque but
// for the two; "" is none.
type Cursor string

// Incarnation is the identity of the data that the cursor is of.
func (c Cursor) Incarnation() string {
	incarnation, _, _ := strings.Cut(string(c), ":")
	return incarnation
}

// Index is the index of the log up to which the reader has everything; -1 where the cursor has none.
func (c Cursor) Index() int64 {
	_, rest, _ := strings.Cut(string(c), ":")
	text, _, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// inside reports whether the node that gave the cursor has more behind it already: it stands inside of what one call gives.
func (c Cursor) inside() bool { return strings.Contains(string(c), "/") }

// Page is an answer of the feed.
type Page struct {
	Cursor Cursor
	More   bool  // there is more already
	Stamp  int64 // log time at the cursor, ms since 1970: keys whose deadline is at or before it are absent; 0: what it was before
	Rows   []Row
}

// FeedInfo is what a node says of its feed.
type FeedInfo struct {
	Incarnation string
	Index       int64 // of the last entry that the node has applied
	Stamp       int64 // log time of the node, ms since 1970
	Behind      int64 // rows behind the cursor that was asked about, at most
}

// Answers of the feed to a reader that has to begin anew.
var (
	ErrGap         = errors.New("the feed does not reach back to the cursor")
	ErrIncarnation = errors.New("the cursor is of other data")
)

// ErrSweepLost is the end of a Sweep whose node does not answer any more. Another one may begin.
var ErrSweepLost = errors.New("the node that gave the snapshot is gone")

// FeedMost is the most rows that a page may have.
const FeedMost = 10_000

// Feed reads the changes behind a cursor: at most count rows of keys that match pattern; it waits for the first of them for
// block, at most. It goes on until a node answers; waiting, which may be nil, hears why not yet. Errors: ErrGap,
// ErrIncarnation, that of ctx, or one of Quipu that no repetition mends.
func (c *Client) Feed(ctx context.Context, from Cursor, pattern string, count int, block time.Duration, waiting func(error)) (*Page, error) {
	reply, err := c.until(ctx, waiting, "FEED", "READ", string(from), "MATCH", pattern, "COUNT", count, "BLOCK", block.Milliseconds())
	if err != nil {
		return nil, feedError(err)
	}
	cells, _ := reply.([]any)
	return readPage(cells)
}

func readPage(cells []any) (*Page, error) {
	if len(cells) != 3 {
		return nil, fmt.Errorf("FEED READ answers %.200v", cells)
	}
	return parsePage(cells)
}

func feedError(err error) error {
	switch firstWord(err) {
	case "GAP":
		return fmt.Errorf("%w: %w", ErrGap, err)
	case "INCARNATION":
		return fmt.Errorf("%w: %w", ErrIncarnation, err)
	}
	return err
}

// Sweep reads all keys that match a pattern, page by page, and what changes meanwhile. All of it comes over one connection, since a
// place in the keys of a node means nothing to another one, nor to the same one when it has been started again. (One that was given
// another state meanwhile would not know the place either. Feed shows that: it answers ErrGap.)
type Sweep struct {
	client  *Client
	node    uint32
	conn    *redis.Conn
	pattern string
	place   string
}

// Sweep begins to read all keys that match a pattern, from the node in use.
func (c *Client) Sweep(pattern string) *Sweep {
	node := c.now.Load()
	return &Sweep{client: c, node: node, conn: c.nodes[int(node)%len(c.nodes)].Conn(), pattern: pattern, place: "0"}
}

// Close gives the connection back.
func (s *Sweep) Close() { s.conn.Close() }

// do sends a command once. Every error that another sweep may not have is ErrSweepLost.
func (s *Sweep) do(ctx context.Context, args ...any) ([]any, error) {
	reply, err := s.conn.Do(ctx, args...).Slice()
	switch {
	case err == nil:
		return reply, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case transient(err):
		s.client.now.CompareAndSwap(s.node, s.node+1)
		return nil, fmt.Errorf("%w: %w", ErrSweepLost, err)
	}
	return nil, feedError(err)
}

// Feed reads the changes behind a cursor, of the node that the sweep is of, without waiting for any. Errors: as of Next, ErrGap, ErrIncarnation.
func (s *Sweep) Feed(ctx context.Context, from Cursor, count int) (*Page, error) {
	reply, err := s.do(ctx, "FEED", "READ", string(from), "MATCH", s.pattern, "COUNT", count)
	if err != nil {
		return nil, err
	}
	return readPage(reply)
}

// Next is the next page, with at most count rows, each what its key was at the page's cursor. more is false with the last page. Errors:
// ErrSweepLost, that of ctx, or one of Quipu that no repetition mends.
func (s *Sweep) Next(ctx context.Context, count int) (page *Page, more bool, err error) {
	reply, err := s.do(ctx, "FEED", "SNAPSHOT", s.place, "MATCH", s.pattern, "COUNT", count)
	if err != nil {
		return nil, false, err
	}
	if len(reply) != 4 {
		return nil, false, fmt.Errorf("FEED SNAPSHOT answers %.200v", reply)
	}
	if page, err = parsePage(reply[1:]); err != nil {
		return nil, false, err
	}
	s.place = fmt.Sprint(reply[0])
	return page, s.place != "0", nil
}

// Feeds asks all nodes for their feeds; the node that has applied most is used from now on. A node that does not answer is
// missing in the list, which has len(nodes) elements only if everybody was heard. The error is that of ctx, or what all nodes answered.
func (c *Client) Feeds(ctx context.Context) (list []FeedInfo, all bool, err error) {
	best := int64(-1)
	first := c.now.Load()
	for i := range uint32(len(c.nodes)) {
		reply, failed := c.nodes[int(first+i)%len(c.nodes)].Do(ctx, "FEED", "INFO").Result()
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		if failed != nil {
			err = failed
			continue
		}
		info := parseInfo(reply)
		if list = append(list, info); info.Index > best { // of equals, the one in use
			best = info.Index
			c.now.Store(first + i)
		}
	}
	if len(list) > 0 {
		err = nil
	}
	return list, len(list) == len(c.nodes), err
}

// FeedInfo asks the node in use for its feed, and how much of it is behind a cursor. It goes on until a node answers.
func (c *Client) FeedInfo(ctx context.Context, at Cursor) (FeedInfo, error) {
	reply, err := c.until(ctx, nil, "FEED", "INFO", string(at))
	if err != nil {
		return FeedInfo{}, feedError(err)
	}
	return parseInfo(reply), nil
}

// parseInfo reads a map, or the names and values of one.
func parseInfo(reply any) (info FeedInfo) {
	take := func(name, value any) {
		number, _ := strconv.ParseInt(fmt.Sprint(value), 10, 64)
		switch name {
		case "incarnation":
			info.Incarnation = fmt.Sprint(value)
		case "index":
			info.Index = number
		case "stamp":
			info.Stamp = number
		case "behind":
			info.Behind = number
		}
	}
	switch cells := reply.(type) {
	case map[any]any:
		for name, value := range cells {
			take(name, value)
		}
	case []any:
		for pair := range slices.Chunk(cells, 2) {
			if len(pair) == 2 {
				take(pair[0], pair[1])
			}
		}
	}
	return info
}

// parsePage reads cursor, stamp and rows.
func parsePage(cells []any) (*Page, error) {
	cursor, ok1 := cells[0].(string)
	stamp, ok2 := cells[1].(int64)
	rows, ok3 := cells[2].([]any)
	p := &Page{Cursor: Cursor(cursor), More: Cursor(cursor).inside(), Stamp: stamp, Rows: make([]Row, len(rows))}
	if !ok1 || !ok2 || !ok3 || p.Cursor.Index() < 0 {
		return nil, fmt.Errorf("the feed answers %.200v", cells)
	}
	for i, r := range rows {
		if !p.Rows[i].parse(r) {
			return nil, fmt.Errorf("a row of the feed is %.200v", r)
		}
	}
	return p, nil
}

func (r *Row) parse(reply any) bool {
	cells, ok := reply.([]any)
	if !ok || len(cells) != 5 {
		return false
	}
	var oks [4]bool
	r.Key, oks[0] = cells[0].(string)
	r.Kind, oks[1] = cells[1].(string)
	r.Deadline, oks[2] = cells[3].(int64)
	r.Index, oks[3] = cells[4].(int64)
	switch v := cells[2].(type) {
	case nil:
	case int64:
		r.Value, r.IsNumber = v, true
	case string:
		r.Text, r.IsText = v, true
	default:
		return false
	}
	return !slices.Contains(oks[:], false)
}
