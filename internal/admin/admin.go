// Package admin does for an operator what `quipu cluster` offers: it asks the nodes of a running cluster, over the port for
// clients, and has them change who belongs to it. See docs/cluster.md.
package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cluster is how to reach a cluster.
type Cluster struct {
	Addresses []string // of nodes, for clients; the first that answers is asked
	User      string   // empty: the default user
	Password  string
	TLS       *tls.Config // nil: none
	Out       io.Writer   // what is done is told here
}

const (
	askLimit = 3 * time.Second  // for one answer
	workTime = 10 * time.Second // for a change of the cluster, which a node gives up after 8 s
	look     = 100 * time.Millisecond

	electionTime = 5 * time.Second // for a node to be elected, and to serve
)

func (c *Cluster) say(format string, args ...any) { fmt.Fprintf(c.Out, format+"\n", args...) }

// do sends one command to the node at an address.
func (c *Cluster) do(ctx context.Context, address string, limit time.Duration, args ...any) (any, error) {
	client := c.client(address, limit)
	defer client.Close()
	reply, err := client.Do(ctx, args...).Result()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return reply, nil
}

// client connects when it is used, and waits for limit for an answer.
func (c *Cluster) client(address string, limit time.Duration) *redis.Client {
	redis.SetLogger(silent{}) // what goes wrong is in the error
	return redis.NewClient(&redis.Options{
		Addr: address, Username: c.User, Password: c.Password, TLSConfig: c.TLS, MaxRetries: -1, DialerRetries: 1, DialTimeout: askLimit, ReadTimeout: limit, DisableIdentity: true,
	})
}

type silent struct{}

// Printf implements the client's logger.
func (silent) Printf(context.Context, string, ...any) {}

// onLeader sends one command to the node that leads, and returns what was known of the cluster then.
func (c *Cluster) onLeader(ctx context.Context, args ...any) (*Status, error) {
	for end := time.Now().Add(electionTime); ; {
		st, err := c.led(ctx)
		if err != nil {
			return st, err
		}
		_, err = c.do(ctx, st.Leader().Client, workTime, args...)
		if err == nil || !strings.Contains(err.Error(), "not the leader") || time.Now().After(end) {
			return st, err
		}
		time.Sleep(look) // another one is about to lead
	}
}

// led is the status once a node leads, for which it waits as long as an election may take.
func (c *Cluster) led(ctx context.Context) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, electionTime)
	defer cancel()
	st, err := c.await(ctx, "a node to lead", func(st *Status) bool { return st.Leader() != nil })
	if err != nil && st != nil {
		err = errNoLeader
	}
	return st, err
}

var errNoLeader = errors.New("no node leads: without a majority of the voters nothing can be changed (quipu cluster status; if they are lost for good, quipu recover)")

// Status asks the nodes for what they know, the one that leads last, as it knows most.
func (c *Cluster) Status(ctx context.Context) (*Status, error) {
	var errs []error
	for _, address := range c.Addresses {
		st, err := c.statusOf(ctx, address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if lead := st.Leader(); lead != nil && lead.ID != st.Answers && lead.Client != "" {
			better, err := c.statusOf(ctx, lead.Client)
			if err == nil {
				return better, nil
			}
			st.LeaderID = "" // the others have not noticed yet
		}
		return st, nil
	}
	return nil, fmt.Errorf("no node answers: %w", errors.Join(errs...))
}

func (c *Cluster) statusOf(ctx context.Context, address string) (*Status, error) {
	reply, err := c.do(ctx, address, askLimit, "CLUSTER", "STATUS")
	if err != nil {
		return nil, err
	}
	return readStatus(reply)
}

// await looks at the cluster until it is as wanted; what says what is waited for. The status is the last one, if there is any.
func (c *Cluster) await(ctx context.Context, what string, wanted func(st *Status) bool) (*Status, error) {
	last := ""
	var seen *Status
	for {
		st, err := c.Status(ctx)
		if err == nil {
			seen = st
		}
		switch {
		case err != nil:
			last = err.Error()
		case wanted(st):
			return st, nil
		default:
			_, reasons := st.Health()
			last = strings.Join(reasons, "; ")
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return seen, fmt.Errorf("waited in vain for %s: %s", what, last)
		}
	}
}

// find is the member whose ID begins with a prefix.
func (st *Status) find(prefix string) (found *Member, err error) {
	for i := range st.Members {
		m := &st.Members[i]
		if !strings.HasPrefix(m.ID, prefix) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("several nodes have an ID that begins with %q", prefix)
		}
		found = m
	}
	if found == nil || prefix == "" {
		return nil, fmt.Errorf("no member has an ID that begins with %q", prefix)
	}
	return found, nil
}

// Ping asks the first of the addresses whether it serves, and says so. A node that wants a password serves as well; one that
// still loads its data does not.
func (c *Cluster) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	_, err := c.do(ctx, c.Addresses[0], askLimit, "PING")
	switch {
	case err == nil:
		c.say("PONG")
	case strings.Contains(err.Error(), "NOAUTH"):
		c.say("PONG (it wants a password)")
	default:
		return err
	}
	return nil
}
