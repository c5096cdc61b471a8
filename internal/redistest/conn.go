package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// DefaultTimeout bounds every single send and read of a Conn. It is generous: it exists so that a server that
// hangs fails a test instead of the whole run.
const DefaultTimeout = 20 * time.Second

// maxReply bounds one raw reply, so that a server gone mad cannot take the test process's memory.
const maxReply = 256 << 20

// Conn is one client connection that shows the bytes as they are. It is for one goroutine that sends and one that reads.
type Conn struct {
	net.Conn
	Timeout time.Duration
	r       *bufio.Reader
}

// Dial connects to addr: host:port, or the path of a unix socket.
func Dial(addr string) (*Conn, error) {
	network := "tcp"
	if strings.Contains(addr, "/") {
		network = "unix"
	}
	nc, err := net.DialTimeout(network, addr, DefaultTimeout)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: nc, Timeout: DefaultTimeout, r: bufio.NewReaderSize(nc, 64<<10)}, nil
}

// Send writes raw bytes.
func (c *Conn) Send(raw []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	_, err := c.Write(raw)
	return err
}

// SendCommand writes one command as an array of bulk strings.
func (c *Conn) SendCommand(args ...string) error {
	return c.Send(AppendCommand(nil, args...))
}

// AppendCommand appends a command as an array of bulk strings.
func AppendCommand(b []byte, args ...string) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(args)), 10)
	b = append(b, "\r\n"...)
	for _, a := range args {
		b = append(b, '$')
		b = strconv.AppendInt(b, int64(len(a)), 10)
		b = append(b, "\r\n"...)
		b = append(b, a...)
		b = append(b, "\r\n"...)
	}
	return b
}

// ReadRaw reads exactly one reply (or push message) and returns its bytes as they came.
func (c *Conn) ReadRaw() ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
		return nil, err
	}
	return readRaw(c.r, nil, 0)
}

// ReadLine reads one line and returns it without its end: a reply, or the head of one, at a fraction of what Read costs. It is
// valid until the next read.
func (c *Conn) ReadLine() ([]byte, error) {
	if c.r.Buffered() == 0 {
		if err := c.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
			return nil, err
		}
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line, []byte("\r\n")), nil
}

// Read reads exactly one reply.
func (c *Conn) Read() (Reply, error) {
	raw, err := c.ReadRaw()
	if err != nil {
		return Reply{}, err
	}
	rep, _, err := ParseReply(raw)
	return rep, err
}

// Do sends one command and reads its reply. An error reply is a Reply, not an error.
func (c *Conn) Do(args ...string) (Reply, error) {
	if err := c.SendCommand(args...); err != nil {
		return Reply{}, err
	}
	return c.Read()
}

// Pipeline sends all commands in one write and reads all replies.
func (c *Conn) Pipeline(commands ...[]string) ([]Reply, error) {
	var b []byte
	for _, cmd := range commands {
		b = AppendCommand(b, cmd...)
	}
	if err := c.Send(b); err != nil {
		return nil, err
	}
	replies := make([]Reply, 0, len(commands))
	for range commands {
		rep, err := c.Read()
		if err != nil {
			return replies, err
		}
		replies = append(replies, rep)
	}
	return replies, nil
}

// ReadEOF succeeds when the server closes the connection within the timeout and sends nothing more before.
func (c *Conn) ReadEOF() error {
	if err := c.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	b, err := c.r.ReadByte()
	switch {
	case err == nil:
		_ = c.r.UnreadByte()
		rest, _ := c.r.Peek(c.r.Buffered())
		return fmt.Errorf("expected the connection to be closed, got %q (first byte %q)", rest, b)
	case IsClosed(err):
		return nil
	default:
		return err
	}
}

// IsClosed tells whether err means that the other side closed or reset the connection.
func IsClosed(err error) bool {
	if err == nil {
		return false
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return true
	}
	s := err.Error()
	return strings.Contains(s, "connection reset") || strings.Contains(s, "broken pipe")
}

// readRaw appends one reply to b. depth guards against replies nested without end.
func readRaw(r *bufio.Reader, b []byte, depth int) ([]byte, error) {
	if depth > 64 {
		return b, fmt.Errorf("reply nested deeper than 64")
	}
	line, err := r.ReadSlice('\n')
	if err != nil && err != bufio.ErrBufferFull {
		if err == io.EOF && len(line)+len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return b, err
	}
	start := len(b)
	b = append(b, line...)
	for err == bufio.ErrBufferFull {
		line, err = r.ReadSlice('\n')
		b = append(b, line...)
		if err != nil && err != bufio.ErrBufferFull {
			return b, err
		}
	}
	head := b[start:]
	if len(head) < 3 || head[len(head)-2] != '\r' {
		return b, fmt.Errorf("bad reply line %q", head)
	}
	switch head[0] {
	case '+', '-', ':', '_', '#', ',', '(':
		return b, nil
	}
	n, err := strconv.Atoi(string(head[1 : len(head)-2]))
	if err != nil || n < -1 || n > maxReply {
		return b, fmt.Errorf("bad reply header %q", head)
	}
	if n == -1 {
		return b, nil
	}
	switch head[0] {
	case '$', '=', '!':
		at := len(b)
		b = append(b, make([]byte, n+2)...)
		_, err := io.ReadFull(r, b[at:])
		return b, err
	case '*', '~', '>':
	case '%':
		n *= 2
	case '|':
		n = 2*n + 1
	default:
		return b, fmt.Errorf("unknown reply type %q", head)
	}
	for range n {
		if b, err = readRaw(r, b, depth+1); err != nil {
			return b, err
		}
	}
	return b, nil
}
