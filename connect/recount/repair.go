package recount

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"

	"github.com/redis/go-redis/v9"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// originOf is the source of Quipu that repairs of a source are applied with. No source of a configuration has a colon in its name.
func originOf(source string) string { return "recount:" + source }

// incarnation of that source; its positions tell runs apart.
const incarnation = "repair"

// repairer applies repairs. Its position is "RUN CHUNK" with a word about what the chunk repaired.
type repairer struct {
	job      *count.Job
	source   string
	run      string // random
	position string // that is stored
	chunk    int
}

// newRepairer makes the position of the repairs its own: no transaction of another run is applied from then on.
func newRepairer(ctx context.Context, job *count.Job) (*repairer, error) {
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	r := &repairer{job: job, source: originOf(job.Source.Name), run: hex.EncodeToString(id)}
	_, stored, _, err := job.Quipu.Position(ctx, r.source, r.waiting)
	if err != nil {
		return nil, err
	}
	r.position = stored
	_, err = r.apply(ctx, fmt.Sprintf("%s 0", r.run), func(redis.Pipeliner) {})
	return r, err
}

func (r *repairer) waiting(err error) { r.job.Log.Warn("quipu does not answer", "error", err) }

// apply applies a transaction, once.
func (r *repairer) apply(ctx context.Context, to string, commands func(redis.Pipeliner)) (refused map[int]error, err error) {
	refused, err = r.job.Quipu.Apply(ctx, &quipu.Transaction{
		Source: r.source, Incarnation: incarnation, From: r.position, To: to, Commands: commands,
	}, r.waiting)
	var moved *quipu.Moved
	switch {
	case errors.As(err, &moved):
		return nil, fmt.Errorf("another recount repairs %s at the same time; this one ends, and has repaired nothing twice", r.job.Source.Name)
	case err != nil:
		return nil, err
	}
	r.position = to
	return refused, nil
}

// repair adds to each key what is missing: one transaction.
//
// A key that has a deadline gets it again, behind the increment: if it has expired since it was read, the increment makes it anew, and the
// deadline, which has passed, ends it at once.
func (r *repairer) repair(ctx context.Context, list []Difference, report *Report) error {
	var keys []Difference
	sum := new(big.Int)
	for _, d := range list {
		if d.repairable() {
			keys = append(keys, d)
			sum.Sub(sum, d.off())
		}
	}
	if len(keys) == 0 {
		return nil
	}
	r.chunk++
	var commandOf []int // the number of the increment of each key
	refused, err := r.apply(ctx, fmt.Sprintf("%s %d %d keys %+d", r.run, r.chunk, len(keys), sum), func(p redis.Pipeliner) {
		n := 0
		commandOf = commandOf[:0]
		for _, d := range keys {
			_ = p.IncrBy(ctx, d.Key, d.Recounted-d.Live)
			commandOf = append(commandOf, n)
			if n++; d.deadline != 0 {
				_ = p.Do(ctx, "PEXPIREAT", d.Key, d.deadline)
				n++
			}
		}
	})
	if err != nil {
		return err
	}
	for i := range keys {
		if refused[commandOf[i]] == nil {
			report.Repaired++
		}
	}
	return nil
}
