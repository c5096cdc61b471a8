// Package kafka counts the partitions of a topic of Kafka.
//
// A consumer group says which of several connectors reads which partition, and shows people and their tools the lag. The
// truth about how far a partition is counted is in Quipu: offsets committed to the group are never read.
package kafka

import (
	"fmt"
	"strconv"
	"strings"

	"quipu/connect/count"
)

// A position is "offset@epoch": the offset of the next record, and the leader epoch of the one before it, by which a broker
// tells whether that record is still the one that was counted. Without it, a log that was cut off and has grown again is taken for the old one.

// place is the position behind a record.
func place(c count.Coord) string { return position(c.A+1, c.Epoch) }

func position(offset int64, epoch int32) string {
	if epoch < 0 {
		return strconv.FormatInt(offset, 10)
	}
	return strconv.FormatInt(offset, 10) + "@" + strconv.Itoa(int(epoch))
}

func where(c count.Coord) string { return fmt.Sprintf("offset %d", c.A) }

// parse reads a position; the epoch is -1 where it has none.
func parse(at string) (offset int64, epoch int32, err error) {
	number, rest, found := strings.Cut(at, "@")
	offset, err = strconv.ParseInt(number, 10, 64)
	if err != nil || offset < 0 {
		return 0, 0, fmt.Errorf("%q is no offset of Kafka", at)
	}
	if !found {
		return offset, -1, nil
	}
	e, err := strconv.ParseInt(rest, 10, 32)
	if err != nil || e < 0 {
		return 0, 0, fmt.Errorf("%q is no offset of Kafka with its leader epoch", at)
	}
	return offset, int32(e), nil
}

// offsetOf is the offset of a position that parse accepts.
func offsetOf(at string) int64 {
	offset, _, _ := parse(at)
	return offset
}

func start(at string) (int64, error) {
	offset, _, err := parse(at)
	return offset, err
}
