package scripts

import (
	"slices"
	"strings"
	"testing"
)

const sample = `# a comment
@unordered 2

> SET k "a b"
    +OK
> GET nope
    $-1
3   _
c2>> INCR n
c2! "PING\r\n"
c2<
    :1
> COMMAND COUNT
    /:\d+/
q3  *2
      "a"
      $-1
@quipu
> INCREX k
    *2
      :1
      :1
@end
`

func TestFormatKeepsEverything(t *testing.T) {
	s, err := parse("sample", sample)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.format(); got != sample {
		t.Errorf("written back:\n%s", got)
	}
	if len(s.order) != 7 || !s.order[6].quipuOnly || s.order[0].unordered != 2 || s.order[1].unordered != 0 {
		t.Errorf("steps: %+v", s.order)
	}
	if e := s.order[5].expected(true, 3); e.text != "*2\n  \"a\"\n  $-1" {
		t.Errorf("q3 reply: %q", e.text)
	}
	if e := s.order[5].expected(true, 2); !e.match(":240") || e.match(":240x") {
		t.Errorf("pattern %q", e.text)
	}
}

func TestBadScripts(t *testing.T) {
	for _, source := range []string{
		"    +OK\n", "> \n", ">\n", "< x\n", "hello\n", "@nonsense\n", "> GET \"a\n", "@unordered x\n",
		"> GET a\n    /(/\n", "> GET a\n3   _\n3   _\n", "@protocols 4\n",
	} {
		if _, err := parse("bad", source); err == nil {
			t.Errorf("accepted: %q", source)
		}
	}
}

func TestSplitArgs(t *testing.T) {
	for line, want := range map[string][]string{
		`GET a`:                     {"GET", "a"},
		`GET ""`:                    {"GET", ""},
		`SET "a\x00\n\"b" 'x\'y\n'`: {"SET", "a\x00\n\"b", `x'y\n`},
		`A <3*ab> <x> "<2*y>"`:      {"A", "ababab", "<x>", "<2*y>"},
	} {
		got, err := splitArgs(line)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
}

func TestRender(t *testing.T) {
	for raw, want := range map[string]string{
		"+OK\r\n":                       "+OK",
		"$3\r\na\nb\r\n":                `"a\nb"`,
		"$-1\r\n":                       "$-1",
		"*-1\r\n":                       "*-1",
		"*2\r\n$1\r\nb\r\n*1\r\n:1\r\n": "*2\n  \"b\"\n  *1\n    :1",
		"%1\r\n+a\r\n_\r\n":             "%1\n  +a\n  _",
		"=5\r\ntxt:a\r\n":               `="txt:a"`,
		"$70\r\n" + strings.Repeat("x", 70) + "\r\n": "<70*x>",
		"+a\x01\r\n":     `+"a\x01"`,
		"$03\r\nabc\r\n": `RAW "$03\r\nabc\r\n"`,
	} {
		if got := render([]byte(raw), 0); got != want {
			t.Errorf("%q: %s, want %s", raw, got, want)
		}
	}
	if got := render([]byte("*2\r\n*2\r\n:2\r\n:1\r\n*0\r\n"), 2); got != "*2\n  *2\n    :1\n    :2\n  *0" {
		t.Errorf("sorted from depth 2: %s", got)
	}
}
