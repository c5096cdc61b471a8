package server

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quipu/commands"
	"quipu/protocol"
)

// MONITOR: each command that this node runs for a client is told as a line of Redis's format to those who monitor, unless it is an
// operator's (flag admin). A command is told when it has been run or handed over to the log, those of a transaction when EXEC is. While
// nobody monitors, a command costs a look at a counter.

// monitors is the sessions that monitor.
type monitors struct {
	count atomic.Int64
	mu    sync.RWMutex // taken before the boxes of sessions
	list  map[*Session]struct{}
}

func (m *monitors) add(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.list == nil {
		m.list = map[*Session]struct{}{}
	}
	m.list[s] = struct{}{}
	m.count.Store(int64(len(m.list)))
}

func (m *monitors) remove(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.list, s)
	m.count.Store(int64(len(m.list)))
}

// monitorCommand replies nothing to a client that monitors already, as Redis does.
func monitorCommand(s *Session, _ [][]byte) bool {
	if s.seen.monitors.Load() {
		return true
	}
	s.reply(func(w *protocol.Writer) { w.OK() })
	s.seen.monitors.Store(true)
	s.srv.monitors.add(s)
	return true
}

func monitorInExec(_ *Session, _ [][]byte, w *protocol.Writer) { w.Error(protocol.ErrMonitorInMulti) }

// endMonitor is called where the session stops to monitor, if it does.
func (s *Session) endMonitor() {
	if s.seen.monitors.CompareAndSwap(true, false) {
		s.srv.monitors.remove(s)
	}
}

// tellMonitors tells those who monitor of a command that the session has run.
func (s *Session) tellMonitors(cmd *commands.Command, args [][]byte) {
	if cmd.Flags&(commands.FlagAdmin|commands.FlagSkipMonitor) != 0 {
		return
	}
	m := &s.srv.monitors
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.list) == 0 {
		return
	}
	line := s.srv.newText(s.monitorLine(cmd, args, time.Now()))
	for to := range m.list {
		to.push(line)
	}
	line.release()
}

// monitorLine is the line of a command: time, database, client, and the arguments in quotes.
func (s *Session) monitorLine(cmd *commands.Command, args [][]byte, now time.Time) []byte {
	size := 64 + len(s.remote)
	for _, arg := range args {
		size += len(arg) + 3
	}
	b := append(make([]byte, 0, size), '+')
	b = strconv.AppendInt(b, now.Unix(), 10)
	micros := strconv.Itoa(1_000_000 + now.Nanosecond()/1000)
	b = append(append(append(b, '.'), micros[1:]...), " ["...)
	b = append(strconv.AppendInt(b, int64(s.db), 10), ' ')
	if strings.Contains(s.remote, ":") {
		b = append(b, s.remote...)
	} else {
		b = append(append(b, "unix:"...), s.srv.config().UnixSocket...)
	}
	b = append(b, ']')
	hides := secrets(cmd, args)
	for i, arg := range args {
		if b = append(b, ' '); hides(i) {
			b = append(b, `"`+redacted+`"`...)
		} else {
			b = appendQuoted(b, arg)
		}
	}
	return append(b, "\r\n"...)
}

// appendQuoted appends a string in quotes as Redis writes it: bytes that are not printable ASCII as escapes.
func appendQuoted(b, s []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range s {
		switch c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\a':
			b = append(b, `\a`...)
		case '\b':
			b = append(b, `\b`...)
		default:
			if c >= ' ' && c <= '~' {
				b = append(b, c)
			} else {
				b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
			}
		}
	}
	return append(b, '"')
}
