package redistest

import (
	"slices"
	"strings"
	"testing"
)

func TestBlocks(t *testing.T) {
	got := Blocks("text\n```console\n$ a\n```\n<!-- not run: because -->\n```sh\nb\n\nc\n```\n\n<!-- run by TestX -->\n\n```conf my.conf\n```\n```\n```\n")
	want := []Block{
		{Language: "console", Text: "$ a\n", Line: 2},
		{Language: "sh", Note: "not run: because", Text: "b\n\nc\n", Line: 6},
		{Language: "conf", File: "my.conf", Note: "run by TestX", Line: 14},
		{Line: 16},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestPageSteps(t *testing.T) {
	page := Page{Text: "text\n```console\n$ one\nprints\n  this\n$ two | three\n```\n$ not typed\n```\n$ nor this\n```\n" +
		"<!-- not run: for a reason -->\n```console\n$ nor that\n```\n```conf x.conf\nport 1\n```\n```console\n$ four\n…\n```\n" +
		"<!-- in a terminal of its own -->\n```console\n$ serve\nsays this\n```\n" +
		"```console\n$ redis-cli\n127.0.0.1:6379> MULTI\nOK\n127.0.0.1:6379(TX)> EXEC\n(empty array)\n$ five\n127.0.0.1:7001> PING\nPONG\n```\n",
		Await: func(line string) string { return "await " + line },
	}
	const end = "=====end of text"
	want := []step{
		{line: "one", typed: "one", printed: "prints\n  this\n", commands: 1},
		{line: "two | three", typed: "two | three", commands: 1},
		{line: "cat >x.conf", typed: "cat >x.conf <<'" + end + "'\nport 1\n" + end},
		{line: "four", typed: "four", printed: "…\n", commands: 1},
		{line: "serve", typed: "{ serve\n} </dev/null >>terminals.log 2>&1 &\nawait serve", commands: 1},
		{line: "redis-cli", typed: "redis-cli <<'" + end + "'\nMULTI\nEXEC\n" + end, printed: "OK\n(empty array)\n", commands: 2, session: true},
		{line: "five", typed: "five", commands: 1},
		{line: "redis-cli -p 7001", typed: "redis-cli -p 7001 <<'" + end + "'\nPING\n" + end, printed: "PONG\n", commands: 1, session: true},
	}
	if got := page.steps(); !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestLike(t *testing.T) {
	for _, tc := range []struct {
		got, want string
		like      bool
	}{
		{"", "", true},
		{"a   b\nc\n", " a b\nc", true},
		{"a (1) b\n", "a (…) …", true},
		{"a\n", "a\nb\n", false},
		{"a\nb\n", "a\n", false},
		{"a\n\nb\n", "a\nb\n", false},
		{"ab\n", "a.\n", false},
		{"ab\n", "a\n", false},
		{"ba\n", "a\n", false},
	} {
		if like(tc.got, tc.want) != tc.like {
			t.Errorf("%s is taken wrongly for %s", strings.TrimSpace(tc.got), strings.TrimSpace(tc.want))
		}
	}
}

// TestPlay plays a page that has each kind of block but sessions of redis-cli, in one shell.
func TestPlay(t *testing.T) {
	page := Page{
		Text: "```text two.txt\n$2\n```\n<!-- in a terminal of its own -->\n```console\n$ echo ready >fifo\n```\n" +
			"```console\n$ cat two.txt fifo\n$2\nready\n$ false\n$ echo $? $HERE\n1 here\n```\n<!-- not run: it fails -->\n```console\n$ exit 1\n```\n",
		Setup:    "cd " + t.TempDir() + "\nmkfifo fifo\nHERE=here",
		Commands: 4,
	}
	page.Play(t)
}
