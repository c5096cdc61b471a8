package commands

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/glob"
	"quipu/protocol"
)

var keySteps = []step{
	{"DBSIZE", ":0", ""},
	{"RANDOMKEY", "$-1", "_"},
	{"KEYS *", "*0", ""},
	{"SCAN 0", "*2 $1 0 *0", ""},
	{"MSET a 1 b two {x}c 3", "+OK", ""},
	{"DBSIZE", ":3", ""},
	{"EXISTS a b a none", ":3", ""},
	{"TOUCH a none b", ":2", ""},
	{"TYPE a", "+string", ""},
	{"TYPE none", "+none", ""},
	{"DEL a a none", ":1", ""},
	{"UNLINK b none", ":1", ""},
	{"RANDOMKEY", "$4 {x}c", ""},
	{"KEYS *", "*1 $4 {x}c", ""},
	{"KEYS {[x]}?", "*1 $4 {x}c", ""},
	{"KEYS x", "*0", ""},
	{"SCAN 0 MATCH {* COUNT 100 TYPE STRING", "*2 $1 0 *1 $4 {x}c", ""},
	{"SCAN 0 TYPE hash", "*2 $1 0 *0", ""},
	{"SCAN 0 TYPE", "-ERR syntax error", ""},
	{"SCAN 0 COUNT 0", "-ERR syntax error", ""},
	{"SCAN 0 COUNT x", "-ERR value is not an integer or out of range", ""},
	{"SCAN 0 FOO 1", "-ERR syntax error", ""},
	{"SCAN x", "-ERR invalid cursor", ""},
	{"SCAN \\x200", "-ERR invalid cursor", ""},
	{"SCAN 18446744073709551616", "-ERR invalid cursor", ""},
	{"RENAME none a", "-ERR no such key", ""},
	{"RENAME none none", "-ERR no such key", ""},
	{"RENAMENX none a", "-ERR no such key", ""},
	{"SET a 5 EXAT 99999999999", "+OK", ""},
	{"SET b x", "+OK", ""},
	{"RENAME a a", "+OK", ""},
	{"RENAMENX a a", ":0", ""},
	{"RENAMENX a b", ":0", ""},
	{"RENAME a b", "+OK", ""},
	{"EXISTS a", ":0", ""},
	{"GET b", "$1 5", ""},
	{"EXPIRETIME b", ":99999999999", ""},
	{"RENAMENX b a", ":1", ""},
	{"COPY a b", ":1", ""},
	{"EXPIRETIME b", ":99999999999", ""},
	{"SET b other", "+OK", ""},
	{"COPY a b", ":0", ""},
	{"GET b", "$5 other", ""},
	{"COPY a b REPLACE", ":1", ""},
	{"GET b", "$1 5", ""},
	{"COPY a a", "-ERR source and destination objects are the same", ""},
	{"COPY a a DB 0", "-ERR source and destination objects are the same", ""},
	{"COPY none none", "-ERR source and destination objects are the same", ""},
	{"COPY a a DB 1", ":1", ""},
	{"COPY a a DB 1", ":0", ""},
	{"COPY a a REPLACE DB 1 REPLACE", ":1", ""},
	{"COPY none x", ":0", ""},
	{"COPY a b DB 16", "-ERR DB index is out of range", ""},
	{"COPY a b DB -1", "-ERR DB index is out of range", ""},
	{"COPY a b DB x", "-ERR value is not an integer or out of range", ""},
	{"COPY a b DB 2147483648", "-ERR value is out of range, value must between -2147483648 and 2147483647", ""},
	{"COPY a b DB", "-ERR syntax error", ""},
	{"COPY a b FOO", "-ERR syntax error", ""},
	{"FLUSHDB ASYNC", "+OK", ""},
	{"DBSIZE", ":0", ""},
	{"SET a 5", "+OK", ""},
	{"COPY a a DB 1", ":0", ""},
	{"FLUSHALL SYNC", "+OK", ""},
	{"SET a 5", "+OK", ""},
	{"COPY a a DB 1", ":1", ""},
	{"FLUSHALL NOW", "-ERR syntax error", ""},
	{"FLUSHDB SYNC ASYNC", "-ERR syntax error", ""},
	{"OBJECT ENCODING none", "$-1", "_"},
	{"OBJECT REFCOUNT none", "$-1", "_"},
	{"OBJECT IDLETIME none", "$-1", "_"},
	{"OBJECT FREQ none", "$-1", "_"},
	{"OBJECT IDLETIME a", ":0", ""},
	{"OBJECT FREQ a", "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.", ""},
	{"OBJECT REFCOUNT a", ":2147483647", ""},
	{"SET a 10000", "+OK", ""},
	{"OBJECT REFCOUNT a", ":1", ""},
	{"OBJECT foo a", "-ERR unknown subcommand 'foo'. Try OBJECT HELP.", ""},
	{"OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command", ""},
	{"MEMORY USAGE none", "$-1", "_"},
	{"MEMORY USAGE a SAMPLES", "-ERR syntax error", ""},
	{"MEMORY USAGE a SAMPLES -1", "-ERR syntax error", ""},
	{"MEMORY USAGE a SAMPLES x", "-ERR value is not an integer or out of range", ""},
	{"MEMORY PURGE", "+OK", ""},
	{"MEMORY foo", "-ERR unknown subcommand 'foo'. Try MEMORY HELP.", ""},
	{"FUNCTION FLUSH", "+OK", ""},
	{"FUNCTION FLUSH ASYNC", "+OK", ""},
	{"FUNCTION FLUSH NOW", "-ERR FUNCTION FLUSH only supports SYNC|ASYNC option", ""},
	{"FUNCTION FLUSH SYNC SYNC", "-ERR unknown subcommand or wrong number of arguments for 'FLUSH'. Try FUNCTION HELP.", ""},
	{"FUNCTION LIST", "*0", ""},
	{"FUNCTION LIST WITHCODE LIBRARYNAME a*", "*0", ""},
	{"FUNCTION LIST LIBRARYNAME", "-ERR library name argument was not given", ""},
	{"FUNCTION LIST WITHCODE WITHCODE", "-ERR Unknown argument WITHCODE", ""},
	{"FUNCTION DELETE x", "-ERR Library not found", ""},
	{"FUNCTION KILL", "-NOTBUSY No scripts in execution right now.", ""},
	{"FUNCTION foo", "-ERR unknown subcommand 'foo'. Try FUNCTION HELP.", ""},
}

func TestKeys(t *testing.T)             { runSteps(t, keySteps) }
func TestKeysAgainstRedis(t *testing.T) { compareSteps(t, keySteps) }

func TestKeyRepliesOfOurOwn(t *testing.T) {
	s := newShell(t)
	s.do(words(t, "SET a 1")...)
	if got := show(s.do(words(t, "MEMORY USAGE a SAMPLES 0")...)); !strings.HasPrefix(got, ":") || got == ":0" {
		t.Errorf("MEMORY USAGE: %s", got)
	}
	for _, line := range []string{"KEYS ", "SCAN 0 MATCH "} {
		if got := show(s.do(words(t, line+strings.Repeat("?", glob.MaxPattern+1))...)); !strings.HasPrefix(got, "-ERR glob pattern is too long") {
			t.Errorf("%s: %s", line, got)
		}
		if got := show(s.do(words(t, line+strings.Repeat("?", glob.MaxPattern))...)); got[0] != '*' {
			t.Errorf("%s: %s", line, got)
		}
	}
	for _, line := range []string{"SCAN 9007199254740991", "SCAN 18446744073709551615", "SCAN -1"} {
		if got := show(s.do(words(t, line)...)); !strings.HasPrefix(got, "*2 ") {
			t.Errorf("%s: %s", line, got)
		}
	}
	if got := show(s.do(words(t, "KEYS *")...)); got != "*1 $1 a" {
		t.Errorf("KEYS: %s", got)
	}
	s.do(words(t, `SET "" 1`)...)
	if got := show(s.do(words(t, "KEYS **")...)); got != "*1 $1 a" {
		t.Errorf("KEYS ** with an empty key: %s", got)
	}
	if got := s.do(words(t, "KEYS *")...); !bytes.HasPrefix(got, []byte("*2\r\n")) {
		t.Errorf("KEYS * with an empty key: %s", got)
	}
}

func TestReplyLimit(t *testing.T) {
	s := newShell(t)
	s.do([]byte("SET"), []byte("k"), bytes.Repeat([]byte("x"), 100))
	for _, c := range []struct {
		line  string
		limit int
		want  string
	}{
		{"MGET k k k", 320, "-ERR reply is too large"}, {"MGET k k k", 340, ""}, {"MGET k k k", 0, ""},
		{"KEYS *", 0, "*1 $1 k"}, {"KEYS *", 1, "*1 $1 k"},
	} {
		w := &protocol.Writer{V: 2}
		args := words(t, c.line)
		cmd := s.table.Find(args)
		call := &Call{Cmd: cmd, Args: args, W: w, Table: s.table, MaxReply: c.limit}
		cmd.Read(call, s.ks.View(0, s.now, false))
		if got := show(w.B); c.want != "" && got != c.want || c.want == "" && got[0] != '*' {
			t.Errorf("%s up to %d: %s", c.line, c.limit, got)
		}
	}
}

func TestScanStopsAtItsBudget(t *testing.T) {
	s := newShell(t)
	for i := range 20 {
		s.do([]byte("SET"), append(bytes.Repeat([]byte("a"), 4000), strconv.Itoa(i)...), []byte("1"))
	}
	pattern := "*" + strings.Repeat("a", 500) + "b"
	calls := 0
	s.scanAll("COUNT 10000 MATCH "+pattern, func() { calls++ })
	if calls < 8 {
		t.Errorf("%d more calls: one call does too much", calls)
	}
}

// scanAll runs a whole SCAN and calls step between its calls. It returns how often each key came.
func (s *shell) scanAll(options string, step func()) map[string]int {
	seen := map[string]int{}
	cursor := "0"
	for calls := 0; ; calls++ {
		if calls > 100000 {
			s.tb.Fatal("SCAN does not end")
		}
		reply := s.do(words(s.tb, "SCAN "+cursor+" "+options)...)
		tree := parseTree(s.tb, bufio.NewReaderSize(bytes.NewReader(reply), len(reply)+16)).([]any)
		for _, key := range tree[1].([]any) {
			seen[key.(string)]++
		}
		if cursor = tree[0].(string); cursor == "0" {
			return seen
		}
		if n, err := strconv.ParseUint(cursor, 10, 64); err != nil || n > scanMaxCursor {
			s.tb.Fatalf("cursor %s", cursor)
		}
		step()
	}
}

// TestScanGuarantee: every key that is there from the first call to the last is returned, while others come and go.
func TestScanGuarantee(t *testing.T) {
	for _, options := range []string{"", "COUNT 1", "COUNT 100", "MATCH stay:*", "COUNT 1000000000", "TYPE string"} {
		s := newShell(t)
		const stay = 3000
		for i := range stay {
			s.do(words(t, fmt.Sprintf("SET stay:%d 1", i))...)
		}
		n := 0
		seen := s.scanAll(options, func() {
			for range 5 {
				if n++; n < 20000 {
					s.do(words(t, fmt.Sprintf("SET come:%d 1", n))...)
				}
				if n > 40 && n%3 != 0 {
					s.do(words(t, fmt.Sprintf("DEL come:%d", n-40))...)
				}
			}
		})
		for i := range stay {
			if seen[fmt.Sprintf("stay:%d", i)] == 0 {
				t.Fatalf("%q: stay:%d was not returned", options, i)
			}
		}
		if options == "MATCH stay:*" && len(seen) != stay {
			t.Errorf("%d keys match, not %d", len(seen), stay)
		}
	}
}

func TestKeysFindsAll(t *testing.T) {
	s := newShell(t)
	const n = 20000
	for i := range n {
		s.do([]byte("SET"), fmt.Appendf(nil, "key:%d", i), []byte("1"))
	}
	for pattern, want := range map[string]int{"*": n, "key:1???": 1000, "key:*[05]": n / 5, "none*": 0} {
		if got := show(s.do([]byte("KEYS"), []byte(pattern))); !strings.HasPrefix(got+" ", fmt.Sprintf("*%d ", want)) {
			t.Errorf("KEYS %s: %.20s, want %d", pattern, got, want)
		}
	}
	if seen := s.scanAll("", func() {}); len(seen) != n {
		t.Errorf("SCAN finds %d keys of %d", len(seen), n)
	}
	if got := show(s.do([]byte("DBSIZE"))); got != fmt.Sprintf(":%d", n) {
		t.Errorf("DBSIZE: %s", got)
	}
}
