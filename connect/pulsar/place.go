// Package pulsar counts the partitions of a topic of Pulsar.
//
// Of several connectors one reads a partition: the one whose exclusive consumer the broker accepts. How far it is counted is
// in Quipu. What is acknowledged says so to people, and keeps the broker from deleting the record that was counted last, by which
// the topic is known again (see mark); acknowledgements that get lost do no harm.
//
// # What is not trusted
//
// A consumer whose client connects again has handed out an entry without the one before it: the client empties its queue, and not all of
// that comes again. After Seek it leaves out, and acknowledges, the rest of the batch that it was about to hand out: seen each time
// with pulsar-client-go 0.19.0. A connector that counts on, and takes what is at or below its position for old, loses records that way.
// So:
//
//   - A consumer never connects again, and never goes on behind Seek. It is given up, and a new one begins at what Quipu stores.
//   - Of what a consumer hands out only that counts which follows what was counted last, see place.judge. Anything else is neither
//     counted nor acknowledged, and asked for again. A gap is believed when the same is missing again.
//
// # What cannot be seen
//
// Entries that the broker, or its client, hands out to nobody look like lost ones: the ends of Pulsar's transactions, the marks of
// replicated subscriptions, all but the last chunk of a message above 5 MB, messages without any content outside of a batch. A topic
// with them stops with a gap at each, or needs on-gap accept.
//
// A topic is spread over ledgers, and no ledger says which one comes before it. At the change from one to the next a reader is asked,
// which reads the topic by itself (see look). What is missing there for both of them is not noticed.
//
// A batch is unpacked by the client, to the size that its producer claims: there is no limit for that but the broker's trust in producers.
package pulsar

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"quipu/connect/count"
)

// spot is where a record is: in an entry of a ledger, which holds one record or a batch of them.
type spot struct {
	ledger, entry int64
	index, size   int32 // of the record in its entry, and how many records that has
	mark          int32 // see mark
}

// whole says that a place is behind all records of its entry.
const whole = -1

// place is where counting goes on: behind a record. As a text it is "ledger:entry@mark", or "ledger:entry:index@mark" where more
// records of the entry follow; without "@mark" where the record was not read.
type place struct {
	ledger, entry int64
	index         int32 // of the record in its entry; whole
	mark          int32 // of the record; 0: not known
}

// beginning is before all records; -1:-1 is also what Pulsar calls the earliest.
var beginning = place{-1, -1, whole, 0}

// mark tells a record from another one at the same place: ledgers are numbered by the cluster and never again, but a cluster
// that was set up anew begins at 0. It is the time when the record was sent, in milliseconds modulo 2^31.
func mark(sent time.Time) int32 { return max(1, int32(sent.UnixMilli()&math.MaxInt32)) }

// spotOf is where a message is; the time is zero for an ID alone.
func spotOf(id pulsar.MessageID, sent time.Time) spot {
	s := spot{ledger: id.LedgerID(), entry: id.EntryID(), index: max(0, id.BatchIdx()), size: max(1, id.BatchSize())}
	if !sent.IsZero() {
		s.mark = mark(sent)
	}
	return s
}

// behind is the place behind a record.
func (s spot) behind() place {
	p := place{s.ledger, s.entry, s.index, s.mark}
	if s.index+1 >= s.size {
		p.index = whole
	}
	return p
}

// before is the place before a record. Whether there is a record before it is not known, so it has no mark.
func (s spot) before() place {
	if s.index > 0 {
		return place{s.ledger, s.entry, s.index - 1, 0}
	}
	return place{s.ledger, s.entry - 1, whole, 0}
}

func (s spot) String() string { return where(s.coord()) }

// coord is the place of a record as package count has it. C is -1 for the last record of an entry, so that no size is needed to
// say that the entry is done.
func (s spot) coord() count.Coord {
	p := s.behind()
	return count.Coord{A: p.ledger, B: p.entry, C: p.index, Epoch: p.mark}
}

// placeOf is the position behind a record.
func placeOf(c count.Coord) string { return place{c.A, c.B, c.C, c.Epoch}.String() }

// where is a record for people, who find it again by Pulsar's tools.
func where(c count.Coord) string {
	if c.C == whole {
		return fmt.Sprintf("message %d:%d", c.A, c.B)
	}
	return fmt.Sprintf("message %d:%d:%d", c.A, c.B, c.C)
}

func (p place) String() string {
	text := fmt.Sprintf("%d:%d", p.ledger, p.entry)
	if p.index != whole {
		text += fmt.Sprintf(":%d", p.index)
	}
	if p.mark != 0 {
		text += fmt.Sprintf("@%d", p.mark)
	}
	return text
}

// parse reads what String wrote.
func parse(text string) (place, error) {
	at, tail, marked := strings.Cut(text, "@")
	p := place{index: whole}
	words := strings.Split(at, ":")
	ok := len(words) == 2 || len(words) == 3
	number := func(text string, least int64, bits int) int64 {
		n, err := strconv.ParseInt(text, 10, bits)
		ok = ok && err == nil && n >= least
		return n
	}
	if ok {
		p.ledger, p.entry = number(words[0], -1, 64), number(words[1], -1, 64)
	}
	if len(words) == 3 {
		p.index = int32(number(words[2], 0, 32))
	}
	if marked {
		p.mark = int32(number(tail, 1, 32))
	}
	if !ok {
		return place{}, fmt.Errorf("%q is no place in a topic of Pulsar, such as 12:3456 or 12:3456:7", text)
	}
	return p, nil
}

// verdict is what a record is to a place.
type verdict int

const (
	follows    verdict = iota // the next one
	duplicate                 // at or before the place
	missing                   // there are others in between, or it is not known what
	nextLedger                // the first of a later ledger: the next one, if nothing else was in between
)

// judge says what a record is to a place.
func (p place) judge(m spot) verdict {
	switch {
	case m.ledger < p.ledger || m.ledger == p.ledger && m.entry < p.entry:
		return duplicate
	case m.ledger > p.ledger:
		if p.index == whole && m.entry == 0 && m.index == 0 {
			return nextLedger
		}
	case m.entry == p.entry:
		if p.index == whole || m.index <= p.index {
			return duplicate
		}
		if m.index == p.index+1 {
			return follows
		}
	case m.entry == p.entry+1 && p.index == whole && m.index == 0:
		return follows
	}
	return missing
}

// lost is how many entries are between a place and a record that does not follow it, as far as that is known: at least 1. Records of a
// batch count each, for there it is known.
func (p place) lost(m spot) int64 {
	n := int64(m.index)
	switch {
	case m.ledger != p.ledger:
		n += max(0, m.entry)
	case m.entry != p.entry:
		n += m.entry - p.entry - 1
	default:
		return int64(m.index - p.index - 1)
	}
	if p.index != whole {
		n++
	}
	return max(1, n)
}

// ahead is how many entries are between a place and the last record of the topic, that one included: so many records are still to be
// counted, or more, for an entry may hold many. negative: the topic does not reach to the place. An empty one has -1:-1 as its last.
func (p place) ahead(last spot) int64 {
	switch {
	case last.entry < 0 && p.mark == 0:
		return 0
	case last.ledger > p.ledger:
		return last.entry + 1
	case last.ledger < p.ledger:
		return -1
	case last.entry == p.entry && p.index != whole:
		return int64(max(0, last.index-p.index)) // the index is not always known
	}
	return last.entry - p.entry
}

// id is what Pulsar is to begin with: the entry of the record before the place, so that it is seen that it is still there.
func (p place) id() pulsar.MessageID {
	return pulsar.NewMessageID(max(0, p.ledger), max(0, p.entry), -1, 0)
}
