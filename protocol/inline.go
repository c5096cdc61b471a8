package protocol

// An inline command is a line of words between blanks, for people with a terminal:
//
//	SET greeting "hello \"you\"\r\n" 'it\'s me'\r\n
//
// A word may have stretches in double quotes, where \n \r \t \b \a \xHH and a backslash before anything else are escapes, and in
// single quotes, where only \' is. A closing quote ends the word and must be followed by a blank or the end of the line.

// parseInline parses a command in inline form. Words without quotes are slices of buf, the others are copies
// in memory of their own, so all live at least as long as buf.
func (p *Parser) parseInline(buf []byte, lim *Limits, args [][]byte) ([][]byte, int, error) {
	end, err := p.find(buf, '\n', 0, min(lim.MaxInline, lim.command()-1), errInlineSize)
	if err != nil {
		return args, 0, err
	}
	if end < 0 {
		p.need = 1
		return args, 0, nil
	}
	line := buf[:end]
	if end > 0 && line[end-1] == '\r' {
		line = line[:end-1]
	}
	args, perr := splitWords(line, lim, args)
	if perr != nil {
		return args[:0], 0, perr
	}
	p.Reset()
	return args, end + 1, nil
}

// splitWords appends the words of an inline command to args.
func splitWords(line []byte, lim *Limits, args [][]byte) ([][]byte, *ProtocolError) {
	s := splitter{line: line}
	for {
		for s.at < len(line) && isBlank(line[s.at]) {
			s.at++
		}
		if s.at == len(line) {
			return args, nil
		}
		word, ok := s.word()
		if !ok {
			return args, errUnbalanced
		}
		if err := lim.checkBulk(int64(len(word))); err != nil {
			return args, err
		}
		if err := lim.checkCount(int64(len(args)) + 1); err != nil {
			return args, err
		}
		args = append(args, word)
	}
}

// SplitLine splits a line into words as an inline command is, without limits: a line of a configuration file of Redis is written
// like that too. ok is false if a quote is unbalanced.
func SplitLine(line string) (words []string, ok bool) {
	s := splitter{line: []byte(line)}
	for {
		for s.at < len(line) && isBlank(line[s.at]) {
			s.at++
		}
		if s.at == len(line) {
			return words, true
		}
		word, ok := s.word()
		if !ok {
			return nil, false
		}
		words = append(words, string(word))
	}
}

// splitter cuts words off a line.
type splitter struct {
	line []byte
	at   int // everything before line[at] is understood
	// copies holds the words with quotes, one behind the other. A word takes no more bytes than it has on the line, so
	// the capacity of one line is never exceeded and the words never move.
	copies []byte
}

// word returns the word that begins at line[at], which is no blank; false if a quote is unbalanced.
func (s *splitter) word() ([]byte, bool) {
	start := s.at
	for ; s.at < len(s.line) && !endsWord(s.line[s.at]); s.at++ {
		if quote := s.line[s.at]; quote == '"' || quote == '\'' {
			if s.copies == nil {
				s.copies = make([]byte, 0, len(s.line))
			}
			begin := len(s.copies)
			s.copies = append(s.copies, s.line[start:s.at]...)
			s.at++
			ok := s.quoted(quote)
			return s.copies[begin:len(s.copies):len(s.copies)], ok
		}
	}
	return s.line[start:s.at:s.at], true
}

// quoted appends the quoted stretch at line[at], behind its opening quote, to copies; false if the quote is unbalanced.
func (s *splitter) quoted(quote byte) bool {
	line := s.line
	for s.at < len(line) {
		c := line[s.at]
		switch {
		case c == quote:
			s.at++
			return s.at == len(line) || isBlank(line[s.at])
		case c == '\\' && s.at+1 < len(line) && quote == '"':
			c, s.at = unescape(line, s.at+1)
		case c == '\\' && s.at+1 < len(line) && line[s.at+1] == '\'':
			c, s.at = '\'', s.at+2
		default:
			s.at++
		}
		s.copies = append(s.copies, c)
	}
	return false
}

// unescape reads the escape whose backslash precedes line[at], and returns the byte and the offset behind the escape.
func unescape(line []byte, at int) (byte, int) {
	if line[at] == 'x' && at+2 < len(line) {
		hi, ok1 := hexDigit(line[at+1])
		lo, ok2 := hexDigit(line[at+2])
		if ok1 && ok2 {
			return hi<<4 | lo, at + 3
		}
	}
	switch c := line[at]; c {
	case 'n':
		return '\n', at + 1
	case 'r':
		return '\r', at + 1
	case 't':
		return '\t', at + 1
	case 'b':
		return '\b', at + 1
	case 'a':
		return '\a', at + 1
	default:
		return c, at + 1
	}
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// isBlank is isspace of the C locale.
func isBlank(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') }

// endsWord is true for fewer bytes than isBlank: Redis lets '\v' and '\f' separate words only where it skips blanks, but
// not end a word.
func endsWord(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
