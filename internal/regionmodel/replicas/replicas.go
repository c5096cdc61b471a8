// Package replicas has the regions of the model be what they are in a cluster: replicas of the real keyspace, which execute the same entries of
// a log. All that changes them is a command, those included that links send, in a payload as a leader seals it. One replica executes it with
// a client that waits for the reply, the other as a follower does, and either may free memory, or go on from a snapshot, when the other does
// not.
package replicas

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"quipu/commands"
	"quipu/engine"
	"quipu/engine/shared"
	"quipu/exec"
	"quipu/internal/regionmodel"
)

// Region is a region, as regionmodel.Mirror.
type Region struct {
	name     string
	nodes    [2]*node
	patterns []string
	sub      *exec.SubBatch
	batch    exec.Batch
	payload  []byte
	index    uint64
	turn     int
	words    [][]byte
	text     []byte // of words; where it grows, older words stay in the memory that it had
}

type node struct {
	ks     *engine.Keyspace
	runner *exec.Runner
}

// table is used by all, as commands do not change it.
var table = commands.NewTable()

// tags are hash tags of the parts in which histories take place.
var tags = func() (tags [engine.Parts]string) {
	for n, found := 0, 0; found < engine.Parts; n++ {
		tag := fmt.Sprintf("{history:%d}", n)
		if part := engine.Part([]byte(tag)); tags[part] == "" {
			tags[part] = tag
			found++
		}
	}
	return tags
}()

// Place is the part of a history and the name of a key.
func Place(history, key int) (part int, name []byte) {
	return history, fmt.Appendf(nil, "%s%c", tags[history], 'a'+key)
}

// New makes a cluster that counts, and then becomes a region.
func New(name string, before []regionmodel.Command, now int64) (regionmodel.Mirror, error) {
	r := &Region{name: name, patterns: []string{"{history:*", "nothing"}, sub: exec.NewSubBatch(table)}
	for i := range r.nodes {
		r.nodes[i] = newNode(uint64(i))
	}
	for _, c := range before {
		if err := r.Do(c, false, c.N); err != nil {
			return nil, err
		}
	}
	cmd, args := table.RegionOpen(name, 0, r.patterns)
	if reply, err := r.log(cmd, args, now); err != nil || reply != fmt.Sprintf(":%d\r\n", len(before)) {
		return nil, fmt.Errorf("it becomes a region, with %d counters: %q, %v", len(before), reply, err)
	}
	return r, nil
}

func newNode(seed uint64) *node {
	ks := engine.New(engine.Config{Databases: 1, Seed: seed})
	ks.SetRegionRing(1) // as little as can be: it overflows
	return &node{ks, exec.NewRunner(ks, table)}
}

// Close implements regionmodel.Mirror.
func (r *Region) Close() {
	for _, n := range r.nodes {
		n.ks.Close()
	}
}

// log has all replicas execute an entry with one command, and returns the reply.
func (r *Region) log(cmd *commands.Command, args [][]byte, now int64) (reply string, err error) {
	r.sub.Reset()
	r.sub.Begin(nil, 0)
	r.sub.Write(cmd, args, exec.As{RESP: 2})
	r.sub.End()
	r.batch.Reset()
	r.batch.Add(r.sub)
	r.payload = r.batch.Seal(r.payload[:0], 0, now)
	r.index++
	r.turn ^= 1
	leader, follower := r.nodes[r.turn].runner, r.nodes[r.turn^1].runner
	leader.BeginEntry(r.index)
	if err := r.batch.Execute(leader, r.payload, now); err != nil {
		return "", err
	}
	follower.BeginEntry(r.index)
	if err := follower.Replay(r.payload, now); err != nil {
		return "", err
	}
	return string(r.sub.Replies(&r.sub.Submissions()[0])), nil
}

// begin, word, number and bytes make the arguments of a command, which run logs.
func (r *Region) begin(words ...string) {
	r.words, r.text = r.words[:0], r.text[:0]
	for _, w := range words {
		r.word(w)
	}
}

func (r *Region) word(s string) { r.wrote(append(r.text, s...)) }

func (r *Region) number(n int64) { r.wrote(strconv.AppendInt(r.text, n, 10)) }

// wrote makes a word of what text has more than r.text.
func (r *Region) wrote(text []byte) {
	r.bytes(text[len(r.text):])
	r.text = text
}

func (r *Region) bytes(b []byte) { r.words = append(r.words, b) }

func (r *Region) run(now int64) (reply string, err error) {
	cmd, refusal := table.Resolve(r.words)
	if cmd == nil {
		return "", fmt.Errorf("%q: %s", r.words, refusal)
	}
	return r.log(cmd, r.words, now)
}

// expect runs the command, whose reply must begin so.
func (r *Region) expect(now int64, want string) error {
	reply, err := r.run(now)
	if err == nil && !strings.HasPrefix(reply, want) {
		err = fmt.Errorf("%q: %q, should be %q", r.words, reply, want)
	}
	return err
}

// Do implements regionmodel.Mirror.
func (r *Region) Do(c regionmodel.Command, existed bool, n int64) error {
	want := "+OK\r\n"
	switch {
	case c.Kind == regionmodel.Add:
		r.begin("INCRBY")
		r.bytes(c.Key)
		r.number(c.N)
		want = fmt.Sprintf(":%d\r\n", n)
	case c.Kind == regionmodel.Delete:
		r.begin("DEL")
		r.bytes(c.Key)
		if want = ":0\r\n"; existed {
			want = ":1\r\n"
		}
	case c.Kind == regionmodel.Set:
		r.begin("SET")
		r.bytes(c.Key)
		if r.number(c.N); c.Deadline != 0 {
			r.word("PXAT")
			r.number(c.Deadline)
		}
	case c.Deadline != 0:
		r.begin("PEXPIREAT")
		r.bytes(c.Key)
		r.number(c.Deadline)
		want = ":1\r\n"
	default:
		r.begin("PERSIST")
		r.bytes(c.Key)
		want = ":1\r\n"
	}
	return r.expect(c.Now, want)
}

// Shows implements regionmodel.Mirror.
func (r *Region) Shows(part int, key []byte, now int64, want regionmodel.View) error {
	for i, n := range r.nodes {
		n.ks.LockPart(part)
		v, ok := n.ks.View(0, now, false).In(part).Get(key)
		n.ks.UnlockPart(part)
		if got := (regionmodel.View{N: v.Int, Exists: ok, Deadline: v.Deadline}); !ok && want.Exists || ok && (got != want || v.Kind != engine.KindInt) {
			return fmt.Errorf("replica %d shows %+v of kind %d, should be %+v", i, got, v.Kind, want)
		}
	}
	return nil
}

// Frame implements regionmodel.Mirror.
func (r *Region) Frame(part int, from uint64, now int64, rnd *rand.Rand) []byte {
	frame, _ := r.nodes[rnd.IntN(2)].ks.Frame(nil, part, from, now)
	return frame
}

// LostFrame implements regionmodel.Mirror.
func (r *Region) LostFrame(part int, o shared.Origin, now int64, rnd *rand.Rand) []byte {
	return r.nodes[rnd.IntN(2)].ks.LostFrame(nil, part, o, now)
}

func (r *Region) incarnation(is regionmodel.Incarnation) {
	r.word(is.Name)
	r.wrote(strconv.AppendUint(r.text, is.Number, 10))
}

// Hello implements regionmodel.Mirror.
func (r *Region) Hello(from regionmodel.Incarnation, table []regionmodel.Incarnation, now int64) error {
	r.begin("REGION", "HELLO", "1")
	r.incarnation(from)
	r.number(0) // not from a backup that others know
	r.number(1)
	r.number(int64(len(r.patterns)))
	for _, p := range r.patterns {
		r.word(p)
	}
	for _, o := range table {
		r.incarnation(o)
		if o.Lost {
			r.word("1")
		} else {
			r.word("0")
		}
		r.number(0)
	}
	return r.expect(now, "*8\r\n")
}

// Merge implements regionmodel.Mirror.
func (r *Region) Merge(part int, from regionmodel.Incarnation, frame []byte, table []regionmodel.Incarnation, now int64) (v shared.Verdict, at uint64, err error) {
	f, err := shared.OpenFrame(frame)
	if err != nil {
		return 0, 0, err
	}
	if r.begin("REGION", "MERGE"); f.Kind != shared.FrameDelta {
		r.begin("REGION", "WHOLE")
	}
	r.incarnation(from)
	r.number(int64(part))
	r.bytes(frame)
	for _, o := range table {
		r.incarnation(o)
	}
	reply, err := r.run(now)
	if err != nil || strings.HasPrefix(reply, "-REGIONLOST") {
		return shared.Refused, 0, err
	}
	for verdict, name := range map[shared.Verdict]string{shared.Applied: "$7\r\napplied", shared.Old: "$3\r\nold", shared.Gap: "$3\r\ngap"} {
		if rest, ok := strings.CutPrefix(reply, "*4\r\n"+name+"\r\n:"); ok {
			digits, _, _ := strings.Cut(rest, "\r\n")
			at, err := strconv.ParseUint(digits, 10, 64)
			return verdict, at, err
		}
	}
	return 0, 0, fmt.Errorf("%q", reply)
}

// Lost implements regionmodel.Mirror.
func (r *Region) Lost(name string, now int64) error {
	r.begin("REGION", "LOST", name)
	return r.expect(now, "+OK\r\n")
}

// Forget implements regionmodel.Mirror.
func (r *Region) Forget(name string, now int64) error {
	r.begin("REGION", "FORGET", name)
	return r.expect(now, ":")
}

// Reclaim implements regionmodel.Mirror.
func (r *Region) Reclaim(part int, now int64, rnd *rand.Rand) {
	r.nodes[rnd.IntN(2)].ks.Reclaim(part, now, 1+rnd.IntN(3))
}

// Backup implements regionmodel.Mirror.
func (r *Region) Backup(now int64, rnd *rand.Rand) (any, error) {
	s := r.nodes[rnd.IntN(2)].ks.Capture()
	var image bytes.Buffer
	_, err := s.WriteTo(&image)
	s.Release()
	if err == nil && rnd.IntN(2) == 0 {
		err = r.replace(rnd.IntN(2), image.Bytes())
	}
	return image.Bytes(), err
}

// replace has a replica go on from a snapshot.
func (r *Region) replace(i int, image []byte) error {
	n := newNode(r.index)
	r.nodes[i].ks.Close()
	r.nodes[i] = n
	return n.ks.Load(bytes.NewReader(image), int64(len(image)), 1)
}

// Restore implements regionmodel.Mirror.
func (r *Region) Restore(image any, now int64) (is regionmodel.Incarnation, err error) {
	for i := range r.nodes {
		if err := r.replace(i, image.([]byte)); err != nil {
			return is, err
		}
	}
	r.begin("REGION", "RENEW")
	if err := r.expect(now, "+OK\r\n"); err != nil {
		return is, err
	}
	setup, _ := r.nodes[0].ks.Regions()
	me := setup.Origins[setup.Me]
	return regionmodel.Incarnation{Name: me.Name, Number: me.Incarnation}, nil
}

// Same implements regionmodel.Mirror.
func (r *Region) Same(now int64, table []regionmodel.Incarnation) error {
	if a, b := r.nodes[0].ks.Checksum(now), r.nodes[1].ks.Checksum(now); a != b {
		return fmt.Errorf("the checksums of the replicas are %x and %x", a, b)
	}
	for _, n := range r.nodes {
		setup, _ := n.ks.Regions()
		same := func(o engine.RegionOrigin, is regionmodel.Incarnation) bool {
			return o.Name == is.Name && o.Incarnation == is.Number && o.Lost == is.Lost
		}
		if !slices.EqualFunc(setup.Origins, table, same) {
			return fmt.Errorf("it knows the incarnations %+v, should know %+v", setup.Origins, table)
		}
		if err := n.ks.Check(); err != nil {
			return err
		}
	}
	return nil
}
