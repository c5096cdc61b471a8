package exec

import (
	"fmt"
	"strings"
	"testing"

	"quipu/commands"
	"quipu/engine"
	"quipu/protocol"
)

// timedRunner is a runner whose clock goes on by 1 ns with each reading, and what it has said was timed.
func timedRunner(t *testing.T) (r *Runner, table *commands.Table, m *Meter, took *[]string) {
	t.Helper()
	var now int64
	took = new([]string)
	m = &Meter{
		Clock: func() int64 { now++; return now },
		Took:  func(d Timed) { *took = append(*took, fmt.Sprintf("%s %d %v", d.Cmd.FullName(), d.Count, d.Sampled)) },
		Entry: func(int64) {},
	}
	table = commands.NewTable()
	ks := engine.New(engine.Config{Databases: 1})
	t.Cleanup(ks.Close)
	r = NewRunner(ks, table)
	r.TimeWith(m)
	return r, table, m, took
}

// TestWhatIsTimed: what may take long each time, what is short once, and then one of timedEach.
func TestWhatIsTimed(t *testing.T) {
	r, table, m, took := timedRunner(t)
	read := func(line string, times int) string {
		*took = nil
		var args [][]byte
		for _, word := range strings.Fields(line) {
			args = append(args, []byte(word))
		}
		cmd := table.Find(args)
		for range times {
			var w protocol.Writer
			r.Read(cmd, args, 0, 1, &w)
		}
		return strings.Join(*took, ", ")
	}
	many := " " + strings.Repeat("x ", 300)
	for _, c := range []struct {
		line  string
		times int
		want  string
	}{
		{"keys *", 3, "keys 1 false, keys 1 false, keys 1 false"},
		{"exists" + many, 2, "exists 1 false, exists 1 false"},
		{"get a", 1, "get 1 true"},
		{"get a", timedEach - 1, ""},
		{"get a", 1, "get 1 true"},
		{"ttl a", 2, "ttl 1 true"},
	} {
		if got := read(c.line, c.times); got != c.want {
			t.Errorf("%d times %.10s: %q, want %q", c.times, c.line, got, c.want)
		}
	}
	r.Fresh()
	if got := read("get a", 2); got != "get 1 true" {
		t.Errorf("in another second: %q", got)
	}
	r.LookClosely()
	if got := strings.Count(read("get a", 2*closeLook), "get"); got < closeLook || got > closeLook+closeLook/timedEach+1 {
		t.Errorf("%d of %d are timed in a close look at %d", got, 2*closeLook, closeLook)
	}
	r.LookClosely()
	if got := strings.Count(read("get a", closeLook), "get"); got > closeLook/timedEach+1 {
		t.Errorf("%d of %d are timed in a second close look within a second", got, closeLook)
	}
	m.All.Store(true)
	r.Refresh()
	if got := strings.Count(read("get a", 300), "get"); got != 300 {
		t.Errorf("%d of 300 are timed where all are to be", got)
	}
	rename := table.Lookup([]byte("rename"))
	m.All.Store(false)
	r.Refresh()
	for range 2 {
		if why := r.times(rename, [][]byte{[]byte("rename"), []byte("a"), []byte("b")}); why != dear {
			t.Errorf("rename: %v, want %v", why, dear)
		}
	}
}

// TestBurstsAreTimedTogether: the reads of a burst have the same share each, and increments are one row.
func TestBurstsAreTimedTogether(t *testing.T) {
	r, table, _, took := timedRunner(t)
	gather := func(name string) {
		var w protocol.Writer
		r.GatherRead(nil, table.Lookup([]byte(name)), [][]byte{[]byte(name), []byte("a")}, 0, SeesApplied, &w)
	}
	for range 2 {
		for _, name := range []string{"get", "get", "ttl", "get"} {
			gather(name)
		}
		r.Answer(1)
	}
	if got, want := strings.Join(*took, ", "), "get 2 true, ttl 1 true, get 1 true"; got != want {
		t.Errorf("two bursts: %q, want %q", got, want)
	}
}
