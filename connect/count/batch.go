package count

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/connect/mapping"
)

// batch is consecutive records, added up.
type batch struct {
	tally   *mapping.Tally
	records int   // and markers
	last    Coord // of the last of them
	delta   Identity
	late    int64
	stop    error // nothing may follow

	parked      []string // lines about bad records
	parkedBytes int

	to     Position // where the transaction leads; set when it is made
	origin []int    // how many records each command stands for; set when it is made
}

func (p *Partition) newBatch() *batch { return &batch{tally: p.Program.NewTally()} }

func (b *batch) reset() {
	b.tally.Reset()
	*b = batch{tally: b.tally, origin: b.origin[:0]}
}

func (b *batch) full(p *Partition) bool {
	return b.stop != nil || b.records >= p.Most || b.tally.Bytes()+b.parkedBytes >= transactionBytes
}

// fill adds what is in the queue, as far as a transaction can hold it.
func (b *batch) fill(p *Partition) {
	now := time.Now() // for what is late
	for !b.full(p) {
		if len(p.rest) == 0 {
			if p.rest = p.take(); len(p.rest) == 0 {
				return
			}
		}
		r := &p.rest[0]
		if !b.add(p, r, now) {
			return
		}
		b.last = r.At
		b.records++
		p.rest = p.rest[1:]
	}
}

// add counts one record; false: it is a bad one, at which the partition stops.
func (b *batch) add(p *Partition, r *Record, now time.Time) bool {
	if r.Marker {
		b.delta.Invisible += r.Skipped
		b.delta.Markers++
		return true
	}
	counted, late, err := b.tally.Add(r.Value, now)
	switch {
	case err != nil:
		if b.stop = b.setAside(p, r, err); b.stop != nil {
			return false
		}
		b.delta.Parked++
	case counted:
		b.delta.Counted++
	default:
		b.delta.Filtered++
	}
	b.delta.Invisible += r.Skipped
	b.late += int64(late)
	return true
}

// What is kept of bad records: 1 MiB of lines for each partition, some 10,000.
const (
	parkLimit   = 1 << 20
	reasonLimit = 120 // bytes
)

// setAside keeps where a bad record is; an error if the partition has to stop instead.
func (b *batch) setAside(p *Partition, r *Record, why error) error {
	if p.Park == "" {
		return &BadRecord{p.Name, p.Where(r.At), why}
	}
	line := ParkLine(p.Incarnation, r.At, why)
	if p.parked+b.parkedBytes+len(line) > parkLimit {
		return &BadRecord{p.Name, p.Where(r.At), fmt.Errorf("%w (%w)", ErrParkFull, why)}
	}
	b.parked = append(b.parked, line)
	b.parkedBytes += len(line)
	return nil
}

// ParkLine is what is kept of a bad record, to be found again by quipu-connect retry.
func ParkLine(incarnation string, at Coord, why error) string {
	reason := strings.ToValidUTF8(strings.Join(strings.Fields(why.Error()), " "), "?")
	if len(reason) > reasonLimit {
		reason = strings.ToValidUTF8(reason[:reasonLimit], "") + "…"
	}
	return fmt.Sprintf("%d:%d:%d %s %s\n", at.A, at.B, at.C, incarnation, reason)
}

// ParkedAt reads a line that ParkLine wrote.
func ParkedAt(line string) (c Coord, incarnation string, ok bool) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return c, "", false
	}
	numbers := strings.Split(words[0], ":")
	if len(numbers) != 3 {
		return c, "", false
	}
	var n [3]int64
	for i, text := range numbers {
		var err error
		if n[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return c, "", false
		}
	}
	return Coord{A: n[0], B: n[1], C: int32(n[2])}, words[1], true
}

// parkKey is the key with the lines about bad records of the partition.
func (p *Partition) parkKey() string { return ParkKey(p.Park, p.Name) }

// ParkKey is the key with the lines about bad records of a partition "source/number", of the place that on-bad-record names.
func ParkKey(place, partition string) string {
	_, number, _ := strings.Cut(partition, "/")
	return place + "/" + number
}

// commands queues what the batch comes to.
func (b *batch) commands(p *Partition) func(redis.Pipeliner) {
	return func(pipe redis.Pipeliner) {
		b.origin = b.origin[:0]
		b.tally.Each(func(records int, args []any) {
			b.origin = append(b.origin, records)
			queue(pipe, args)
		})
		if len(b.parked) > 0 {
			b.origin = append(b.origin, 0)
			_ = pipe.Append(context.Background(), p.parkKey(), strings.Join(b.parked, ""))
		}
	}
}

// Queue queues all commands of a tally.
func Queue(pipe redis.Pipeliner, t *mapping.Tally) {
	t.Each(func(_ int, args []any) { queue(pipe, args) })
}

func queue(pipe redis.Pipeliner, args []any) {
	_ = pipe.Process(context.Background(), redis.NewCmd(context.Background(), args...))
}

// recordsOf is how many records stand behind the command at a place.
func (b *batch) recordsOf(i int) int {
	if i >= len(b.origin) {
		return 0
	}
	return b.origin[i]
}
