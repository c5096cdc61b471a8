package recount

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/mapping"
)

// entry is one key of the shadow.
type entry struct {
	key      string
	n        int64 // the sum of its increments
	deadline int64 // Unix milliseconds; 0: none
	records  int   // that have incremented it; 0: it is only known from Quipu
	other    bool  // other commands write it too, so it is no sum, or the sum does not fit into 64 bits
}

// shadow is what the records of a source come to, up to a vector.
type shadow struct {
	job    *count.Job
	fetch  func(ctx context.Context, job *count.Job, partition string, at []count.Coord, each func(count.Record)) error
	reader count.Reader
	tally  *mapping.Tally
	most   int
	part   uint32 // only keys of this part of parts are kept
	parts  uint32

	entries []entry
	numbers map[string]int32 // of entries, by key
	at      *vector          // up to where it is counted
	read    map[string]int64 // records of each partition
	bad     int64            // records that cannot be read, and are not set aside
	told    time.Time        // when progress was last logged
	err     error            // there are too many keys
}

func newShadow(o Options, reader count.Reader, part int) *shadow {
	return &shadow{
		job: o.Job, fetch: o.Kind.Fetch, reader: reader, tally: o.Job.Program.NewTally(), most: o.Keys,
		part: uint32(part), parts: uint32(o.Passes), numbers: map[string]int32{}, read: map[string]int64{}, told: time.Now(),
	}
}

// tallyBytes is how much is added up before it is brought into the shadow.
const tallyBytes = 4 << 20

// advance counts on, up to a vector.
//
// A record that is set aside at v is not in Quipu's values, and is left out. One that was set aside at the vector before, and is no more, was
// counted by quipu-connect retry, which takes it from the list in the same transaction: it is read again.
func (s *shadow) advance(ctx context.Context, v *vector) error {
	now := time.Now() // for what is late
	err := s.reader.ReadTo(ctx, v.places, func(partition string, r count.Record) {
		s.read[partition]++
		if !v.parked[partition][bare(r.At)] {
			s.add(r.Value, now)
		}
		s.progress()
	})
	if err == nil {
		err = s.retried(ctx, v, now)
	}
	s.flush()
	s.at = v
	if s.err != nil {
		return s.err
	}
	return err
}

// bare is the place of a record as it stands in the list of those that are set aside.
func bare(c count.Coord) count.Coord {
	c.Epoch = 0
	return c
}

// retried counts records that were set aside, and are no more.
func (s *shadow) retried(ctx context.Context, v *vector, now time.Time) error {
	for partition, before := range s.at.parked {
		var gone []count.Coord
		for c := range before {
			if !v.parked[partition][c] {
				gone = append(gone, c)
			}
		}
		if len(gone) == 0 {
			continue
		}
		if err := s.fetch(ctx, s.job, partition, gone, func(r count.Record) { s.add(r.Value, now) }); err != nil {
			return err
		}
	}
	return nil
}

// add counts a record. What is late by now was late before, or its key has expired by now.
func (s *shadow) add(value []byte, now time.Time) {
	if _, _, err := s.tally.Add(value, now); err != nil {
		s.bad++
	}
	if s.tally.Bytes() > tallyBytes {
		s.flush()
	}
}

// flush brings what is added up into the entries.
func (s *shadow) flush() {
	s.tally.Each(func(records int, args []any) {
		name, _ := args[0].(string)
		key, _ := args[1].(string)
		switch {
		case name == "INCRBY": // no other command is left as it is under this name
			if e := s.entry(key); e != nil {
				n, _ := args[2].(int64)
				e.increment(n, records)
			}
		case records == 0:
			if e := s.entry(key); e != nil {
				e.deadline, _ = args[2].(int64)
			}
		default:
			for _, key := range written(name, args[1:]) {
				if e := s.entry(key); e != nil {
					e.other = true
				}
			}
		}
	})
	s.tally.Reset()
}

func (e *entry) increment(n int64, records int) {
	sum := e.n + n
	if (e.n^sum)&(n^sum) < 0 {
		e.other = true
	}
	e.n = sum
	e.records += records
}

// written are the keys that a command writes.
func written(name string, args []any) (keys []string) {
	info, _ := config.LookupCommand(name)
	for i, arg := range args {
		text, isText := arg.(string)
		is := i == 0
		switch {
		case strings.HasSuffix(name, "MERGE"): // the others are read
		case info.Keys == config.TwoKeys:
			is = i < 2
		case info.Keys == config.AllKeys:
			is = true
		case info.Keys == config.KeysInPairs:
			is = i%2 == 0
		}
		if is && isText {
			keys = append(keys, text)
		}
	}
	return keys
}

// entry is the one of a key, a new one if there is none; nil: it is not of this pass, or there are too many.
func (s *shadow) entry(key string) *entry {
	if i, known := s.numbers[key]; known {
		return &s.entries[i]
	}
	if s.parts > 1 && crc32.ChecksumIEEE([]byte(key))%s.parts != s.part {
		return nil
	}
	if len(s.entries) >= s.most {
		s.err = fmt.Errorf("there are more than %d keys, which is the limit of what is kept in memory; -passes N reads the source N times, each time "+
			"for a part of the keys, or raise the limit with -keys", s.most)
		return nil
	}
	key = strings.Clone(key)
	s.numbers[key] = int32(len(s.entries))
	s.entries = append(s.entries, entry{key: key})
	return &s.entries[len(s.entries)-1]
}

// see notes a key that Quipu has.
func (s *shadow) see(key string) { s.entry(key) }

// progress logs how far a long reading is.
func (s *shadow) progress() {
	if all := s.total(); all%1000 == 0 && time.Since(s.told) >= tellTime {
		s.told = time.Now()
		s.job.Log.Info("recounting", "records", all, "keys", len(s.entries))
	}
}

const tellTime = 10 * time.Second

func (s *shadow) total() (n int64) {
	for _, read := range s.read {
		n += read
	}
	return n
}
