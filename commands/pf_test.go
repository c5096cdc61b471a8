package commands

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"quipu/engine"
	"quipu/engine/hll"
	"quipu/protocol"
)

// value is what GET replies.
func (s *shell) value(key string) []byte {
	s.tb.Helper()
	_, value, ok := bytes.Cut(s.do([]byte("GET"), []byte(key)), []byte("\r\n"))
	if !ok || len(value) < 2 {
		s.tb.Fatalf("GET %s", key)
	}
	return value[:len(value)-2]
}

func (s *shell) expectReply(line, want string) {
	s.tb.Helper()
	if got := show(s.do(words(s.tb, line)...)); got != want {
		s.tb.Errorf("%.80s: %.200q instead of %q", line, got, want)
	}
}

// TestPFGrows adds elements one by one and many at once, and as merges, through every size that a value has in memory.
func TestPFGrows(t *testing.T) {
	s := newShell(t)
	for i := range 3000 {
		one := fmt.Appendf(nil, "element %d", i)
		s.do([]byte("PFADD"), []byte("one"), one)
		batch := [][]byte{[]byte("PFADD"), []byte("many")}
		if i%100 == 99 {
			for j := i - 99; j <= i; j++ {
				batch = append(batch, fmt.Appendf(nil, "element %d", j))
			}
			s.do(batch...)
			a, b := s.value("one"), s.value("many")
			clear(a[hll.CountAt:hll.HeaderBytes])
			clear(b[hll.CountAt:hll.HeaderBytes])
			if !bytes.Equal(a, b) {
				t.Fatalf("after %d elements: not the same one by one and at once", i+1)
			}
			s.do([]byte("PFMERGE"), []byte("merged"), []byte("many"))
			one, merged := show(s.do(words(t, "PFCOUNT one")...)), show(s.do(words(t, "PFCOUNT one merged many")...))
			if one != merged {
				t.Fatalf("after %d elements: %s, of all %s", i+1, one, merged)
			}
		}
	}
	s.expectReply("PFDEBUG ENCODING one", "+dense")
	s.expectReply("STRLEN one", fmt.Sprint(":", hll.DenseBytes))
}

// TestSkipsHold: what is kept behind a sparse HyperLogLog for the search is right whatever was done to the key, and is there
// where it saves time.
func TestSkipsHold(t *testing.T) {
	s := newShell(t)
	r := rand.New(rand.NewPCG(1, 2))
	keys := []string{"a", "b", strings.Repeat("long", 70), strings.Repeat("wide", 1000)}
	other := strings.Split("PFCOUNT k|SETRANGE k 40 \\x85|SETRANGE k 20 \\x00|SETRANGE k 8 \\xff|APPEND k \\x80|EXPIRE k 100|PERSIST k|PFMERGE k l|"+
		"COPY k l REPLACE|RENAME k l|DEL k|PFDEBUG TODENSE k|SET k 5|GETEX k EX 5|GETDEL k|PFADD k|FLUSHALL", "|")
	lasting := other[:8]
	held := 0
	for i := range 20_000 {
		k, l := keys[r.IntN(len(keys))], keys[r.IntN(len(keys))]
		args := [][]byte{[]byte("PFADD"), []byte(k)}
		for range 1 + r.IntN(4)*r.IntN(2) {
			args = append(args, fmt.Appendf(nil, "element %d", r.IntN(2000)))
		}
		switch which := r.IntN(1000); {
		case which < 5:
			args = words(t, strings.NewReplacer(" k", " "+k, " l", " "+l).Replace(other[r.IntN(len(other))]))
		case which < 50:
			args = words(t, strings.NewReplacer(" k", " "+k, " l", " "+l).Replace(lasting[r.IntN(len(lasting))]))
		}
		if r.IntN(500) == 0 {
			s.now += 10_000
		}
		added := show(s.do(args...)) == ":1" && len(args) > 2 && string(args[0]) == "PFADD"
		for _, key := range keys {
			v := s.ks.View(0, s.now, false)
			part := engine.Part([]byte(key))
			s.ks.LockPart(part)
			value, _ := v.Get([]byte(key))
			skips, want := skipsOf(value.OwnTail()), hll.Skips{}
			sparse := value.Kind == engine.KindRaw && hll.Check(value.Bytes) && !hll.IsDense(value.Bytes)
			if skips != nil && (!sparse || !want.Fill(value.Bytes) || *skips != want) {
				t.Fatalf("%d: after %.100q: %s of %d bytes has skips %x instead of %x", i, args, key, len(value.Bytes), *skips, want)
			}
			if skips != nil {
				held++
			} else if added && key == k && len(key) < 1000 && sparse && len(value.Bytes) >= hll.SkipsFrom && want.Fill(value.Bytes) {
				t.Fatalf("%d: after %.100q: %s of %d bytes has no skips", i, args, key, len(value.Bytes))
			}
			s.ks.UnlockPart(part)
		}
		if i%1000 == 0 {
			if err := s.ks.Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if held < 10_000 {
		t.Errorf("only %d had skips", held)
	}
}

// TestPFCountIsLocal: nodes that have answered PFCOUNT and nodes that have not stay the same, whatever is done then.
func TestPFCountIsLocal(t *testing.T) {
	log := []string{
		"PFADD k a b c", "COPY k copy", "PFADD k d", "APPEND k x", "SETRANGE copy 4 \x05", "PFADD l a", "RENAME l m", "SETRANGE m 0 HYLL",
		"APPEND m \x00", "SETRANGE m 12 zz", "PFADD d a", "PFDEBUG TODENSE d", "COPY d e", "APPEND d x", "SETRANGE e 3 l", "PFMERGE n m",
		"SET o HYLL\x01", "APPEND o 012345678901234567890", "SETRANGE o 0 x", "MOVE k 1",
	}
	with, without := newShell(t), newShell(t)
	keys := strings.Fields("k l m n o copy d e")
	for _, line := range log {
		args := bytes.Split([]byte(line), []byte(" "))
		a, b := with.do(args...), without.do(args...)
		if !bytes.Equal(a, b) {
			t.Errorf("%q: %q and %q", line, a, b)
		}
		for _, key := range keys {
			with.do([]byte("PFCOUNT"), []byte(key))
		}
		if with.ks.Checksum(with.now) != without.ks.Checksum(without.now) {
			t.Fatalf("%q: the nodes differ", line)
		}
		for _, key := range keys { // what is no HyperLogLog is the same to the byte
			a, b := with.do([]byte("GET"), []byte(key)), without.do([]byte("GET"), []byte(key))
			if i := bytes.Index(a, []byte("HYLL")); i >= 0 && hll.Check(a[i:len(a)-2]) {
				continue
			}
			if !bytes.Equal(a, b) {
				t.Errorf("%q: %s is %q and %q", line, key, a, b)
			}
		}
	}
}

// TestPFUnchanged: a write that is said to change nothing changes nothing.
func TestPFUnchanged(t *testing.T) {
	s := newShell(t)
	s.do(words(t, "PFADD sparse a b c")...)
	s.do(words(t, "PFADD dense a b c")...)
	s.do(words(t, "PFDEBUG TODENSE dense")...)
	s.do(words(t, "SET text abc")...)
	s.do(words(t, "SET number 5")...)
	s.do([]byte("SET"), []byte("given"), hll.AppendNew(nil))
	s.do([]byte("SET"), []byte("wrong"), append(hll.AppendNew(nil)[:hll.HeaderBytes], 0x7f, 0x00))
	for line, want := range map[string]string{
		"PFADD sparse a": ":0", "PFADD sparse c b a": ":0", "PFADD sparse": ":0", "PFADD sparse a new": "", "PFADD dense a b": ":0",
		"PFADD dense new": "", "PFADD none": "", "PFADD text a": "", "PFADD number a": "", "PFADD given": "", "PFADD wrong e": "",
		"PFDEBUG ENCODING sparse": "+sparse", "PFDEBUG todense dense": ":0", "PFDEBUG TODENSE sparse": "", "PFDEBUG GETREG sparse": "",
		"PFDEBUG DECODE dense": "-ERR HLL encoding is not sparse", "PFDEBUG what sparse": "-ERR Unknown PFDEBUG subcommand 'what'",
		"PFDEBUG ENCODING given": "", "PFDEBUG ENCODING none": "",
	} {
		args := words(t, line)
		w := &protocol.Writer{V: 2}
		before := s.ks.Checksum(s.now)
		done := s.asksUnchanged(s.table.Find(args), args, w)
		if done != (want != "") || show(w.B) != want {
			t.Errorf("%s: %v, %q instead of %q", line, done, show(w.B), want)
		}
		if s.ks.Checksum(s.now) != before {
			t.Errorf("%s: changed", line)
		}
		if done {
			s.expectReply(line, want)
		}
	}
}

func TestPFDoesNotAllocate(t *testing.T) {
	s := newShell(t)
	s.do(words(t, "PFADD sparse a b c")...)
	s.do(words(t, "PFADD dense a b c")...)
	s.do(words(t, "PFDEBUG TODENSE dense")...)
	w := &protocol.Writer{B: make([]byte, 0, 1024), V: 2}
	for _, line := range []string{"PFADD sparse a b c", "PFADD dense a", "PFCOUNT sparse", "PFCOUNT sparse dense", "PFMERGE to sparse", "PFMERGE to dense"} {
		args := words(t, line)
		cmd := s.table.Find(args)
		n := testing.AllocsPerRun(100, func() {
			w.B = w.B[:0]
			if cmd.Unchanged == nil || !s.asksUnchanged(cmd, args, w) {
				s.run(cmd, MaxValueBytes, args, w)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
	add := words(t, "PFADD sparse x")
	cmd := s.table.Find(add)
	i := 0
	n := testing.AllocsPerRun(2000, func() {
		add[2] = strconv.AppendInt(add[2][:0], int64(i), 10)
		i++
		w.B = w.B[:0]
		s.run(cmd, MaxValueBytes, add, w)
	})
	if n != 0 {
		t.Errorf("PFADD of new elements: %v allocations", n)
	}
}

// FuzzPF runs every PF command on any bytes.
func FuzzPF(f *testing.F) {
	f.Add(hll.AppendNew(nil), []byte("e"))
	f.Add(append(hll.AppendNew(nil)[:hll.HeaderBytes], "\x7f\xff\x7f\xff"...), []byte(""))
	f.Add(append(hll.AppendNew(nil)[:hll.HeaderBytes], 0x41), []byte("e"))
	f.Fuzz(func(t *testing.T, value, element []byte) {
		s := newShell(t)
		for _, b := range [][]byte{value, append([]byte("HYLL\x01"), value...), append(hll.AppendNew(nil)[:hll.HeaderBytes], value...)} {
			s.do([]byte("SET"), []byte("k"), b)
			for _, line := range []string{"PFADD k", "PFCOUNT k", "PFADD k", "PFCOUNT k other", "PFMERGE to k", "PFMERGE k other", "PFDEBUG DECODE k", "PFDEBUG GETREG k", "PFCOUNT k"} {
				args := words(t, line)
				if strings.HasPrefix(line, "PFADD") {
					args = append(args, element, value)
				}
				reply := s.do(args...)
				if len(reply) == 0 || reply[0] == '-' && !bytes.HasPrefix(reply, []byte("-WRONGTYPE ")) && !bytes.HasPrefix(reply, []byte("-INVALIDOBJ ")) &&
					!bytes.HasPrefix(reply, []byte("-ERR HLL encoding is not sparse")) {
					t.Fatalf("%s: %q", line, reply)
				}
			}
			s.do([]byte("DEL"), []byte("k"), []byte("to"))
		}
	})
}

func BenchmarkPFAdd(b *testing.B) {
	s := newShell(b)
	w := &protocol.Writer{V: 2}
	args := [][]byte{[]byte("PFADD"), []byte("key"), nil}
	cmd := s.table.Find(args)
	for i := range 1_000_000 {
		args[2] = fmt.Appendf(args[2][:0], "element:%d", i)
		w.B = w.B[:0]
		s.run(cmd, MaxValueBytes, args, w)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % 1_000_000
		args[2] = appendInt(append(args[2][:0], "element:"...), int64(i))
		w.B = w.B[:0]
		if !s.asksUnchanged(cmd, args, w) {
			b.Fatal("changed")
		}
	}
}
