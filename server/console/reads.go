package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Commands are all that the console sends, by their full names. None of them writes.
var Commands = []string{
	"hello", "select", "client|read", "client|no-touch",
	"info", "latency|histogram", "hotkeys", "acl|log", "ingest|list", "feed|info",
	"scan", "type", "pttl", "strlen", "get", "getrange", "pfcount", "uc.count", "cms.info", "topk.info", "topk.list",
}

const (
	commandLimit = 15 * time.Second // for the replies to what is sent at once

	// Of replies no more is kept than this; the rest is read and dropped.
	keptBytes    = 1 << 20 // of a string
	keptElements = 2048    // of an array
	mostDepth    = 8
	mostBytes    = 64 << 20 // of one reply: beyond it the connection is closed
)

// reply is a reply in RESP2.
type reply struct {
	Err   string // an error's text, else ""
	Text  []byte // of a string or a number
	Null  bool
	Elems []reply
	Count int // elements before any were dropped
}

func (r *reply) int() int64 {
	n, err := strconv.ParseInt(string(r.Text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

var errClosed = errors.New("the connection is closed")

// client is a client of the node. One goroutine uses it at a time.
type client struct {
	turn chan struct{} // holds a token while somebody uses the client
	conn net.Conn
	in   *bufio.Reader

	mu  sync.Mutex
	off bool
}

func newClient(conn net.Conn) *client {
	return &client{turn: make(chan struct{}, 1), conn: conn, in: bufio.NewReader(conn)}
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
	c.conn.Close()
}

func (c *client) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off
}

// alive reports whether the node has not closed the connection. Samples are shared: a login whose connection has ended must not
// see those that another one of the user has had made.
func (c *client) alive() bool {
	select {
	case c.turn <- struct{}{}:
		defer c.unlock()
	default:
		return !c.ended() // whoever uses it will see
	}
	_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // long ago: nothing is waited for
	_, err := c.in.Peek(1)
	_ = c.conn.SetReadDeadline(time.Time{})
	var late net.Error
	if errors.As(err, &late) && late.Timeout() && !c.ended() {
		return true
	}
	c.close()
	return false
}

// lock waits until nobody else uses the client.
func (c *client) lock(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *client) unlock() { <-c.turn }

// do sends commands, all at once, and returns their replies. After an error the client is closed: what arrives later could not be told
// from replies to other commands. The caller holds the turn.
func (c *client) do(ctx context.Context, commands ...[]string) ([]reply, error) {
	var out []byte
	for _, words := range commands {
		out = appendCommand(out, words)
	}
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	// The node answers while it is being sent to, and neither side has a buffer.
	sent := make(chan error, 1)
	go func() {
		_, err := c.conn.Write(out)
		sent <- err
	}()
	list := make([]reply, len(commands))
	var err error
	for i := range list {
		r := reader{c.in, mostBytes}
		if list[i], err = r.read(0); err != nil {
			c.close()
			break
		}
	}
	if failed := <-sent; err == nil {
		err = failed
	}
	switch {
	case err == nil:
		return list, nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case c.ended() && errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
		err = errClosed
	}
	c.close()
	return nil, err
}

// isRead reports whether a command is among Commands.
func isRead(words []string) bool {
	name := strings.ToLower(words[0])
	return slices.Contains(Commands, name) || len(words) > 1 && slices.Contains(Commands, name+"|"+strings.ToLower(words[1]))
}

func appendCommand(b []byte, words []string) []byte {
	if !isRead(words) {
		panic("BUG: the console has no command " + words[0])
	}
	b = fmt.Appendf(b, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b
}

// reader reads a reply of at most left bytes.
type reader struct {
	in   *bufio.Reader
	left int
}

var errNoReply = errors.New("that is no reply")

func (r *reader) read(depth int) (reply, error) {
	line, err := r.in.ReadSlice('\n')
	if err != nil {
		return reply{}, err
	}
	r.left -= len(line)
	if len(line) < 3 || depth > mostDepth || r.left < 0 {
		return reply{}, errNoReply
	}
	kind, rest := line[0], string(line[1:len(line)-2])
	switch kind {
	case '+', ':':
		return reply{Text: []byte(rest)}, nil
	case '-':
		return reply{Err: rest}, nil
	}
	n, err := strconv.Atoi(rest)
	switch {
	case err != nil || n < -1 || n > r.left || kind != '$' && kind != '*':
		return reply{}, errNoReply
	case n == -1:
		return reply{Null: true}, nil
	case kind == '$':
		return r.bulk(n)
	}
	list := reply{Count: n}
	for i := range n {
		e, err := r.read(depth + 1)
		if err != nil {
			return reply{}, err
		}
		if i < keptElements {
			list.Elems = append(list.Elems, e)
		}
	}
	return list, nil
}

// bulk reads n bytes and the end of their line.
func (r *reader) bulk(n int) (reply, error) {
	text := make([]byte, min(n, keptBytes))
	if _, err := io.ReadFull(r.in, text); err != nil {
		return reply{}, err
	}
	if _, err := r.in.Discard(n - len(text) + 2); err != nil {
		return reply{}, err
	}
	r.left -= n + 2
	return reply{Text: text}, nil
}

// appendPrintable appends what stands for the first rune of s, and returns the rest of s.
func appendPrintable(to interface{ WriteString(string) (int, error) }, s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) {
		for i := range n {
			_, _ = to.WriteString(fmt.Sprintf(`\x%02x`, s[i])) // a strings.Builder takes everything
		}
		return s[n:]
	}
	_, _ = to.WriteString(s[:n])
	return s[n:]
}
