package scripts

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

var rewrite = flag.Bool("rewrite", false, "record the replies of redis-server into testdata")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(redistest.Main(m))
}

func loadScripts(t *testing.T) []*script {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts in testdata (%v)", err)
	}
	var all []*script
	for _, path := range paths {
		s, err := parseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// TestRecording replays every script against redis-server: the recordings must be what it says. With -rewrite it
// records them.
func TestRecording(t *testing.T) {
	t.Parallel()
	redistest.Tool(t, "redis-server")
	all := loadScripts(t)
	eachScript(t, all, func(s *script) *redistest.Server {
		return redistest.StartRedis(t, flags(s.settings)...)
	}, func(t *testing.T, s *script, addr string) {
		if *rewrite {
			record(t, s, addr)
			return
		}
		for _, proto := range s.protocols {
			compare(t, s, newPlayer(addr, false, proto))
		}
	})
}

// TestQuipu replays every script against the quipu binary: it must answer what was recorded from Redis.
func TestQuipu(t *testing.T) { replayOnQuipu(t) }

// TestQuipuNet is TestQuipu with a goroutine per connection instead of event loops.
func TestQuipuNet(t *testing.T) { replayOnQuipu(t, "--transport", "net") }

func replayOnQuipu(t *testing.T, extra ...string) {
	if *rewrite {
		t.Skip("recording")
	}
	t.Parallel()
	all := loadScripts(t)
	eachScript(t, all, func(s *script) *redistest.Server {
		return redistest.Quipu{Flags: slices.Concat(flags(s.settings), flags(s.quipuOnly), extra)}.Start(t)
	}, func(t *testing.T, s *script, addr string) {
		for _, proto := range s.protocols {
			t.Run(fmt.Sprintf("RESP%d", proto), func(t *testing.T) {
				compare(t, s, newPlayer(addr, true, proto))
			})
		}
	})
}

// eachScript runs fn for every script. Scripts that need the same settings share a server; each finds it empty.
func eachScript(t *testing.T, all []*script, start func(s *script) *redistest.Server,
	fn func(t *testing.T, s *script, addr string)) {
	servers := map[string]*redistest.Server{}
	for _, s := range all {
		t.Run(strings.TrimSuffix(filepath.Base(s.path), ".txt"), func(t *testing.T) {
			key := strings.Join(slices.Concat(s.settings, s.quipuOnly), " ")
			srv := servers[key]
			if srv == nil || !srv.Alive() {
				srv = start(s)
				servers[key] = srv
			}
			fn(t, s, srv.Addr)
			if !srv.Alive() {
				t.Errorf("the server died (status %d): %s", srv.Status(), srv.Output())
			}
		})
	}
	for _, srv := range servers {
		srv.Kill9()
	}
}

func flags(settings []string) []string {
	var f []string
	for i := 0; i < len(settings); i += 2 {
		f = append(f, "--"+settings[i], settings[i+1])
	}
	return f
}

// password is the value of the script's requirepass setting.
func (s *script) password() string {
	if i := slices.Index(s.settings, "requirepass"); i >= 0 {
		return s.settings[i+1]
	}
	return ""
}

// empty removes all keys, so that a script does not depend on the one before.
func empty(t *testing.T, s *script, addr string) {
	t.Helper()
	c, err := redistest.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	commands := [][]string{{"FLUSHALL"}}
	if pass := s.password(); pass != "" {
		commands = [][]string{{"AUTH", pass}, {"FLUSHALL"}}
	}
	for _, cmd := range commands {
		if r, err := c.Do(cmd...); err != nil || r.Text != "OK" {
			t.Errorf("%v: %v, %v", cmd, r, err)
		}
	}
}

func compare(t *testing.T, s *script, p *player) {
	t.Helper()
	empty(t, s, p.addr)
	err := p.play(s, func(st *step, got string) {
		want := st.expected(p.quipu, p.proto)
		switch {
		case want == nil:
			t.Errorf("%s:%d: no reply recorded for %s; run with -rewrite", s.path, st.line, describe(s, st))
		case !want.match(got):
			t.Errorf("%s:%d (RESP%d): %s\nexpected: %s\ngot:      %s", s.path, st.line, p.proto, describe(s, st),
				indent(want.text), indent(got))
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// describe is the step's source line; for a read, the last send on the same connection with it.
func describe(s *script, st *step) string {
	last := ""
	for i, line := range s.lines {
		other := s.steps[i]
		if other == nil {
			continue
		}
		if other == st {
			if st.op == opRead && last != "" {
				return line + "  (after " + last + ")"
			}
			return line
		}
		if other.conn == st.conn && (other.op == opSend || other.op == opRaw) {
			last = line
		}
	}
	return ""
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n          ") }

// record plays the script against Redis and writes its replies into the file. Patterns and what is written for Quipu
// stay.
func record(t *testing.T, s *script, addr string) {
	t.Helper()
	for _, proto := range s.protocols {
		empty(t, s, addr)
		err := newPlayer(addr, false, proto).play(s, func(st *step, got string) {
			recordStep(t, s, st, proto, got)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.path, []byte(s.format()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func recordStep(t *testing.T, s *script, st *step, proto int, got string) {
	if got == renderedTimeout {
		t.Errorf("%s:%d: %s got no reply", s.path, st.line, describe(s, st))
		return
	}
	old := st.expected(false, proto)
	if old != nil && old.pattern != nil {
		if !old.match(got) {
			t.Errorf("%s:%d (RESP%d): %s does not match %s\ngot: %s", s.path, st.line, proto, describe(s, st), old.text, got)
		}
		return
	}
	at := redis2
	if proto == 3 {
		at = redis3
		if st.expect[redis2] != nil && st.expect[redis2].text == got {
			st.expect[redis3] = nil
			return
		}
	}
	st.expect[at] = &expectation{text: got}
}
