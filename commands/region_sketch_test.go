package commands

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"quipu/engine"
	"quipu/engine/shared"
)

// tell sends another region all that this one has to say of a key's part: counters, and sketches from the beginning.
func (s *shell) tell(to *shell, key string) {
	part := engine.Part([]byte(key))
	to.do(s.frame("MERGE", part, 0)...)
	args := s.frame("MERGE", part, 0)
	for rest := (engine.SketchRest{}); ; {
		args[5] = s.ks.SketchFrame(nil, part, 0, &rest, s.now)
		if len(args[5]) == 0 {
			return
		}
		if got := string(to.do(args...)); !strings.Contains(got, "applied") {
			s.tb.Errorf("sketches: %q", got)
		}
		if len(rest.Names) == 0 {
			return
		}
	}
}

// TestSketchesOfRegions: both regions add to a sketch, and each shows what both have added.
func TestSketchesOfRegions(t *testing.T) {
	eu, us := newRegion(t, "eu", "a*"), newRegion(t, "us", "a*")
	eu.hello(us)
	us.hello(eu)
	check := func(both bool, line, want string) {
		t.Helper()
		regions := []*shell{eu}
		if both {
			regions = append(regions, us)
		}
		for _, s := range regions {
			if got := s.say(line); got != want {
				t.Errorf("%s: %q, want %q", line, got, want)
			}
		}
	}
	both := func(key string) {
		eu.tell(us, key)
		us.tell(eu, key)
		eu.tell(us, key)
	}
	for i, s := range []*shell{eu, us} {
		s.say(fmt.Sprintf("PFADD ah x y%d", i))
		s.say("CMS.INITBYDIM ac 100 3")
		s.say(fmt.Sprintf("CMS.INCRBY ac x 3 y%d 4", i))
		s.say("TOPK.RESERVE at 2")
		s.say(fmt.Sprintf("TOPK.INCRBY at x 3 y%d 5", i))
	}
	for _, key := range []string{"ah", "ac", "at"} {
		both(key)
	}
	check(true, "PFCOUNT ah", ":3")
	check(true, "CMS.QUERY ac x y0 y1", "*3\r\n:6\r\n:4\r\n:4")
	check(true, "CMS.INFO ac", "*8\r\n+width\r\n:100\r\n+depth\r\n:3\r\n+count\r\n:14\r\n+cell_size\r\n:4")
	check(true, "TOPK.LIST at WITHCOUNT", "*4\r\n$1\r\nx\r\n:6\r\n$2\r\ny0\r\n:5")
	check(true, "TOPK.COUNT at x y1", "*2\r\n:6\r\n:5")
	check(true, "TOPK.QUERY at x y0 y1 z", "*4\r\n:1\r\n:1\r\n:1\r\n:0")
	check(false, "CMS.INCRBY ac x 1", "*1\r\n:7")
	check(false, "CMS.INCRBY ac y1 -1", "*1\r\n-CMS: INCRBY underflow") // what another region has counted is its own to take back
	check(false, "CMS.INITBYDIM b 100 3", "+OK")
	check(false, "CMS.MERGE b 1 ac WEIGHTS 2", "+OK")
	check(false, "CMS.QUERY b x", "*1\r\n:14")

	us.say("PFADD ah z") // at the same time as the DEL, which wins
	check(false, "DEL ah ac at", ":3")
	for _, key := range []string{"ah", "ac", "at"} {
		both(key)
		check(true, "EXISTS "+key, ":0")
	}
	us.say("PFADD ah new")
	both("ah")
	check(true, "PFCOUNT ah", ":1")
	check(false, "EXPIRE ah 100", ":1")
	both("ah")
	check(true, "TTL ah", ":100")
}

// TestSketchWinsOverCounter: one region counts what another one makes a sketch.
func TestSketchWinsOverCounter(t *testing.T) {
	eu, us := newRegion(t, "eu", "a*"), newRegion(t, "us", "a*")
	eu.hello(us)
	us.hello(eu)
	eu.say("INCRBY a 5")
	us.say("PFADD a x")
	for range 3 {
		eu.tell(us, "a")
		us.tell(eu, "a")
	}
	for _, s := range []*shell{eu, us} {
		if got := s.say("PFCOUNT a"); got != ":1" {
			t.Errorf("PFCOUNT: %q", got)
		}
		if err := s.ks.Check(); err != nil {
			t.Error(err)
		}
	}
	eu.say("DEL a")
	eu.tell(us, "a")
	us.tell(eu, "a")
	for _, s := range []*shell{eu, us} {
		if got := s.say("INCR a"); got != ":1" {
			t.Errorf("INCR behind DEL: %q", got)
		}
	}
}

// FuzzMergeSketches: whatever bytes another region sends, the keyspace stays sound.
func FuzzMergeSketches(f *testing.F) {
	front := func(kind shared.FrameKind) []byte {
		return shared.AppendSketchFrame(nil, &shared.SketchFrame{Kind: kind, At: 3, First: true, Last: true})
	}
	us := newRegion(f, "us", "*")
	us.say("PFADD a x y z")
	us.say("CMS.INITBYDIM {a}c 5 2")
	us.say("CMS.INCRBY {a}c x 3")
	us.say("TOPK.RESERVE {a}t 3 8 2 0.9")
	us.say("TOPK.ADD {a}t x")
	rest := engine.SketchRest{}
	f.Add(us.ks.SketchFrame(nil, engine.Part([]byte("a")), 0, &rest, us.now), 7)
	f.Add(shared.AppendSketchRow(front(shared.FrameSketches), &shared.SketchRow{Key: []byte("a"), Gone: true}, false), 8)
	f.Add(shared.AppendSketchRow(front(shared.FrameAllSketches), &shared.SketchRow{Key: []byte("a"), Gen: 9}, false), 9)
	f.Fuzz(func(t *testing.T, frame []byte, n int) {
		s := newRegion(t, "eu", "*")
		s.say("REGION HELLO 1 us 5 0 1 1 *")
		s.say("PFADD a w")
		s.say("CMS.INITBYDIM {a}c 5 2")
		s.say("EXPIRE a 5")
		part := strconv.Itoa(engine.Part([]byte("a")))
		for range 2 {
			s.do([]byte("REGION"), []byte("MERGE"), []byte("us"), []byte("5"), []byte(part), frame, []byte("us"), []byte("5"))
			s.say("PFADD a v")
			s.say("CMS.INCRBY {a}c x 1")
			s.say("CMS.QUERY {a}c x")
			s.say("TOPK.LIST {a}t")
			s.now += int64(n % 10_000)
			s.say("PFCOUNT a")
			s.say("DEL a")
		}
	})
}

// TestSketchRowsAreChecked: what another region sends is looked at before anything is changed.
func TestSketchRowsAreChecked(t *testing.T) {
	eu, us := newRegion(t, "eu", "a*"), newRegion(t, "us", "a*")
	eu.hello(us)
	part := engine.Part([]byte("a"))
	good := shared.SketchRow{Key: []byte("a"), Gen: 5, Kind: shared.SketchHLL, Birth: 7, Payload: []byte("HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f\xff")}
	frame := func(row *shared.SketchRow) [][]byte {
		args := eu.frame("MERGE", part, 0)
		args[5] = shared.AppendSketchRow(shared.AppendSketchFrame(nil, &shared.SketchFrame{Kind: shared.FrameSketches, To: 1, At: 1}), row, false)
		return args
	}
	for what, spoil := range map[string]func(row *shared.SketchRow){
		"another part":                      func(row *shared.SketchRow) { row.Key = []byte("a2") },
		"no HyperLogLog":                    func(row *shared.SketchRow) { row.Payload = []byte("HELL") },
		"a HyperLogLog with too many runs":  func(row *shared.SketchRow) { row.Payload = append(good.Payload[:18:18], 0) },
		"a digest of a byte":                func(row *shared.SketchRow) { row.Payload, row.Brief = []byte{1}, true },
		"no Count-Min sketch":               func(row *shared.SketchRow) { row.Kind = shared.SketchCMS },
		"the header of no Count-Min sketch": func(row *shared.SketchRow) { row.Kind, row.Brief = shared.SketchCMS, true },
		"no Top-K sketch":                   func(row *shared.SketchRow) { row.Kind = shared.SketchTopK },
		"born never":                        func(row *shared.SketchRow) { row.Birth = 0 },
		"a brief one of 256 GiB": func(row *shared.SketchRow) {
			row.Kind, row.Brief, row.Payload = shared.SketchCMS, true, append([]byte{1, 0, 4, 0, 16, 0, 0, 0, 255, 255, 255, 255}, make([]byte, 12)...)
		},
	} {
		row := good
		spoil(&row)
		if got := string(us.do(frame(&row)...)); !strings.HasPrefix(got, "-ERR the frame is malformed") {
			t.Errorf("%s: %q", what, got)
		}
	}
	if got := us.say("EXISTS a a2"); got != ":0" {
		t.Errorf("EXISTS: %q", got)
	}
	if got := string(us.do(frame(&good)...)); !strings.Contains(got, "applied") {
		t.Errorf("a good one: %q", got)
	}
}

// TestSketchTellsWhatOthersLack: a region that hears of less than it has says so again, though it has been heard before.
func TestSketchTellsWhatOthersLack(t *testing.T) {
	eu, us := newRegion(t, "eu", "a*"), newRegion(t, "us", "a*")
	eu.hello(us)
	us.hello(eu)
	part := engine.Part([]byte("a"))
	us.say("PFADD a x y z")
	last, _ := shared.OpenSketchFrame(us.ks.SketchFrame(nil, part, 0, &engine.SketchRest{}, us.now))
	eu.say("PFADD a x")
	eu.tell(us, "a")
	if frame := us.ks.SketchFrame(nil, part, last.To, &engine.SketchRest{}, us.now); len(frame) == 0 {
		t.Error("us has registers that eu does not have, and does not say so")
	}
	us.tell(eu, "a")
	last, _ = shared.OpenSketchFrame(us.ks.SketchFrame(nil, part, 0, &engine.SketchRest{}, us.now))
	eu.tell(us, "a")
	if frame := us.ks.SketchFrame(nil, part, last.To, &engine.SketchRest{}, us.now); len(frame) > 0 {
		t.Error("they are equal, and it goes on")
	}
}

// TestSharedDeadlinesFarAhead: clients ask for deadlines that are far ahead of all that is stored, and a region may say anything of its clock.
func TestSharedDeadlinesFarAhead(t *testing.T) {
	const largest = 1 << 53 // of the log times that are stored
	for _, make := range []string{"PFADD a x", "INCR a", "CMS.INITBYDIM a 5 2"} {
		for _, far := range []string{"PEXPIREAT a 9223372036854775807", "EXPIRE a 9007199254740", "PEXPIREAT a 9007199254740993"} {
			eu, us := newRegion(t, "eu", "a*"), newRegion(t, "us", "a*")
			eu.hello(us)
			us.hello(eu)
			eu.say(make)
			if got := eu.say(far); got != ":1" {
				t.Errorf("%s, %s: %q", make, far, got)
			}
			for range 2 {
				eu.tell(us, "a")
				us.tell(eu, "a")
			}
			for _, s := range []*shell{eu, us} {
				if got, want := s.say("PEXPIRETIME a"), fmt.Sprint(":", largest); got != want {
					t.Errorf("%s, %s: PEXPIRETIME %q, want %q", make, far, got, want)
				}
			}
		}
	}
	part := engine.Part([]byte("a"))
	row := shared.SketchRow{
		Key: []byte("a"), Gen: 1<<56 - 1, Kind: shared.SketchHLL, Birth: largest, Wish: shared.Wish{Deadline: largest, Stamp: largest},
		Payload: []byte("HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f\xff"),
	}
	for _, line := range []string{"EXPIRE a 5", "PERSIST a", "DEL a", "SET a 1"} {
		eu, us := newRegion(t, "eu", "a*"), newRegion(t, "us", "a*")
		eu.hello(us)
		us.hello(eu)
		args := eu.frame("MERGE", part, 0)
		args[5] = shared.AppendSketchRow(shared.AppendSketchFrame(nil, &shared.SketchFrame{Kind: shared.FrameSketches, To: 1, At: 1}), &row, false)
		us.do(args...)
		us.say("PFADD a y")
		us.say(line)
		us.tell(eu, "a")
		if got, want := eu.say("EXISTS a"), us.say("EXISTS a"); got != want && line != "SET a 1" {
			t.Errorf("%s: EXISTS %q, and elsewhere %q", line, got, want)
		}
	}
}

// TestSketchBegunAnewIsToldWhole: what is added right behind another generation's beginning is told, whatever was noted of the one before.
func TestSketchBegunAnewIsToldWhole(t *testing.T) {
	eu, us := newRegion(t, "eu", "a*"), newRegion(t, "us", "a*")
	eu.hello(us)
	us.hello(eu)
	for _, s := range []*shell{eu, us, us} {
		s.say("DEL a")
		s.say("CMS.INITBYDIM a 50 2")
		s.say("CMS.INCRBY a x 1")
	}
	us.tell(eu, "a")
	eu.say("CMS.INCRBY a x 1")
	eu.tell(us, "a")
	for _, s := range []*shell{eu, us} {
		if got := s.say("CMS.QUERY a x"); got != "*1\r\n:2" {
			t.Errorf("CMS.QUERY: %q", got)
		}
	}
}

// TestSketchesThatAreMissing: a region that tells of all its sketches says so of those that it does not have.
func TestSketchesThatAreMissing(t *testing.T) {
	eu, us := newRegion(t, "eu", "a*", "{a}*"), newRegion(t, "us", "a*", "{a}*")
	eu.hello(us)
	us.hello(eu)
	part := engine.Part([]byte("a"))
	us.say("PFADD a x")
	us.say("PFADD {a}2 x")
	at := func() uint64 {
		f, err := shared.OpenSketchFrame(us.ks.SketchFrame(nil, part, 0, &engine.SketchRest{}, us.now))
		if err != nil {
			t.Fatal(err)
		}
		return f.To
	}
	all := func(first, last bool, behind, has string) {
		args := eu.frame("MERGE", part, 0)
		args[5] = shared.AppendSketchFrame(nil, &shared.SketchFrame{Kind: shared.FrameAllSketches, At: 9, First: first, Last: last, Behind: []byte(behind)})
		if has != "" {
			args[5] = shared.AppendSketchRow(args[5], &shared.SketchRow{Key: []byte(has), Gone: true}, false)
		}
		if got := string(us.do(args...)); !strings.Contains(got, "applied") {
			t.Errorf("%q", got)
		}
	}
	before := at()
	all(false, true, "{a}2", "") // what is behind the last one: nothing
	if at() != before {
		t.Error("what the frame is not about is taken for missing")
	}
	for _, c := range []struct {
		first, last bool
		behind, has string
		tells       uint64
	}{{true, true, "", "", 2}, {true, false, "", "a", 1}, {false, true, "a", "", 1}} {
		before := at()
		all(c.first, c.last, c.behind, c.has)
		if n := at() - before; n != c.tells {
			t.Errorf("%+v: %d sketches are told again, want %d", c, n, c.tells)
		}
	}
}
