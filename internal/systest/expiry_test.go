package systest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"quipu/internal/redistest"
)

// clockSlack is how far a node's log time may be from this process's clock before a test calls it wrong.
const clockSlack = 2 * time.Second

// expiryWriter writes keys that expire, each once. It owns its database.
type expiryWriter struct {
	db   int
	rng  *rand.Rand
	seq  int
	keys map[string]*expiring
}

type expiring struct {
	low, high int64 // the deadline lies between these, ms since 1970
	acked     bool
	exact     int64 // deadline seen at an earlier restart; 0: none seen
}

func newExpiryWriter(db int, rng *rand.Rand) *expiryWriter {
	return &expiryWriter{db: db, rng: rng, keys: map[string]*expiring{}}
}

func (e *expiryWriter) load(c *redistest.Conn) error {
	if _, err := c.Do("SELECT", strconv.Itoa(e.db)); err != nil {
		return nil
	}
	for {
		e.seq++
		key := "ttl:" + strconv.Itoa(e.seq)
		life := []int64{30, 200, 1500, 3000, 3_600_000}[e.rng.IntN(5)]
		began := time.Now().UnixMilli()
		x := &expiring{low: began + life, high: began + life}
		var commands [][]string
		switch e.rng.IntN(3) {
		case 0:
			commands = [][]string{{"SET", key, "1", "PXAT", strconv.FormatInt(began+life, 10)}}
		case 1:
			commands = [][]string{{"PSETEX", key, strconv.FormatInt(life, 10), "1"}}
			x.low, x.high = x.low-clockSlack.Milliseconds(), began+life+clockSlack.Milliseconds()
		case 2:
			commands = [][]string{{"MULTI"}, {"INCR", key}, {"PEXPIREAT", key, strconv.FormatInt(began+life, 10)}, {"EXEC"}}
		}
		e.keys[key] = x
		replies, err := c.Pipeline(commands...)
		if err != nil {
			return brokenOr(err)
		}
		if last := replies[len(replies)-1]; last.IsError() || last.IsNull() {
			return fmt.Errorf("%q: %v", commands, last)
		}
		x.acked = true
	}
}

// verify checks each key: an acknowledged one is there with its deadline until then, and gone afterwards.
func (e *expiryWriter) verify(c *redistest.Conn) error {
	if _, err := c.Do("SELECT", strconv.Itoa(e.db)); err != nil {
		return err
	}
	var names []string
	for key := range e.keys {
		names = append(names, key)
	}
	before := time.Now()
	deadlines, err := readDeadlines(c, names)
	if err != nil {
		return err
	}
	after := time.Now()
	for i, at := range deadlines {
		key, x := names[i], e.keys[names[i]]
		switch {
		case at == 0:
			return fmt.Errorf("%s lost its deadline", key)
		case at == -2 && x.acked && x.low > after.Add(clockSlack).UnixMilli():
			return fmt.Errorf("%s was acknowledged, expires at %d, and is gone at %d", key, x.low, after.UnixMilli())
		case at == -2:
			delete(e.keys, key)
		case at < x.low || at > x.high || (x.exact != 0 && x.exact != at):
			return fmt.Errorf("%s expires at %d, expected %d to %d (seen before: %d)", key, at, x.low, x.high, x.exact)
		case x.high < before.Add(-clockSlack).UnixMilli():
			return fmt.Errorf("%s expired at %d and is still there at %d", key, at, before.UnixMilli())
		default:
			x.exact, x.acked = at, true
		}
	}
	return nil
}
