package quipu

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Transaction brings a source from one position to another, with all of its commands or not at all.
type Transaction struct {
	Source, Incarnation, From, To string

	// Commands queues the commands. It is called for each try, and does the same each time.
	Commands func(p redis.Pipeliner)
}

// Moved is the answer of a source that is not where a transaction begins: nothing of it was applied.
type Moved struct {
	Source, Incarnation, Position string // what is stored; empty: nothing
}

func (m *Moved) Error() string {
	return fmt.Sprintf("source %s is at %q of incarnation %q, somebody else has moved it", m.Source, m.Position, m.Incarnation)
}

// ErrNotTaken is the end of a transaction that Quipu will never take: there are too many sources, or it is too large.
var ErrNotTaken = errors.New("the transaction is refused as it is")

// errStale is Quipu's answer where the source is somewhere else.
var errStale = errors.New("stale")

// Apply applies a transaction exactly once, and goes on until it knows. With err == nil it is applied, and refused has the errors
// of those of its commands (by their order) that had no effect, such as an increment of a text. Errors: *Moved, ErrNotTaken, that of
// ctx, or an error of Quipu that no repetition mends. waiting, which may be nil, hears why it takes longer.
//
// After an answer that was lost, or an "outcome unknown", the stored position tells what happened. It may still be the old one
// while the transaction is on its way; then it is sent again, and whichever comes second finds the source moved, and changes nothing.
func (c *Client) Apply(ctx context.Context, t *Transaction, waiting func(error)) (refused map[int]error, err error) {
	doubt := false // an earlier try may have been applied
	for p := (pause{}); ; {
		refused, err = c.try(ctx, t)
		switch {
		case err == nil:
			return refused, nil
		case errors.Is(err, errStale):
			return nil, c.whereNow(ctx, t, doubt, waiting)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, ErrNotTaken) || !transient(err):
			return nil, err
		}
		doubt = doubt || !certain(err)
		if elsewhere(err) {
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

// whereNow is the outcome of a transaction that found its source somewhere else: nil, if it is where the transaction ends and an
// earlier try may have brought it there. What its commands answered then is lost.
func (c *Client) whereNow(ctx context.Context, t *Transaction, doubt bool, waiting func(error)) error {
	incarnation, position, _, err := c.Position(ctx, t.Source, waiting)
	if err != nil || doubt && position == t.To && incarnation == t.Incarnation {
		return err
	}
	return &Moved{Source: t.Source, Incarnation: incarnation, Position: position}
}

// certain reports whether an error says that nothing was applied.
func certain(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && firstWord(err) != "UNKNOWN"
}

func (c *Client) try(ctx context.Context, t *Transaction) (refused map[int]error, err error) {
	p := c.node().TxPipeline()
	p.Do(ctx, "INGEST", t.Source, t.Incarnation, t.From, t.To)
	t.Commands(p)
	replies, err := p.Exec(ctx)
	if err == nil {
		return nil, nil
	}
	if failed := notSent(replies, err); failed != nil {
		return nil, failed
	}
	if replies[0].Err() != nil { // INGEST stands for the whole
		return nil, t.explain(reason(replies))
	}
	for i, r := range replies[1:] {
		if err := r.Err(); err != nil && !errors.Is(err, redis.Nil) {
			if refused == nil {
				refused = map[int]error{}
			}
			refused[i] = err
		}
	}
	return refused, nil
}

// notSent is why a transaction was not even sent: there was no connection, because of what the server has answered to the password. Then the
// library has an error for the whole, and none for its commands, as if they had succeeded.
func notSent(replies []redis.Cmder, err error) error {
	if err == nil || slices.ContainsFunc(replies, func(r redis.Cmder) bool { return r.Err() != nil }) {
		return nil
	}
	return err
}

// reason is why a transaction was not applied: of an EXECABORT, the first command that was not even queued.
func reason(replies []redis.Cmder) error {
	for _, r := range replies {
		if err := r.Err(); err != nil && firstWord(err) != "EXECABORT" {
			return err
		}
	}
	return replies[0].Err()
}

// explain turns the error of a whole transaction into one of Apply's.
func (t *Transaction) explain(err error) error {
	switch firstWord(err) {
	case "STALE":
		return errStale
	case "MAXSOURCES":
		return fmt.Errorf("%w: %w", ErrNotTaken, err)
	}
	if strings.HasPrefix(err.Error(), "ERR ") {
		return fmt.Errorf("%w: %w", ErrNotTaken, err)
	}
	return err
}
