package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// counterSet is how counters are named and whether they expire.
type counterSet struct {
	name func(b []byte, i int) []byte // appends the name of counter i
	ttl  int                          // seconds; 0: none
}

// benchmarkKey names a counter as redis-benchmark does: 16 bytes.
func benchmarkKey(b []byte, i int) []byte { return appendDigits(append(b, "key:"...), i, 12) }

// likesKey names a counter of 18 bytes, for sets of up to ten million.
func likesKey(b []byte, i int) []byte { return appendDigits(append(b, "likes:post:"...), i, 7) }

func appendDigits(b []byte, i, width int) []byte {
	start := len(b)
	for range width {
		b = append(b, '0')
	}
	for at := len(b) - 1; at >= start && i > 0; at-- {
		b[at] += byte(i % 10)
		i /= 10
	}
	return b
}

// firstValue is what filling gives counter i. Redis keeps one shared object for
// each integer below 10,000: these are above.
func firstValue(i int) int { return 20_000 + i }

const (
	fillClients = 4
	pairsOfMSET = 500  // SET with EX has no form for several keys
	fillBurst   = 4000 // counters that are on their way at once, for each client
)

// fill sets the counters from low up to high, through several pipelines.
func (s *server) fill(ctx context.Context, set counterSet, low, high int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, fillClients)
	n := high - low
	for c := range fillClients {
		go func() {
			failed <- fillPart(ctx, s.addr(), set, low+n*c/fillClients, low+n*(c+1)/fillClients)
		}()
	}
	var first error
	for range fillClients {
		if err := <-failed; err != nil && first == nil {
			first = err
			cancel() // closes the others' connections
		}
	}
	if first != nil {
		return fmt.Errorf("filling: %w", first)
	}
	for i := low; i < high; i++ {
		s.sumMin += int64(firstValue(i))
	}
	return nil
}

func fillPart(ctx context.Context, addr string, set counterSet, low, high int) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	replies := bufio.NewReaderSize(conn, 16<<10)
	var buf []byte
	for low < high {
		end := min(high, low+fillBurst)
		var commands int
		buf, commands = set.appendFill(buf[:0], low, end)
		if _, err := conn.Write(buf); err != nil {
			return err
		}
		if err := expectOK(replies, commands); err != nil {
			return errors.Join(err, ctx.Err())
		}
		low = end
	}
	return nil
}

// appendFill appends the commands that set counters low to high, and tells how
// many they are.
func (set counterSet) appendFill(b []byte, low, high int) (_ []byte, commands int) {
	var name, value []byte
	for i := low; i < high; i++ {
		name = set.name(name[:0], i)
		value = strconv.AppendInt(value[:0], int64(firstValue(i)), 10)
		switch {
		case set.ttl > 0:
			b = appendBulk(append(b, "*5\r\n"...), []byte("SET"))
			b = appendBulk(appendBulk(b, name), value)
			b = appendBulk(appendBulk(b, []byte("EX")), strconv.AppendInt(nil, int64(set.ttl), 10))
			commands++
			continue
		case (i-low)%pairsOfMSET == 0:
			b = append(b, '*')
			b = strconv.AppendInt(b, int64(1+2*min(pairsOfMSET, high-i)), 10)
			b = appendBulk(append(b, "\r\n"...), []byte("MSET"))
			commands++
		}
		b = appendBulk(appendBulk(b, name), value)
	}
	return b, commands
}

func appendBulk(b, text []byte) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = append(b, "\r\n"...)
	b = append(b, text...)
	return append(b, "\r\n"...)
}

// expectOK reads n replies, which must be OK.
func expectOK(r *bufio.Reader, n int) error {
	for range n {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return noEOF(err)
		}
		if !bytes.Equal(line, []byte("+OK\r\n")) {
			return fmt.Errorf("the server answered %.200q", line)
		}
	}
	return nil
}

// noEOF makes the end of a connection on which a reply is awaited an error that
// says so.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}
