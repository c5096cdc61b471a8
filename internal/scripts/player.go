package scripts

import (
	"errors"
	"fmt"
	"os"
	"time"

	"quipu/internal/redistest"
)

// replyTimeout bounds the wait for one reply; a script that waits in vain more than maxTimeouts times is given up.
const (
	replyTimeout = 20 * time.Second
	maxTimeouts  = 4
)

// What a step that got no reply shows in place of one.
const (
	renderedEOF     = "EOF"
	renderedTimeout = "TIMEOUT"
)

var errGivenUp = errors.New("no reply came too often: the rest of the script was not played")

// player plays one script on one server in one protocol.
type player struct {
	addr     string
	quipu    bool
	proto    int
	conns    map[string]*redistest.Conn
	timeouts int
}

func newPlayer(addr string, quipu bool, proto int) *player {
	return &player{addr: addr, quipu: quipu, proto: proto, conns: map[string]*redistest.Conn{}}
}

func (p *player) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

// play runs the steps in order and hands the rendering of each reply to got.
func (p *player) play(s *script, got func(st *step, rendering string)) error {
	defer p.close()
	for _, st := range s.order {
		if st.quipuOnly && !p.quipu {
			continue
		}
		if st.op == opSleep {
			time.Sleep(st.pause)
			continue
		}
		rendering, err := p.step(st)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", s.path, st.line, err)
		}
		if st.reads() {
			got(st, rendering)
		}
		if p.timeouts > maxTimeouts {
			return fmt.Errorf("%s:%d: %w", s.path, st.line, errGivenUp)
		}
	}
	return nil
}

func (p *player) step(st *step) (rendering string, err error) {
	c, err := p.conn(st.conn)
	if err != nil {
		return "", err
	}
	switch st.op {
	case opCall, opSend:
		err = c.SendCommand(st.args...)
	case opRaw:
		err = c.Send(st.raw)
	case opClose:
		delete(p.conns, st.conn)
		return "", c.Close()
	}
	// A server may close while the client still sends: the next read shows it.
	if err != nil && !redistest.IsClosed(err) {
		return "", err
	}
	if !st.reads() {
		return "", nil
	}
	raw, err := c.ReadRaw()
	switch {
	case err == nil:
		return render(raw, st.unordered), nil
	case redistest.IsClosed(err):
		rendering = renderedEOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.timeouts++
		rendering = renderedTimeout
	default:
		rendering = "RAW " + quote(string(raw)) + " (" + err.Error() + ")"
	}
	// What comes next needs a connection that is in step again.
	c.Close()
	delete(p.conns, st.conn)
	return rendering, nil
}

// conn is the connection of that name, opened and put into the player's protocol when it is new.
func (p *player) conn(name string) (*redistest.Conn, error) {
	if c := p.conns[name]; c != nil {
		return c, nil
	}
	c, err := redistest.Dial(p.addr)
	if err != nil {
		return nil, err
	}
	c.Timeout = replyTimeout
	p.conns[name] = c
	if p.proto == 3 {
		r, err := c.Do("HELLO", "3")
		if err != nil {
			return nil, fmt.Errorf("HELLO 3: %w", err)
		}
		if r.IsError() {
			return nil, fmt.Errorf("HELLO 3: %s", r.Text)
		}
	}
	return c, nil
}
