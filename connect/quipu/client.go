// Package quipu is the connector's side of Quipu: where a source is, and transactions that bring it from one position to
// another or change nothing (command INGEST), and the feed of changed keys (command FEED). Every call goes on until it knows: through another node, after a new leader,
// when the disk has room again. What cannot be known, because an answer was lost, is looked up.
package quipu

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Client reaches one or several nodes of Quipu. Any node takes any command; when one does not answer, the next is asked. It may
// be used by any number of goroutines.
type Client struct {
	access Access
	nodes  []*redis.Client
	now    atomic.Uint32 // the node in use, modulo their number
}

const (
	dialLimit   = 2 * time.Second
	answerLimit = 10 * time.Second // longer than Quipu's own limit for a write (write-timeout, 5 s)
	firstPause  = 20 * time.Millisecond
	longPause   = time.Second
)

// Access is how a client comes in.
type Access struct {
	User     string      // "": the default user
	Password string      // "": none; then User is not looked at
	TLS      *tls.Config // nil: without TLS. Without a ServerName, certificates have to be for the hosts of the addresses
}

// New returns a client of nodes, each "host:port". It connects when it is first used. What it sends by itself is HELLO, which every
// user may.
func New(nodes []string, by Access) *Client {
	logging.Disable() // of the library; what goes wrong is in the errors
	c := &Client{access: by}
	for _, address := range nodes {
		c.nodes = append(c.nodes, redis.NewClient(&redis.Options{
			Addr: address, Username: by.User, Password: by.Password, TLSConfig: by.TLS,
			MaxRetries: -1, DialerRetries: 1, DialTimeout: dialLimit, ReadTimeout: answerLimit, ContextTimeoutEnabled: true,
			DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}))
	}
	return c
}

// Close closes the connections.
func (c *Client) Close() {
	for _, n := range c.nodes {
		n.Close()
	}
}

// Position is the incarnation and the position of a source; found is false where nothing is stored. It goes on until a node
// answers; waiting, which may be nil, hears why not yet. The only error is that of ctx.
func (c *Client) Position(ctx context.Context, source string, waiting func(error)) (incarnation, position string, found bool, err error) {
	reply, err := c.until(ctx, waiting, "INGEST", "POSITION", source)
	if err != nil {
		return "", "", false, err
	}
	pair, ok := reply.([]any)
	if !ok || len(pair) != 2 {
		return "", "", false, nil
	}
	return fmt.Sprint(pair[0]), fmt.Sprint(pair[1]), true, nil
}

// Stored is what Quipu stores of one source.
type Stored struct{ Name, Incarnation, Position string }

// List returns all sources whose names match a pattern (as in KEYS), in the order of their names. It goes on until a node answers.
func (c *Client) List(ctx context.Context, pattern string, waiting func(error)) ([]Stored, error) {
	reply, err := c.until(ctx, waiting, "INGEST", "LIST", "MATCH", pattern)
	if err != nil {
		return nil, err
	}
	var list []Stored
	rows, _ := reply.([]any)
	for _, row := range rows {
		if cells, ok := row.([]any); ok && len(cells) == 3 {
			list = append(list, Stored{fmt.Sprint(cells[0]), fmt.Sprint(cells[1]), fmt.Sprint(cells[2])})
		}
	}
	return list, nil
}

// Length is the length in bytes of a text, 0 where there is none. It goes on until a node answers.
func (c *Client) Length(ctx context.Context, key string, waiting func(error)) (int, error) {
	reply, err := c.until(ctx, waiting, "STRLEN", key)
	n, _ := reply.(int64)
	return int(n), err
}

// Do sends one command once, to the node in use. For what may be lost or done twice.
func (c *Client) Do(ctx context.Context, args ...any) (any, error) {
	reply, err := c.node().Do(ctx, args...).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil && elsewhere(err) {
		c.next()
	}
	return reply, err
}

// Together reads in one transaction, so that all answers are of the same moment. commands queues what is read, and does the same each
// time; an answer may be redis.Nil, or that a key holds something else. It goes on until a node answers; waiting, which may be nil, hears why
// not yet.
func (c *Client) Together(ctx context.Context, waiting func(error), commands func(p redis.Pipeliner)) ([]redis.Cmder, error) {
	for p := (pause{}); ; {
		pipe := c.node().TxPipeline()
		commands(pipe)
		replies, err := pipe.Exec(ctx)
		if err = notSent(replies, err); err == nil {
			err = unread(replies)
		}
		switch {
		case err == nil:
			return replies, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !transient(err):
			return nil, err
		case elsewhere(err):
			c.next()
		}
		if waiting != nil {
			waiting(err)
		}
		if err := p.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// unread is why a transaction of reads was not carried out; nil: it was.
func unread(replies []redis.Cmder) error {
	for _, r := range replies {
		err := r.Err()
		if err != nil && !errors.Is(err, redis.Nil) && firstWord(err) != "WRONGTYPE" && firstWord(err) != "EXECABORT" {
			return err
		}
	}
	return nil
}

// Scan tells of all keys that match a pattern (as in KEYS), and exist all the while; of some it tells twice. It goes on until it knows all of
// them: where the node in use fails, it begins again.
func (c *Client) Scan(ctx context.Context, pattern string, waiting func(error), each func(key string)) error {
	for cursor := "0"; ; {
		reply, err := c.Do(ctx, "SCAN", cursor, "MATCH", pattern, "COUNT", scanKeys)
		if err != nil {
			if ctx.Err() != nil || !transient(err) {
				return errors.Join(err, ctx.Err())
			}
			if reply, err = c.until(ctx, waiting, "SCAN", "0", "MATCH", pattern, "COUNT", scanKeys); err != nil {
				return err // a cursor of another node means nothing here
			}
		}
		pair, ok := reply.([]any)
		if !ok || len(pair) != 2 {
			return fmt.Errorf("SCAN answers %v", reply)
		}
		keys, _ := pair[1].([]any)
		for _, key := range keys {
			each(fmt.Sprint(key))
		}
		if cursor = fmt.Sprint(pair[0]); cursor == "0" {
			return nil
		}
	}
}

// scanKeys is how many keys a node looks at in one step of a scan.
const scanKeys = 1000

// Watched changes one key as Redis's optimistic transactions do: change is given its text ("" where it does not exist) and
// queues what is to be done if nobody else changes the key meanwhile. On an error it is not known whether it was done.
func (c *Client) Watched(ctx context.Context, key string, change func(text string, p redis.Pipeliner) error) error {
	return c.node().Watch(ctx, func(tx *redis.Tx) error {
		text, err := tx.Get(ctx, key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return change(text, p) })
		return err
	}, key)
}

// until sends a command that changes nothing until a node answers it.
func (c *Client) until(ctx context.Context, waiting func(error), args ...any) (any, error) {
	for p := (pause{}); ; {
		reply, err := c.Do(ctx, args...)
		if err == nil {
			return reply, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !transient(err) {
			return nil, err
		}
		if waiting != nil {
			waiting(err)
		}
		if err := p.wait(ctx); err != nil {
			return nil, err
		}
	}
}

func (c *Client) node() *redis.Client { return c.nodes[int(c.now.Load())%len(c.nodes)] }

func (c *Client) next() { c.now.Add(1) }

// elsewhere reports whether another node may do better: this one does not answer, or has no leader.
func elsewhere(err error) bool {
	var answer redis.Error
	return !errors.As(err, &answer) || firstWord(err) == "CLUSTERDOWN" || firstWord(err) == "LOADING" || firstWord(err) == "UNKNOWN"
}

// Lasting reports whether an answer of Quipu stays the same however often a command is sent: a wrong password, a command that it does
// not know.
func Lasting(err error) bool { return !transient(err) }

// transient reports whether the same command may succeed later. What remains are mistakes, such as a wrong password.
func transient(err error) bool {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return true
	}
	switch firstWord(err) {
	case "ERR", "WRONGPASS", "NOAUTH", "NOPERM", "WRONGTYPE", "DENIED", "NOPROTO", "GAP", "INCARNATION":
		return false
	}
	return true
}

func firstWord(err error) string {
	word, _, _ := strings.Cut(err.Error(), " ")
	return word
}

// pause grows from try to try.
type pause struct{ last time.Duration }

func (p *pause) wait(ctx context.Context) error {
	p.last = min(max(2*p.last, firstPause), longPause)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(p.last):
		return nil
	}
}
