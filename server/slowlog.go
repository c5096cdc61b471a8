package server

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"quipu/commands"
	"quipu/exec"
	"quipu/protocol"
)

// What an entry of the slow log has of a command, as in Redis.
const (
	slowArgs     = 32
	slowArgBytes = 128
)

// slowLogBytes is the most memory that all entries take, whatever slowlog-max-len is.
const slowLogBytes = 8 << 20

// slowLog is the commands that took long, the newest last.
type slowLog struct {
	mu      sync.Mutex // a leaf; guards the rest
	entries []slowEntry
	bytes   int
	max     int64 // entries
	next    int64 // ID, never used again
}

type slowEntry struct {
	id, usec     int64
	at           time.Time
	args         []string
	client, name string
}

func (e *slowEntry) bytes() (n int) {
	const overhead, header = 128, 16
	n = overhead + len(e.client) + len(e.name)
	for _, arg := range e.args {
		n += header + len(arg)
	}
	return n
}

// limit sets how many entries are kept.
func (l *slowLog) limit(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max = n
	l.trim()
}

// add takes count entries that differ in their IDs only.
func (l *slowLog) add(e slowEntry, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	skipped := max(int64(count)-l.max, 0) // they would not be kept
	l.next += skipped
	for range int64(count) - skipped {
		e.id = l.next
		l.next++
		l.entries = append(l.entries, e)
		l.bytes += e.bytes()
		l.trim()
	}
}

// trim drops the oldest entries beyond the limits.
func (l *slowLog) trim() {
	drop := 0
	for ; drop < len(l.entries) && (int64(len(l.entries)-drop) > l.max || l.bytes > slowLogBytes); drop++ {
		l.bytes -= l.entries[drop].bytes()
	}
	clear(l.entries[:drop])
	l.entries = l.entries[drop:]
}

func (l *slowLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.bytes = nil, 0
}

func (l *slowLog) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// newest returns up to n entries, the newest first.
func (l *slowLog) newest(n int64) (list []slowEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.entries) - 1; i >= 0 && int64(len(list)) < n; i-- {
		list = append(list, l.entries[i])
	}
	return list
}

// logSlow adds what took long to the slow log.
func (srv *Server) logSlow(cmd *commands.Command, d *exec.Timed, usec int64) {
	e := slowEntry{at: time.Now(), usec: usec}
	if s, ok := d.Client.(*Session); ok {
		e.client, e.name = s.remote, s.identity.Load().name
	}
	switch {
	case d.Cmd != cmd: // users, or what regions tell each other: not as a client has sent it
		e.args = append(strings.Split(cmd.FullName(), "|"), redacted)
	case d.Args == nil:
		e.args = []string{cmd.FullName()}
	default:
		e.args = slowArguments(cmd, d.Args)
	}
	srv.slow.add(e, d.Count)
}

// slowArguments is what is kept of arguments: neither secrets nor much.
func slowArguments(cmd *commands.Command, args [][]byte) []string {
	hides := secrets(cmd, args)
	list := make([]string, 0, min(len(args), slowArgs))
	for i, arg := range args {
		switch {
		case i == slowArgs-1 && len(args) > slowArgs:
			return append(list, fmt.Sprintf("... (%d more arguments)", len(args)-i))
		case hides(i):
			list = append(list, redacted)
		case len(arg) > slowArgBytes:
			list = append(list, fmt.Sprintf("%s... (%d more bytes)", arg[:slowArgBytes], len(arg)-slowArgBytes))
		default:
			list = append(list, string(arg))
		}
	}
	return list
}

// redacted stands for what only the client and the server are to know.
const redacted = "(redacted)"

// secrets tells which arguments of a call are, or may be, secrets: at least those that Redis does not show.
func secrets(cmd *commands.Command, args [][]byte) (hides func(i int) bool) {
	switch cmd.FullName() {
	case "auth":
		return func(i int) bool { return i > 0 }
	case "acl|setuser":
		return func(i int) bool { return i > 1 }
	case "acl|dryrun":
		return secretsInside(args, 3)
	case "command|getkeys", "command|getkeysandflags":
		return secretsInside(args, 2)
	case "hello":
		at := math.MaxInt - 2
		for i := 2; i < len(args); i++ {
			if bytes.EqualFold(args[i], []byte("auth")) {
				at = i
				break
			}
		}
		return func(i int) bool { return i == at+1 || i == at+2 }
	case "config|set":
		return func(i int) bool { return i > 2 && i%2 == 1 && secretSetting(string(args[i-1])) }
	}
	return func(int) bool { return false }
}

// secretsInside is secrets for a call that has another one as its arguments from at on.
func secretsInside(args [][]byte, at int) (hides func(i int) bool) {
	may := false
	for _, name := range []string{"auth", "hello", "acl", "config"} {
		may = may || len(args) > at && bytes.EqualFold(args[at], []byte(name))
	}
	return func(i int) bool { return may && i > at }
}

// secretSetting reports whether the values of a setting, which may not exist, look like secrets.
func secretSetting(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "pass") || name == "user" || name == "masteruser" || name == "masterauth" || name == "region-auth"
}

// slowlogHandlers is SLOWLOG with its subcommands.
func slowlogHandlers() handler {
	entry := func(name string, arity int, since, complexity, syntax, summary string, tips ...string) commands.Command {
		return commands.Command{Name: name, Arity: arity, Flags: commands.FlagAdmin | commands.FlagLoading | commands.FlagStale, Since: since, Group: "server",
			Complexity: complexity, Syntax: syntax, Summary: summary, Tips: append([]string{"request_policy:all_nodes"}, tips...)}
	}
	get := entry("get", -2, "2.2.12", "O(N) for N entries", "[count:integer]", "The commands that took long lately", "nondeterministic_output")
	help := entry("help", 2, "6.2.0", "O(1)", "", "List the subcommands")
	help.Flags, help.Tips, help.Read = commands.FlagLoading|commands.FlagStale, nil, commands.Help
	return handler{
		entry: commands.Command{Name: "slowlog", Arity: -2, Since: "2.2.12", Group: "server", Complexity: "That of the subcommand", Summary: "Commands that took long"},
		run:   missingSubcommand,
		subs: []handler{
			{entry: get, run: slowlogGet},
			{entry: entry("len", 2, "2.2.12", "O(1)", "", "How many commands are in the slow log", "response_policy:agg_sum", "nondeterministic_output"),
				run: func(s *Session, _ [][]byte, w *protocol.Writer) { w.Int(int64(s.srv.slow.len())) }},
			{entry: entry("reset", 2, "2.2.12", "O(N) for N entries", "", "Empty the slow log", "response_policy:all_succeeded"),
				run: func(s *Session, _ [][]byte, w *protocol.Writer) { s.srv.slow.reset(); w.OK() }},
			{entry: help},
		},
	}
}

func slowlogGet(s *Session, args [][]byte, w *protocol.Writer) {
	count := int64(10)
	if len(args) > 3 {
		w.Error(protocol.ErrSubcommandSyntax(args[1], "slowlog"))
		return
	}
	if len(args) == 3 {
		n, ok := protocol.ParseInt(args[2])
		if !ok || n < -1 {
			w.Error(protocol.ErrSlowlogCount)
			return
		}
		if count = n; n < 0 {
			count = math.MaxInt64
		}
	}
	list := s.srv.slow.newest(count)
	w.Array(len(list))
	for i := range list {
		e := &list[i]
		w.Array(6)
		w.Int(e.id)
		w.Int(e.at.Unix())
		w.Int(e.usec)
		w.Array(len(e.args))
		for _, arg := range e.args {
			w.BulkString(arg)
		}
		w.BulkString(e.client)
		w.BulkString(e.name)
	}
}
