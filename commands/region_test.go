package commands

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"quipu/engine"
	"quipu/engine/shared"
	"quipu/protocol"
)

// newRegion is a shell whose keyspace is a region.
func newRegion(t testing.TB, name string, keys ...string) *shell {
	s := newShell(t)
	cmd, call := s.table.RegionOpen(name, 7, keys)
	w := &protocol.Writer{V: 2}
	s.run(cmd, 0, call, w)
	if string(w.B) != ":0\r\n" {
		t.Fatalf("opened: %q", w.B)
	}
	return s
}

// say is do with words, and the reply without its end.
func (s *shell) say(line string) string {
	return strings.TrimSuffix(string(s.do(words(s.tb, line)...)), "\r\n")
}

// hello has one region say HELLO to another, and returns the reply.
func (s *shell) hello(to *shell) string {
	setup, _ := s.ks.Regions()
	me := setup.Origins[setup.Me]
	args := []string{"REGION", "HELLO", "1", me.Name, fmt.Sprint(me.Incarnation), fmt.Sprint(me.Data), fmt.Sprint(cmp.Or(s.cluster, 1)), fmt.Sprint(len(setup.Keys))}
	args = append(args, setup.Keys...)
	for _, o := range setup.Origins {
		lost := "0"
		if o.Lost {
			lost = "1"
		}
		args = append(args, o.Name, fmt.Sprint(o.Incarnation), lost, fmt.Sprint(o.Data))
	}
	return string(to.do(bytesOf(args)...))
}

func bytesOf(words []string) (list [][]byte) {
	for _, w := range words {
		list = append(list, []byte(w))
	}
	return list
}

// frame is a frame as the arguments of REGION MERGE or WHOLE.
func (s *shell) frame(what string, part int, from uint64) [][]byte {
	setup, _ := s.ks.Regions()
	me := setup.Origins[setup.Me]
	frame, _ := s.ks.Frame(nil, part, from, s.now)
	args := [][]byte{[]byte("REGION"), []byte(what), []byte(me.Name), []byte(fmt.Sprint(me.Incarnation)), []byte(strconv.Itoa(part)), frame}
	for _, o := range setup.Origins {
		args = append(args, []byte(o.Name), []byte(fmt.Sprint(o.Incarnation)))
	}
	return args
}

// TestRegionsMeet: two regions say HELLO, and what one has counted comes to the other, once, however often it is sent.
func TestRegionsMeet(t *testing.T) {
	eu, us := newRegion(t, "eu", "*"), newRegion(t, "us", "*")
	if got := eu.hello(us); !strings.HasPrefix(got, "*8\r\n$2\r\nus\r\n") {
		t.Fatalf("HELLO: %.200q", got)
	}
	us.hello(eu)
	eu.say("INCRBY n 5")
	us.say("INCRBY n 7")
	part := engine.Part([]byte("n"))
	for range 2 {
		if got := string(us.do(eu.frame("MERGE", part, 0)...)); !regexp.MustCompile(`^\*4\r\n(\$7\r\napplied|\$3\r\nold)\r\n:1\r\n:1\r\n:\d+\r\n$`).MatchString(got) {
			t.Errorf("MERGE: %q", got)
		}
		if got := us.say("GET n"); got != "$2\r\n12" {
			t.Errorf("GET: %q", got)
		}
	}
	if got := us.say("REGION VALUE n"); got != "*4\r\n$2\r\nus\r\n:7\r\n$2\r\neu\r\n:5" {
		t.Errorf("VALUE: %q", got)
	}
	eu.say("SET m 9")
	if got := string(us.do(eu.frame("WHOLE", engine.Part([]byte("m")), 99)...)); !strings.Contains(got, "applied") {
		t.Errorf("WHOLE: %q", got)
	}
	if got := us.say("GET m"); got != "$1\r\n9" {
		t.Errorf("GET: %q", got)
	}
	if got := us.say("REGION LOST eu"); got != "+OK" {
		t.Errorf("LOST: %q", got)
	}
	eu.say("INCR n")
	if got := string(us.do(eu.frame("MERGE", part, 1)...)); !strings.HasPrefix(got, "-REGIONLOST") {
		t.Errorf("MERGE of one that is lost: %q", got)
	}
	if got := eu.hello(us); !strings.HasPrefix(got, "-REGIONLOST") {
		t.Errorf("HELLO of one that is lost: %q", got)
	}
	if got := eu.say("REGION RENEW"); got != "+OK" {
		t.Errorf("RENEW: %q", got)
	}
	if got := eu.hello(us); !strings.HasPrefix(got, "*8") {
		t.Errorf("HELLO of the new one: %.200q", got)
	}
}

// TestPersistOfShares: of a key that has no deadline for clients, what one region has counted would die; whoever says PERSIST keeps it.
func TestPersistOfShares(t *testing.T) {
	for command, want := range map[string]string{"PERSIST n": ":1", "GETEX n PERSIST": "$1\r\n6", "INCREX n BYINT 0 PERSIST": "*2\r\n:6\r\n:0"} {
		eu, us := newRegion(t, "eu", "*"), newRegion(t, "us", "*")
		eu.hello(us)
		us.hello(eu)
		part := engine.Part([]byte("n"))
		tell := func(from, to *shell) {
			from.now += 20 // a frame is shared for less
			if got := string(to.do(from.frame("MERGE", part, 0)...)); !strings.Contains(got, "applied") {
				t.Fatalf("MERGE: %q", got)
			}
		}
		eu.say("INCR n")
		eu.say("EXPIRE n 100")
		tell(eu, us)
		us.say("SET n 5")
		eu.say("INCR n")
		tell(us, eu)
		tell(eu, us)
		if got := us.say("TTL n") + us.say("GET n"); got != ":-1$1\r\n6" {
			t.Fatalf("TTL and GET: %q", got)
		}
		if got := us.say(command); got != want {
			t.Errorf("%s: %q", command, got)
		}
		tell(us, eu)
		tell(eu, us)
		for _, s := range []*shell{eu, us} {
			s.now += 200_000
			if got := s.say("GET n"); got != "$1\r\n6" {
				t.Errorf("after %s and the deadline: %q", command, got)
			}
		}
		if got := us.say("PERSIST n"); got != ":0" {
			t.Errorf("PERSIST again: %q", got)
		}
	}
}

// TestRegionRefusals: what others may not say, and what becomes of no key.
func TestRegionRefusals(t *testing.T) {
	eu, us := newRegion(t, "eu", "a*", "b"), newRegion(t, "us", "a*", "b")
	if got := newRegion(t, "asia", "*").hello(us); !strings.HasPrefix(got, "-REGION the patterns") {
		t.Errorf("other patterns: %q", got)
	}
	if got := newRegion(t, "asia", "a*", "c").hello(us); !strings.HasPrefix(got, "-REGION the patterns") {
		t.Errorf("another pattern: %q", got)
	}
	if got := newRegion(t, "us", "a*", "b").hello(us); !strings.HasPrefix(got, "-REGION this region has that name") {
		t.Errorf("a namesake: %q", got)
	}
	for line, want := range map[string]string{
		"REGION HELLO 2 eu 5 0 1 1 a*":           "-REGION there is no version",
		"REGION HELLO 1 eu 0 0 1 1 a*":           "-ERR these are no arguments",
		"REGION HELLO 1 eu 5 x 1 1 a*":           "-ERR these are no arguments",
		"REGION HELLO 1 eu 5 0 0 1 a*":           "-ERR these are no arguments",
		"REGION HELLO 1 eu 5 0 1 9 a*":           "-ERR these are no arguments",
		"REGION HELLO 1 eu 5 0 1 2 a* b x":       "-ERR these are no arguments",
		"REGION HELLO 1 eu 5 0 1 2 a* b x 7 0 z": "-ERR these are no arguments",
		"REGION HELLO 1 eu 5 0 1 2 a* b x y 0 0": "-ERR these are no arguments",
		"REGION LOST us":                         "-ERR there is no other region",
		"REGION LOST nowhere":                    "-ERR there is no other region",
		"REGION MERGE eu 5 0 nonsense eu 5":      "-ERR the frame is malformed",
		"REGION WHOLE eu 5 999 nonsense eu 5":    "-ERR the frame is malformed",
	} {
		if got := us.say(line); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", line, got)
		}
	}
	setup, _ := us.ks.Regions()
	if got := us.say(fmt.Sprintf("REGION HELLO 1 eu 5 0 1 2 a* b us %d 0 0", setup.Origins[setup.Me].Incarnation+1)); !strings.HasPrefix(got, "-REGION a later incarnation") {
		t.Errorf("HELLO of one that knows a later incarnation: %q", got)
	}
	eu.say("INCR a1")
	part := engine.Part([]byte("a1"))
	if got := string(us.do(eu.frame("MERGE", part, 0)...)); !strings.HasPrefix(got, "-REGIONHELLO") {
		t.Errorf("MERGE before HELLO: %q", got)
	}
	eu.hello(us)
	spoiled := map[string]func(args [][]byte) [][]byte{
		"another part":      func(args [][]byte) [][]byte { args[4] = []byte(strconv.Itoa(part ^ 1)); return args },
		"another's name":    func(args [][]byte) [][]byte { args[2] = []byte("us"); return args },
		"no table":          func(args [][]byte) [][]byte { return args[:regionHeadMerge] },
		"another kind":      func(args [][]byte) [][]byte { args[1] = []byte("WHOLE"); return args },
		"a byte too few":    func(args [][]byte) [][]byte { args[5] = args[5][:len(args[5])-1]; return args },
		"an unknown origin": func(args [][]byte) [][]byte { args[5][1] = 7; return args },
		"a reset of one that is in no table": func(args [][]byte) [][]byte {
			k := shared.Key{HasOwn: true, Own: shared.Share{Cum: 1, Seq: 1}, Others: []shared.Other{{Origin: 9, Share: shared.Share{RSeq: 99, RCum: 99}, Hinted: true, Mine: true}}}
			args[5] = k.AppendRow(shared.AppendFrame(nil, shared.FrameDelta, 0, 0, 1), []byte("a1"))
			return args
		},
	}
	for what, spoil := range spoiled {
		if got := string(us.do(spoil(eu.frame("MERGE", part, 0))...)); !strings.HasPrefix(got, "-ERR") {
			t.Errorf("%s: %q", what, got)
		}
	}
	us.say("ONCE OPEN p")
	if got := string(us.do(append(words(t, "ONCE p 1 1"), eu.frame("MERGE", part, 0)...)...)); !strings.HasPrefix(got, "-ERR ONCE takes") {
		t.Errorf("in ONCE, which has not locked its keys: %q", got)
	}
	if got := us.say("GET a1"); got != "$-1" {
		t.Errorf("GET: %q", got)
	}
	if got := string(us.do(eu.frame("MERGE", part, 0)...)); !strings.Contains(got, "applied") {
		t.Errorf("MERGE: %q", got)
	}
	if us.ks.Checksum(us.now) == eu.ks.Checksum(eu.now) {
		t.Error("regions are not each other's replicas")
	}
}

// TestRegionsOfOneBackup: two regions that began with counters of the same data would count everything twice, wherever that shows.
func TestRegionsOfOneBackup(t *testing.T) {
	begin := func(name string, data uint64, counted bool) *shell {
		s := newShell(t)
		if counted {
			s.say("INCRBY n 5")
		}
		cmd, call := s.table.RegionOpen(name, data, []string{"*"})
		s.run(cmd, 0, call, &protocol.Writer{V: 2})
		return s
	}
	const refused = "-REGION everything would count twice"
	eu, us, asia := begin("eu", 7, true), begin("us", 7, true), begin("asia", 9, true)
	if got := us.hello(eu); !strings.HasPrefix(got, refused) {
		t.Errorf("of one backup: %q", got)
	}
	eu.hello(asia)
	if got := us.hello(asia); !strings.HasPrefix(got, refused) {
		t.Errorf("to a region that knows one of that backup: %q", got)
	}
	if got := asia.hello(us); !strings.HasPrefix(got, refused) {
		t.Errorf("of a region that knows one of that backup: %q", got)
	}
	us.say("REGION RENEW")
	if got := us.hello(eu); !strings.HasPrefix(got, refused) {
		t.Errorf("another incarnation: %q", got)
	}
	if s, _ := us.ks.Regions(); s.Origins[s.Me].Data != 7 {
		t.Errorf("another incarnation began with data %d", s.Origins[s.Me].Data)
	}
	for _, other := range []*shell{begin("africa", 7, false), begin("oceania", 8, true)} {
		if got := other.hello(eu); !strings.HasPrefix(got, "*8") {
			t.Errorf("one that has counted nothing of it: %q", got)
		}
	}
	eu.say("REGION RENEW")
	if got := eu.hello(asia); !strings.HasPrefix(got, "*8") {
		t.Errorf("another incarnation of one that is known: %q", got)
	}
}

// TestRestoredRegion: a cluster that is restored, or that what is restored was taken of, is not taken for the other one.
func TestRestoredRegion(t *testing.T) {
	eu, us, asia := newRegion(t, "eu", "*"), newRegion(t, "us", "*"), newRegion(t, "asia", "*")
	eu.hello(us)
	us.hello(asia) // which has heard of eu, and not of its cluster
	eu.hello(asia)
	const refused = "-REGION another cluster has said"
	eu.cluster = 2
	for _, other := range []*shell{us, asia} {
		if got := eu.hello(other); !strings.HasPrefix(got, refused) {
			t.Errorf("restored: %q", got)
		}
	}
	eu.say("REGION RENEW")
	if got := eu.hello(us); !strings.HasPrefix(got, "*8") {
		t.Errorf("another incarnation: %q", got)
	}
	eu.cluster = 3
	if got := eu.hello(us); !strings.HasPrefix(got, refused) {
		t.Errorf("restored again: %q", got)
	}
}

// TestSharedKeysStayShared: which writes are refused on keys that regions share.
func TestSharedKeysStayShared(t *testing.T) {
	s := newRegion(t, "eu", "a*")
	for _, c := range []struct{ line, want string }{
		{"INCR a", ":1"}, {"SET a 5", "+OK"}, {"SET a five", "-SHARED 'set' sets keys"}, {"SET a 05", "-SHARED"}, {"SET b five", "+OK"},
		{"MSET a 6 a2 7", "+OK"}, {"MSET b five a 6 a2 x", "-SHARED 'mset'"}, {"MSETNX a9 x", "-SHARED"}, {"SETEX a 100 x", "-SHARED"}, {"SETEX a 100 8", "+OK"},
		{"GETSET a x", "-SHARED"}, {"GETSET a 9", "$1\r\n8"}, {"APPEND a 1", "-SHARED 'append' is not possible"}, {"SETRANGE a 0 1", "-SHARED"},
		{"INCRBYFLOAT a 1", "-SHARED"}, {"RENAME a b", "-SHARED"}, {"RENAME b a", "-SHARED"}, {"COPY a b", "-SHARED"}, {"MOVE a 1", "-SHARED"},
		{"PFADD a x", "-WRONGTYPE"}, {"CMS.INITBYDIM a 10 2", "-CMS: key already"}, {"TOPK.RESERVE a 3", "-TopK: key already"}, {"UC.ADD a x", "-SHARED"},
		{"PFADD ah x", ":1"}, {"INCR ah", "-ERR value is not an integer"}, {"APPEND ah x", "-SHARED"}, {"RENAME ah b", "-SHARED"}, {"SET ah 3", "+OK"}, {"PFADD ah x", "-WRONGTYPE"}, {"DEL ah", ":1"},
		{"CMS.INITBYDIM ac 300000 1", "-SHARED a sketch"}, {"CMS.INITBYDIM bc 300000 1", "+OK"}, {"CMS.INITBYDIM ac 10 2", "+OK"}, {"INCR ac", "-WRONGTYPE"},
		{"CMS.MERGE ac 1 ac", "-SHARED 'cms.merge'"}, {"DEL ac bc", ":2"}, {"TOPK.RESERVE at 3000", "-SHARED a sketch"}, {"TOPK.RESERVE at 3", "+OK"}, {"DEL at", ":1"},
		{"FLUSHALL", "-SHARED database 0"}, {"FLUSHDB", "-SHARED database 0"},
		{"ONCE OPEN p", ":1"}, {"ONCE p 1 1 INCR a", ":10"}, {"ONCE p 1 2 APPEND a x", "-SHARED 'append'"}, {"ONCE p 1 2 APPEND a x", "-SHARED 'append'"},
		{"EXPIRE a 100", ":1"}, {"TTL a", ":100"}, {"PERSIST a", ":1"}, {"GETEX a EX 5", "$2\r\n10"}, {"GETDEL a", "$2\r\n10"}, {"GET a", "$-1"},
		{"INCREX a BYINT 4 UBOUND 7", "*2\r\n:4"}, {"TYPE a", "+string"}, {"OBJECT ENCODING a", "$3\r\nint"}, {"STRLEN a", ":1"}, {"DBSIZE", ":3"}, {"DEL a a2", ":2"}, {"DBSIZE", ":1"},
	} {
		if got := s.say(c.line); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
	s.db = 1
	for _, c := range []struct{ line, want string }{
		{"SET a five", "+OK"}, {"MOVE a 0", "-SHARED"}, {"COPY a b DB 0", "-SHARED"}, {"COPY a a3", ":1"}, {"FLUSHDB", "+OK"},
	} {
		if got := s.say(c.line); !strings.HasPrefix(got, c.want) {
			t.Errorf("in database 1: %s: %q, want %q", c.line, got, c.want)
		}
	}
}

// TestEveryWriteAboutShared: a write that is not refused on shared keys says what it sets, and has the argument.
func TestEveryWriteAboutShared(t *testing.T) {
	for _, cmd := range NewTable().All() {
		if cmd.Shared != sharedNever && (cmd.Write == nil || cmd.Shared > 0 && cmd.Shared >= max(cmd.Arity, -cmd.Arity)) {
			t.Errorf("%s: %d", cmd.FullName(), cmd.Shared)
		}
	}
}

// FuzzMergeFrame: whatever bytes another region sends, the keyspace stays sound.
func FuzzMergeFrame(f *testing.F) {
	k := shared.Key{HasOwn: true, Own: shared.Share{Cum: 5, Seq: 3, RSeq: 1}}
	f.Add(k.AppendRow(shared.AppendFrame(nil, shared.FrameDelta, 0, 0, 3), []byte("a")), 7)
	f.Add(shared.AppendFrame(nil, shared.FrameFull, 0, 0, 9), 8)
	f.Fuzz(func(t *testing.T, frame []byte, n int) {
		s := newRegion(t, "eu", "*")
		s.say("REGION HELLO 1 us 5 0 1 1 *")
		s.say("INCRBY a 3")
		s.say("EXPIRE b 5")
		part := strconv.Itoa(engine.Part([]byte("a")))
		for _, what := range []string{"MERGE", "WHOLE"} {
			s.do([]byte("REGION"), []byte(what), []byte("us"), []byte("5"), []byte(part), frame, []byte("us"), []byte("5"))
			s.say("INCR a")
			s.say("DEL a")
			s.now += int64(n % 10_000)
			s.say("GET a")
		}
	})
}

// TestRegionForget: a region that is lost is forgotten with its resets, and what it counted stays.
func TestRegionForget(t *testing.T) {
	eu, us := newRegion(t, "eu", "*"), newRegion(t, "us", "*")
	us.hello(eu)
	for _, key := range []string{"kept", "gone"} {
		us.say("INCRBY " + key + " 7")
		if got := string(eu.do(us.frame("MERGE", engine.Part([]byte(key)), 0)...)); !strings.Contains(got, "applied") {
			t.Fatalf("MERGE: %q", got)
		}
	}
	eu.say("DEL gone")
	graves := func(want int64) {
		t.Helper()
		if n := eu.ks.RegionCounts(); n.Graves != want {
			t.Errorf("%d graves, want %d", n.Graves, want)
		}
	}
	graves(1)
	for _, name := range []string{"us", "eu", "nowhere"} {
		if got := eu.say("REGION FORGET " + name); !strings.HasPrefix(got, "-ERR no incarnation of that region is lost") {
			t.Errorf("FORGET of %s, which is not lost: %q", name, got)
		}
	}
	for _, step := range []struct{ line, want string }{
		{"REGION LOST us", "+OK"}, {"REGION FORGET us", ":1"}, {"GET kept", "$1\r\n7"}, {"GET gone", "$-1"}, {"REGION VALUE kept", "*2\r\n$2\r\nus\r\n:7"},
		{"REGION FORGET us", ":0"}, {"INCR kept", ":8"}, {"DEL kept", ":1"}, {"REGION FORGET us", ":1"}, {"INCR kept", ":1"},
	} {
		if got := eu.say(step.line); got != step.want {
			t.Errorf("%s: %q, want %q", step.line, got, step.want)
		}
	}
	graves(0)
	us.say("INCR kept")
	if got := string(eu.do(us.frame("MERGE", engine.Part([]byte("kept")), 1)...)); !strings.HasPrefix(got, "-REGIONLOST") {
		t.Errorf("MERGE of one that is forgotten: %q", got)
	}
	if got := us.hello(eu); !strings.HasPrefix(got, "-REGIONLOST") {
		t.Errorf("HELLO of one that is forgotten: %q", got)
	}
	if setup, _ := eu.ks.Regions(); !setup.Origins[1].Forgotten || setup.Origins[0].Forgotten {
		t.Errorf("%+v", setup.Origins)
	}
}

// TestRegionMark: a region keeps under which mark another one's history was told last, and says it in HELLO.
func TestRegionMark(t *testing.T) {
	eu, us := newRegion(t, "eu", "*"), newRegion(t, "us", "*")
	setup, _ := us.ks.Regions()
	inc := fmt.Sprint(setup.Origins[0].Incarnation)
	if got := eu.say("REGION MARK us " + inc + " 1 7"); !strings.HasPrefix(got, "-REGIONHELLO") {
		t.Errorf("before HELLO: %q", got)
	}
	heard := func(want string) {
		t.Helper()
		if got := us.hello(eu); !strings.HasSuffix(got, want) {
			t.Errorf("HELLO ends in %q, want %q", got[len(got)-40:], want)
		}
	}
	heard("$1\r\n0\r\n$1\r\n0\r\n")
	for _, step := range []struct{ args, want string }{
		{"us " + inc + " 3 18446744073709551615", "+OK"}, {"us " + inc + " 3 8", "-REGION another history"}, {"us " + inc + " 2 8", "+OK"},
		{"us " + inc + " 0 8", "-ERR these are no arguments"}, {"us " + inc + " 4 x", "-ERR these are no arguments"}, {"us 0 4 8", "-ERR these are no arguments"},
		{"eu " + fmt.Sprint(setup.Origins[0].Incarnation), "-ERR wrong number"},
	} {
		if got := eu.say("REGION MARK " + step.args); !strings.HasPrefix(got, step.want) {
			t.Errorf("MARK %s: %q, want %q", step.args, got, step.want)
		}
	}
	heard("$1\r\n3\r\n$20\r\n18446744073709551615\r\n")
	eu.say("REGION LOST us")
	if got := eu.say("REGION MARK us " + inc + " 4 9"); !strings.HasPrefix(got, "-REGIONLOST") {
		t.Errorf("of one that is lost: %q", got)
	}
}
