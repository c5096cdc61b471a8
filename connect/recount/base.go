package recount

import (
	"context"
	"fmt"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// beginning is where a recount begins: where counting of each partition began; or, with a base, where that one is, with the records that
// are set aside there. A partition that the base does not know was added since, and begins at its own beginning.
func (r *run) beginning(ctx context.Context, now *vector) (*vector, error) {
	first := &vector{
		stored: map[string]quipu.Stored{}, positions: map[string]count.Position{}, places: map[string]int64{},
		parked: map[string]map[count.Coord]bool{},
	}
	for name, p := range now.positions {
		first.stored[name] = now.stored[name]
		first.positions[name], first.places[name] = count.Position{At: fmt.Sprint(p.Start), Start: p.Start}, p.Start
	}
	if r.Base == nil {
		return first, nil
	}
	base, _, err := r.read(ctx, r.Base, nil)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	if len(base.stored) == 0 {
		return nil, fmt.Errorf("base: %w", errNothing)
	}
	for name, stored := range base.stored {
		switch {
		case stored.Incarnation != now.stored[name].Incarnation || base.positions[name].Start != now.positions[name].Start:
			return nil, fmt.Errorf("base: %s is of another log than the one that is counted now, or began elsewhere", name)
		case base.places[name] > now.places[name]:
			return nil, fmt.Errorf("base: %s is at %d, and Quipu at %d", name, base.places[name], now.places[name])
		}
		first.stored[name], first.positions[name], first.places[name] = stored, base.positions[name], base.places[name]
		first.parked[name] = base.parked[name]
	}
	return first, nil
}

// bases are the values that keys have in the base; nil: there is none. Nobody must count there.
func (r *run) bases(ctx context.Context, keys []string) ([]value, error) {
	if r.Base == nil {
		return nil, nil
	}
	v, values, err := r.read(ctx, r.Base, keys)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	for name, stored := range v.stored {
		if stored != r.first.stored[name] {
			return nil, fmt.Errorf("base: %s was at %q and is at %q: somebody counts there", name, r.first.stored[name].Position, stored.Position)
		}
	}
	return values, nil
}

// on adds what the base has under the key.
func (e *entry) on(base value) {
	switch {
	case !base.exists:
		return
	case !base.number:
		e.other = true
		return
	}
	e.increment(base.n, 1)
	if e.deadline == 0 {
		e.deadline = base.deadline
	}
}
