package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// RefusedError is the answer of a node that does not want the connection.
type RefusedError struct{ Address, Why string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the node at %s refuses the connection: %s", e.Address, e.Why)
}

// Dial connects to the node with ID target at an address, and returns what that node says of itself. An empty target is
// whoever has the address; it is not possible for ForRaft. The connection has no deadline. It is closed, and nil, after an error; the answer is there also
// after a *RefusedError.
func (cfg *Config) Dial(ctx context.Context, address string, purpose Purpose, target string) (net.Conn, Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	var network Network = tcp{}
	if cfg.Network != nil {
		network = cfg.Network
	}
	raw, err := network.Dial(ctx, address)
	if err != nil {
		return nil, Hello{}, err
	}
	end := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	defer end()
	c, answer, err := cfg.introduce(raw, purpose, target)
	if err == nil && answer.Refusal != "" {
		err = &RefusedError{address, answer.Refusal}
	}
	if err == nil && target != "" && answer.Sender != target {
		err = &RefusedError{address, fmt.Sprintf("it is node %s, not %s", answer.Sender, target)}
	}
	if err == nil && !end() {
		err = context.Cause(ctx) // the deadline is set, or about to be
	}
	if err != nil {
		c.Close()
		return nil, answer, err
	}
	return c, answer, nil
}

// introduce sends the hello and reads the answer. The connection is that to go on with, and to be closed.
func (cfg *Config) introduce(raw net.Conn, purpose Purpose, target string) (c net.Conn, answer Hello, err error) {
	c = raw
	if cfg.TLS != nil {
		c = tls.Client(raw, cfg.TLS())
	}
	h := cfg.Self()
	h.Purpose, h.Target = purpose, target
	if err := exchange(c, h); err != nil {
		return c, answer, err
	}
	answer, err = readHello(c)
	return c, answer, err
}
