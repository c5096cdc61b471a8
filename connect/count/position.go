package count

import (
	"fmt"
	"strconv"
	"strings"
)

// Position is what Quipu stores of a partition, as one text: how far it is counted, and what became of the records up to
// there. Both change with the transaction that counts, so the two sides of this equation always agree, which is how a fault
// in any part of the way is noticed:
//
//	to − start = counted + filtered + parked + refused + markers + invisible + lost
//
// The text is "1004000@5 s0 c800000 m4000 i200000": the place, then one letter and a number for each count that is not 0. The
// longest is shorter than the 255 bytes a position may have.
type Position struct {
	At    string // the place behind the last record that is done, as the source writes it
	Start int64  // the place where counting began, as a number (Kafka: offset; file: line; Pulsar: 0)
	Identity
	Late    int64 // commands left out, because the bucket they belong to has expired; their records are counted all the same
	Earlier int64 // how many other topics (files) of the same name were counted before this one, see Accepted
}

// Identity says what became of records.
type Identity struct {
	Counted   int64
	Filtered  int64 // `when` said no
	Parked    int64 // could not be read, and were set aside
	Refused   int64 // Quipu refused a command of theirs
	Markers   int64 // ends of transactions
	Invisible int64 // aborted, or compacted away
	Lost      int64 // gone from the broker before they were read, and accepted as such
}

// Sum is the right side of the equation.
func (i *Identity) Sum() int64 {
	return i.Counted + i.Filtered + i.Parked + i.Refused + i.Markers + i.Invisible + i.Lost
}

// letters name the counts in the text of a position.
func (p *Position) letters() []struct {
	letter byte
	n      *int64
} {
	return []struct {
		letter byte
		n      *int64
	}{
		{'s', &p.Start}, {'c', &p.Counted}, {'f', &p.Filtered}, {'p', &p.Parked}, {'r', &p.Refused},
		{'m', &p.Markers}, {'i', &p.Invisible}, {'g', &p.Lost}, {'l', &p.Late},
		{'e', &p.Earlier},
	}
}

// String is the text that Quipu stores.
func (p Position) String() string {
	text := append(make([]byte, 0, 96), p.At...)
	for _, f := range p.letters() {
		if *f.n != 0 {
			text = append(text, ' ', f.letter)
			text = strconv.AppendInt(text, *f.n, 10)
		}
	}
	return string(text)
}

// ParsePosition reads what String wrote. A place alone, as a person may set with INGEST SET, is a position without counts; start
// gives the number of a place, for then counting begins there; nil where places are no numbers.
func ParsePosition(text string, start func(at string) (int64, error)) (Position, error) {
	at, rest, counts := strings.Cut(text, " ")
	var number int64
	var err error
	if start != nil {
		number, err = start(at)
	}
	if err != nil {
		return Position{}, fmt.Errorf("position %q: %w", text, err)
	}
	p := Position{At: at}
	if !counts {
		p.Start = number
		return p, nil
	}
next:
	for word := range strings.FieldsSeq(rest) {
		for _, f := range p.letters() {
			if word[0] == f.letter {
				if *f.n, err = strconv.ParseInt(word[1:], 10, 64); err != nil {
					return Position{}, fmt.Errorf("position %q: %q is no count", text, word)
				}
				continue next
			}
		}
		return Position{}, fmt.Errorf("position %q: %q is not known; was it written by a newer quipu-connect?", text, word)
	}
	return p, nil
}

// Off is by how much the equation does not hold; place is the number of At.
func (p *Position) Off(place int64) int64 { return place - p.Start - p.Sum() }

// Outcomes are the counts by their names.
func (i *Identity) Outcomes() map[string]int64 {
	return map[string]int64{
		"counted": i.Counted, "filtered": i.Filtered, "parked": i.Parked, "refused": i.Refused, "marker": i.Markers,
		"invisible": i.Invisible, "lost": i.Lost,
	}
}
