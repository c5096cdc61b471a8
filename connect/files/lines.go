// Package files counts the records of a file: lines of JSON, or CSV.
package files

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"quipu/connect/count"
)

// A position is "record:byte": how many records are done (the line that names columns is one), and how many bytes they have (of a compressed file: when it is unpacked),
// where reading goes on.

func place(c count.Coord) string { return fmt.Sprintf("%d:%d", c.A, c.B) }

// where says which record it is: of a file without quoted line ends, and without empty lines, that is its line.
func where(c count.Coord) string { return fmt.Sprintf("record %d", c.A) }

func parse(at string) (record, byteAt int64, err error) {
	a, b, found := strings.Cut(at, ":")
	record, err1 := strconv.ParseInt(a, 10, 64)
	byteAt, err2 := strconv.ParseInt(b, 10, 64)
	if !found || err1 != nil || err2 != nil || record < 0 || byteAt < record {
		return 0, 0, fmt.Errorf("%q is no place in a file: record:byte", at)
	}
	return record, byteAt, nil
}

func number(at string) int64 {
	record, _, _ := parse(at)
	return record
}

func done(at string) int64 {
	_, byteAt, _ := parse(at)
	return byteAt
}

func start(at string) (int64, error) {
	record, _, err := parse(at)
	return record, err
}

// identified is how many bytes at the beginning of a file tell it from another one.
const identified = 4096

// incarnation tells a file from another one of the same name: by its first bytes, as far as it had any when counting began, since
// a log grows.
func incarnation(f *os.File) (string, error) {
	head := make([]byte, identified)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return headText(head[:n]), nil
}

func headText(head []byte) string {
	sum := sha256.Sum256(head)
	return fmt.Sprintf("%d:%x", len(head), sum[:8])
}

// same reports whether a file still begins as it did when its incarnation was taken.
func same(f *os.File, incarnation string) (bool, error) {
	size, _, _ := strings.Cut(incarnation, ":")
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 || n > identified {
		return false, nil
	}
	head := make([]byte, n)
	if _, err := f.ReadAt(head, 0); errors.Is(err, io.EOF) {
		return n == 0, nil
	} else if err != nil {
		return false, err
	}
	return headText(head) == incarnation, nil
}

// maxLine is the longest record that is handed over whole; more of it is skipped, and the rest is a bad record, since it is cut off.
const maxLine = 1<<20 + 1

// reader reads records, with their places.
type reader struct {
	in   *bufio.Reader
	csv  bool
	at   count.Coord // A: records done; B: bytes done
	part []byte      // the beginning of a record whose end is not there yet
}

// open begins to read at a place.
func open(f *os.File, packed, csv bool, at count.Coord) (*reader, error) {
	var in io.Reader = f
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if packed {
		unpacked, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<20))
		if err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, unpacked, at.B); err != nil {
			return nil, fmt.Errorf("the file is shorter than what was counted: %w", err)
		}
		in = unpacked
	} else if _, err := f.Seek(at.B, io.SeekStart); err != nil {
		return nil, err
	}
	return &reader{in: bufio.NewReaderSize(in, 1<<20), csv: csv, at: at}, nil
}

// next is the next record. io.EOF: there is none yet; it can be called again when the file has grown. With last, what stands at the end
// of the file without an end of line is a record too.
func (r *reader) next(last bool) (count.Record, error) {
	for {
		line, err := r.in.ReadSlice('\n')
		r.at.B += int64(len(line))
		if room := maxLine - len(r.part); room > 0 {
			r.part = append(r.part, line[:min(len(line), room)]...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && (!last || len(r.part) == 0):
			return count.Record{}, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return count.Record{}, err
		}
		if r.csv && err == nil && bytes.Count(r.part, []byte{'"'})%2 == 1 && len(r.part) < maxLine {
			continue // the line ends within quotes
		}
		value := bytes.TrimRight(r.part, "\r\n")
		if len(value) == 0 { // no record
			r.part = r.part[:0]
			continue
		}
		r.at.A++
		record := count.Record{Value: append(make([]byte, 0, len(value)), value...), At: r.at}
		r.part = r.part[:0]
		return record, nil
	}
}
