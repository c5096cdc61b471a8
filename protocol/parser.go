// Package protocol speaks RESP2 and RESP3, the Redis protocol: it splits a client's bytes into commands, appends replies,
// and holds every error text a client can see. It knows no sockets and no state.
package protocol

import "bytes"

// A command on the wire, in its multibulk form (the only form a client library sends):
//
//	*2\r\n$4\r\nINCR\r\n$5\r\nlikes\r\n
//	└┬─┘   └┬─┘  └┬─┘   └┬─┘  └─┬─┘
//	 │      │     │      │      └ argument 2, exactly 5 bytes of anything
//	 │      │     │      └ its header: length 5
//	 │      │     └ argument 1, the command's name
//	 │      └ its header: length 4
//	 └ header: the count of arguments; 0 and below mean an empty command, which is ignored
//
// and in its inline form, for people with a terminal (a line that does not begin with '*'; see inline.go):
//
//	INCR "likes"\r\n
//
// As in Redis a header ends at '\r' plus one byte that is not looked at, and so does an argument end with two bytes that
// are not looked at. A number is canonical decimal (ParseInt), so an argument's length gives the length of its header.
// Unlike in Redis a zero byte in a header is an ordinary wrong byte; Redis stops its search there and waits on.
//
// While a command is incomplete the parser remembers, as offsets from the command's first byte:
//
//	buf:  *3 ⏎ $3 ⏎ SET ⏎ $5 ⏎ likes ⏎ $1000 ⏎ 42…          ⏎ is \r\n
//	                 └─┴───────┴────┴─ spans    └ pos: the argument being read starts here; inBulk, bulk=1000, left=1

// minArgument is the wire length of the shortest argument, "$0\r\n\r\n". A command with n arguments to come needs at least
// n times that, which tells early that a command will be too big.
const minArgument = 6

// keepSpans is how many spans (8 bytes each) a parser keeps for its next split command.
const keepSpans = 512

// span is one argument's place in the current command.
type span struct{ start, end uint32 }

// Parser splits a stream into commands. The zero value is ready. It resumes where it stopped: bytes once understood are not
// read again, however small the pieces in which a command arrives. It belongs to one connection and is not safe for
// concurrent use.
type Parser struct {
	spans   []span // arguments understood so far of a command that came in several pieces
	pos     int    // everything before buf[pos] is understood
	scan    int    // buf[pos:scan] holds no end of line; pos <= scan
	left    int    // arguments still to come, the one being read included; 0: the count is not known yet
	bulk    int    // length of the argument being read, if inBulk
	need    int    // see Need
	inBulk  bool   // the header of the argument being read is understood
	started bool   // a command has begun and is incomplete
}

// Next returns the next command's arguments as slices of buf, appended to scratch[:0], and the bytes consumed.
//
//   - n == 0 and err == nil: the command is incomplete. Call again with the same bytes at buf[0] and more behind them (buf
//     may have moved).
//   - n > 0 and no arguments: something was consumed that Redis ignores (an empty line, *0, *-1).
//   - err is a *ProtocolError: reply with its text and close the connection; the parser must not be used again before Reset.
//
// The arguments are valid as long as buf is, and an empty one is not nil. A multibulk command allocates nothing while
// scratch is large enough (pass args as the next scratch to keep what it grew to), and an announced length or count never
// makes the parser reserve memory. A limit is enforced as soon as the number is known; lim may differ from call to call.
func (p *Parser) Next(buf []byte, lim *Limits, scratch [][]byte) (args [][]byte, n int, err error) {
	args = scratch[:0]
	if !p.started {
		if args, n = p.parseWhole(buf, lim, args); n > 0 {
			return args, n, nil
		}
	}
	return p.resume(buf, lim, args[:0])
}

// Need returns a lower bound, at least 1, of the bytes still missing for the incomplete command, to size a buffer. Do not
// wait for that many: the very next byte may make the command wrong.
func (p *Parser) Need() int { return max(p.need, 1) }

// Started reports whether the beginning of a command has been seen.
func (p *Parser) Started() bool { return p.started }

// Held is how many bytes of memory the parser keeps beside its input.
func (p *Parser) Held() int { return cap(p.spans) * 8 }

// Reset forgets the current command.
func (p *Parser) Reset() {
	spans := p.spans[:0]
	if cap(spans) > keepSpans {
		spans = nil
	}
	*p = Parser{spans: spans}
}

// parseWhole is the fast path: a multibulk command all of whose bytes are there. It is a shortcut for resume, never a
// second opinion: at anything that is missing or that it does not expect, it records how far it came and leaves the rest to
// resume. n is 0 then.
//
// It is longer than it could be because it is what every command goes through: an INCR takes 15.7 ns, and 17.6 with the
// headers of one and two digits read by readHeader too (BenchmarkParse).
func (p *Parser) parseWhole(buf []byte, lim *Limits, args [][]byte) ([][]byte, int) {
	if len(buf) < 4 || buf[0] != '*' {
		return args, 0
	}
	count, pos := readHeader(buf, 0)
	if pos == 0 || count == 0 || count > lim.MaxArgs {
		return args, 0
	}
	maxCommand := lim.command()
	left := count
	if pos+left*minArgument > maxCommand {
		return args, 0
	}
	for left > 0 {
		if len(buf)-pos < minArgument || buf[pos] != '$' {
			break
		}
		var start int
		size, next := int(buf[pos+1])-'0', buf[pos+2]
		if next == '\r' && uint(size) <= 9 {
			start = pos + 4
		} else if tens := size; uint(tens-1) < 9 && buf[pos+3] == '\r' && next-'0' <= 9 {
			size = tens*10 + int(next-'0')
			start = pos + 5
		} else if size, start = readHeader(buf, pos); start == 0 {
			break
		}
		end := start + size
		if size > lim.MaxBulk || end+2 > len(buf) || end+2+(left-1)*minArgument > maxCommand {
			break
		}
		args = append(args, buf[start:end:end])
		pos = end + 2
		left--
	}
	if left == 0 {
		return args, pos
	}
	p.suspend(args, count, left, pos)
	return args, 0
}

// readHeader reads the header at buf[pos], "*123\r\n" or "$123\r\n", and returns its number and the offset behind it; 0, 0
// if it is incomplete, negative, not canonical or longer than 9 digits, which is for parseCount and parseBulkHeader to judge.
// len(buf)-pos >= 4.
func readHeader(buf []byte, pos int) (number, next int) {
	for i := pos + 1; i < min(len(buf)-1, pos+11); i++ {
		d := buf[i] - '0'
		if d > 9 {
			if buf[i] != '\r' || i == pos+1 || (buf[pos+1] == '0' && i > pos+2) {
				break
			}
			return number, i + 2
		}
		number = number*10 + int(d)
	}
	return 0, 0
}

// suspend records that the fast path has understood count-left arguments and stopped at pos. The places of the arguments
// follow from their lengths, as headers are canonical.
func (p *Parser) suspend(args [][]byte, count, left, pos int) {
	p.left, p.pos, p.scan = left, pos, pos
	p.spans = p.spans[:0]
	at := 1 + digits(count) + 2
	for _, arg := range args {
		at += 1 + digits(len(arg)) + 2
		p.spans = append(p.spans, span{uint32(at), uint32(at + len(arg))})
		at += len(arg) + 2
	}
}

// resume is the whole grammar, able to stop and go on at any byte.
func (p *Parser) resume(buf []byte, lim *Limits, args [][]byte) ([][]byte, int, error) {
	if len(buf) == 0 {
		return args, 0, nil
	}
	p.started = true
	if p.left == 0 {
		if buf[0] != '*' {
			return p.parseInline(buf, lim, args)
		}
		ok, err := p.parseCount(buf, lim)
		if err != nil {
			return args, 0, err
		}
		if !ok {
			p.need = 1
			return args, 0, nil
		}
	}
	for p.left > 0 {
		if !p.inBulk {
			ok, err := p.parseBulkHeader(buf, lim)
			if err != nil {
				return args, 0, err
			}
			if !ok {
				p.need = p.left*minArgument - (len(buf) - p.pos)
				return args, 0, nil
			}
		}
		end := p.pos + p.bulk
		if len(buf) < end+2 {
			p.need = end + 2 + (p.left-1)*minArgument - len(buf)
			return args, 0, nil
		}
		p.spans = append(p.spans, span{uint32(p.pos), uint32(end)})
		p.advance(end + 2)
		p.inBulk = false
		p.left--
	}
	for _, s := range p.spans {
		args = append(args, buf[s.start:s.end:s.end])
	}
	n := p.pos
	p.Reset()
	return args, n, nil
}

// advance moves past what has been understood.
func (p *Parser) advance(pos int) { p.pos, p.scan = pos, pos }

// parseCount reads the command's header. It returns false while the header is incomplete. A count of zero and below leaves
// left at 0: the command has no arguments and ends here.
func (p *Parser) parseCount(buf []byte, lim *Limits) (bool, error) {
	end, err := p.findReturn(buf, lim.MaxInline, errCountString)
	if end < 0 || err != nil {
		return false, err
	}
	count, ok := ParseInt(buf[1:end])
	if !ok {
		return false, errCount
	}
	if count > 0 {
		if err := lim.checkCount(count); err != nil {
			return false, err
		}
		if int64(end+2)+count*minArgument > int64(lim.command()) {
			return false, errCommandSize
		}
		p.left = int(count)
	}
	p.advance(end + 2)
	return true, nil
}

// parseBulkHeader reads the header of the next argument. It returns false while the header is incomplete.
func (p *Parser) parseBulkHeader(buf []byte, lim *Limits) (bool, error) {
	end, err := p.findReturn(buf, lim.MaxInline, errBulkString)
	if end < 0 || err != nil {
		return false, err
	}
	if c := buf[p.pos]; c != '$' {
		return false, errExpectedDollar(c)
	}
	size, ok := ParseInt(buf[p.pos+1 : end])
	if !ok {
		return false, errBulk
	}
	if err := lim.checkBulk(size); err != nil {
		return false, err
	}
	if room := lim.command() - (end + 2) - 2 - (p.left-1)*minArgument; size > int64(room) {
		return false, errCommandSize
	}
	p.bulk, p.inBulk = int(size), true
	p.advance(end + 2)
	return true, nil
}

// findReturn finds the '\r' that ends the header at pos, once the byte behind it has arrived too; -1 until then. Redis gives
// up, with tooLong, when limit bytes and one more hold none.
func (p *Parser) findReturn(buf []byte, limit int, tooLong *ProtocolError) (int, error) {
	return p.find(buf, '\r', 1, limit, tooLong)
}

// find finds the next end-of-line byte at or behind scan with behind more bytes after it; -1 if it is not there yet.
func (p *Parser) find(buf []byte, eol byte, behind, limit int, tooLong *ProtocolError) (int, error) {
	window := len(buf)
	if window-p.pos > limit {
		window = max(p.pos+limit+1, p.scan) // scan may be further if the limit was higher before
	}
	if i := bytes.IndexByte(buf[p.scan:window], eol); i >= 0 {
		p.scan += i
		if p.scan+behind >= len(buf) {
			return -1, nil
		}
		return p.scan, nil
	}
	p.scan = window
	if window-p.pos > limit {
		return -1, tooLong
	}
	return -1, nil
}
