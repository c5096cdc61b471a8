package quipu

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// Refused is the error of Reach where no repetition helps: a node does not let the client in, or the client does not trust it.
type Refused struct {
	Node string
	Err  error
}

func (r *Refused) Error() string { return r.Node + ": " + r.Err.Error() }

func (r *Refused) Unwrap() error { return r.Err }

const (
	reachLimit = 5 * time.Second
	alertLimit = time.Second // for what a node says behind a handshake that it does not like
)

// Reach asks all nodes at once to let the client in, and returns when the first one has. The error is *Refused if none has and one has
// refused, else why a node does not answer.
//
// The other methods do not stop at certificates: a node whose certificate has expired is one that does not answer, until somebody mends it.
// At the beginning it is more likely that something was never right, and should be said.
func (c *Client) Reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	results := make(chan error, len(c.nodes))
	for _, node := range c.nodes {
		go func() { results <- c.knock(ctx, node) }()
	}
	var silent, refused error
	for range c.nodes {
		err := <-results
		var no *Refused
		switch {
		case err == nil:
			time.AfterFunc(reachLimit, cancel) // what the others answer is of no interest, but their connections may soon be
			return nil
		case errors.As(err, &no):
			refused = err
		default:
			silent = err
		}
	}
	cancel()
	if refused != nil {
		return refused
	}
	return silent
}

// knock connects to one node. Every user may send HELLO, and whatever comes back but a refusal says that the node has let the client in.
func (c *Client) knock(ctx context.Context, node *redis.Client) error {
	address := node.Options().Addr
	err := node.Do(ctx, "HELLO").Err()
	var answer redis.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer):
		switch firstWord(err) {
		case "WRONGPASS", "NOAUTH", "DENIED", "NOPROTO":
			return &Refused{address, answer}
		}
		return nil
	}
	if c.access.TLS != nil && !untrusted(err) {
		if why := c.handshake(ctx, address); why != nil {
			err = why
		}
	}
	switch {
	case untrusted(err):
		return &Refused{address, err}
	case c.access.TLS == nil && errors.Is(err, io.EOF):
		err = fmt.Errorf("it has closed the connection (does it speak TLS there?): %w", err)
	}
	return fmt.Errorf("%s: %w", address, err)
}

// handshake is why a node does not like the client's certificate; nil: not known. With TLS 1.3 it says so behind the client's part of the
// handshake, and a client that has sent something by then may learn only that the connection is gone.
func (c *Client) handshake(ctx context.Context, address string) error {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialLimit}, Config: c.access.TLS}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err = conn.SetReadDeadline(time.Now().Add(alertLimit)); err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if untrusted(err) {
		return err
	}
	return nil
}

// untrusted reports whether a handshake has failed because one side does not trust the other, or does not understand it.
func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert *net.OpError
	return errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &alert) && alert.Op == "remote error"
}
