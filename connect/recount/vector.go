package recount

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// vector is how far all partitions were counted at one moment.
type vector struct {
	stored    map[string]quipu.Stored
	positions map[string]count.Position
	places    map[string]int64                // of positions, as numbers
	parked    map[string]map[count.Coord]bool // the records that are set aside
	mine      string                          // the position of the source that repairs are applied with
}

func (v *vector) names() []string { return slices.Sorted(maps.Keys(v.stored)) }

// value is what Quipu has under a key.
type value struct {
	exists   bool
	number   bool // it is a whole number of 64 bits
	n        int64
	deadline int64 // Unix milliseconds; 0: none
}

// staleLimit is how long a node may answer with what was before.
const staleLimit = 10 * time.Second

// snapshot reads positions and values in one transaction.
//
// A node whose read level is local may answer with an older state, in which a chunk that was just repaired is not repaired. It is asked again.
func (r *run) snapshot(ctx context.Context, keys []string) (*vector, []value, error) {
	for end := time.Now().Add(staleLimit); ; {
		v, values, err := r.read(ctx, r.Job.Quipu, keys)
		if err == nil {
			err = r.current(v)
		}
		if !errors.Is(err, errOld) || time.Now().After(end) {
			return v, values, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(staleLimit / 200):
		}
	}
}

// errOld is what is wrong with an answer that is older than what is known.
var errOld = errors.New("it has been set back, or another recount repairs at the same time")

// current refuses a vector that does not follow the one before.
func (r *run) current(v *vector) error {
	if r.repairer != nil && v.mine != r.repairer.position {
		return fmt.Errorf("the position of %s is %q: %w", r.repairer.source, v.mine, errOld)
	}
	if r.shadow == nil || r.shadow.at == nil {
		return nil
	}
	before := r.shadow.at
	if !slices.Equal(v.names(), before.names()) {
		return errors.New("the partitions are others by now; run it again")
	}
	for name, place := range v.places {
		if v.stored[name].Incarnation != before.stored[name].Incarnation || v.positions[name].Start != before.positions[name].Start {
			return fmt.Errorf("%s begins anew, with another log; run it again", name)
		}
		if place < before.places[name] {
			return fmt.Errorf("the position of %s is %d and was %d: %w", name, place, before.places[name], errOld)
		}
	}
	return nil
}

// read is snapshot for any Quipu, and whatever it answers.
func (r *run) read(ctx context.Context, from *quipu.Client, keys []string) (*vector, []value, error) {
	src := r.Job.Source
	lists := map[string]*redis.StringCmd{}
	var positions, mine *redis.Cmd
	var values []*redis.StringCmd
	var deadlines []*redis.Cmd
	_, err := from.Together(ctx, r.waiting, func(p redis.Pipeliner) {
		positions = p.Do(ctx, "INGEST", "LIST", "MATCH", src.Name+"/*")
		mine = p.Do(ctx, "INGEST", "POSITION", originOf(src.Name))
		for _, name := range r.names {
			if src.Park != "" {
				lists[name] = p.Get(ctx, count.ParkKey(src.Park, name))
			}
		}
		values, deadlines = values[:0], deadlines[:0]
		for _, key := range keys {
			values = append(values, p.Get(ctx, key))
			deadlines = append(deadlines, p.Do(ctx, "PEXPIRETIME", key))
		}
	})
	if err != nil {
		return nil, nil, err
	}
	v, err := r.vector(positions, lists)
	if err != nil {
		return nil, nil, err
	}
	if pair, err := mine.StringSlice(); err == nil && len(pair) == 2 {
		v.mine = pair[1]
	}
	list := make([]value, len(keys))
	for i := range keys {
		list[i] = readValue(values[i], deadlines[i])
	}
	return v, list, nil
}

// vector reads the answers about partitions.
func (r *run) vector(positions *redis.Cmd, lists map[string]*redis.StringCmd) (*vector, error) {
	v := &vector{
		stored: map[string]quipu.Stored{}, positions: map[string]count.Position{}, places: map[string]int64{},
		parked: map[string]map[count.Coord]bool{},
	}
	rows, err := positions.Slice()
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		cells, ok := row.([]any)
		if !ok || len(cells) != 3 {
			return nil, fmt.Errorf("INGEST LIST answers %v", row)
		}
		s := quipu.Stored{Name: fmt.Sprint(cells[0]), Incarnation: fmt.Sprint(cells[1]), Position: fmt.Sprint(cells[2])}
		p, err := count.ParsePosition(s.Position, r.Kind.Start)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		v.stored[s.Name], v.positions[s.Name], v.places[s.Name] = s, p, r.Kind.Place(&p)
		if list := lists[s.Name]; list != nil {
			v.parked[s.Name] = parked(list.Val(), s.Incarnation)
		}
	}
	return v, nil
}

// parked reads a list of records that are set aside.
func parked(text, incarnation string) map[count.Coord]bool {
	set := map[count.Coord]bool{}
	for line := range strings.Lines(text) {
		if c, of, ok := count.ParkedAt(line); ok && of == incarnation {
			set[c] = true
		}
	}
	return set
}

func readValue(text *redis.StringCmd, deadline *redis.Cmd) value {
	v := value{exists: !errors.Is(text.Err(), redis.Nil)}
	if text.Err() == nil {
		n, err := strconv.ParseInt(text.Val(), 10, 64)
		v.n, v.number = n, err == nil && strconv.FormatInt(n, 10) == text.Val()
	}
	if d, err := deadline.Int64(); err == nil && d > 0 { // below 0: it has none
		v.deadline = d
	}
	return v
}
