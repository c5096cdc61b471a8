package hll

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestBytesOfRedis compares with what redis-server 7.0.15 returned to GET.
func TestBytesOfRedis(t *testing.T) {
	b := AppendNew(nil)
	for _, step := range []struct{ element, want string }{
		{"", "48594c4c01000000000000000000008057318468cc"},
		{"foo", "48594c4c010000000000000000000080573184458090634a"}, {"bar", "48594c4c0100000000000000000000805731844580904a618058e7"}, {"12345678", "48594c4c0100000000000000000000805731844580904a6180423a8856ab"}, {"1234567890abcdef!", "48594c4c0100000000000000000000804860844ecf844580904a6180423a8856ab"},
	} {
		b, _ = add(b, []byte(step.element))
		if got := hex.EncodeToString(b); got != step.want {
			t.Errorf("after PFADD of %q\n got %s\nwant %s", step.element, got, step.want)
		}
	}
}

// registers are those of b, read one opcode after the other.
func registers(t testing.TB, b []byte) (regs [Registers]uint8) {
	if IsDense(b) {
		for i := range regs {
			regs[i] = DenseGet(b, i)
		}
		return regs
	}
	i := 0
	for ops := b[HeaderBytes:]; len(ops) > 0; {
		size, run, value := opcode(ops, 0)
		for range run {
			if i == Registers {
				t.Fatalf("more than %d registers", i)
			}
			regs[i] = value
			i++
		}
		ops = ops[min(size, len(ops)):]
	}
	if i != Registers {
		t.Fatalf("%d registers", i)
	}
	return regs
}

// TestRegisters raises random registers, in an order that splits and joins every kind of opcode.
func TestRegisters(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		b := AppendNew(nil)
		var want [Registers]uint8
		spread := []int{Registers, 2000, 300, 20}[seed%4]
		base := r.IntN(Registers - spread + 1)
		wasDense := false
		for n := range 3000 {
			index, value := base+r.IntN(spread), uint8(1+r.IntN(1+int(seed)))
			grows := want[index] < value
			next, outcome := addAt(b, index, value)
			if b = next; (outcome != Unchanged) != grows || outcome == Corrupt {
				t.Fatalf("seed %d: register %d from %d to %d: outcome %d", seed, index, want[index], value, outcome)
			}
			want[index] = max(want[index], value)
			if !IsDense(b) && (len(b) > SparseMax || wasDense) {
				t.Fatalf("seed %d: %d bytes sparse", seed, len(b))
			}
			wasDense = IsDense(b)
			if n%37 == 0 && registers(t, b) != want {
				t.Fatalf("seed %d: registers differ after %d", seed, n)
			}
		}
		if registers(t, b) != want {
			t.Fatalf("seed %d: registers differ", seed)
		}
		if seed == 39 && !wasDense {
			t.Error("a value of 33 and more leaves it sparse")
		}
		var table Table
		if !table.Merge(b) {
			t.Fatal("cannot be merged")
		}
		for i := range want {
			if table.Get(i) != want[i] {
				t.Fatalf("seed %d: register %d of the table is %d", seed, i, table.Get(i))
			}
		}
		exact, _ := Count(b)
		if table.Count() != exact {
			t.Errorf("seed %d: count %d, of the table %d", seed, exact, table.Count())
		}
	}
}

// TestFind compares the search by eight bytes with that by opcodes.
func TestFind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xzeros := rapid.IntRange(0, 8).Draw(t, "xzeros")
		ops := make([]byte, rapid.IntRange(0, 100).Draw(t, "length"))
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		for i := range ops {
			if ops[i] = byte(r.Uint32()); r.IntN(8) >= xzeros {
				ops[i] &^= isXZero &^ (ops[i] >> 1)
			}
		}
		index := rapid.IntRange(0, Registers-1).Draw(t, "index")
		at, first, prev := 0, 0, -1
		for at < len(ops) {
			size, run, _ := opcode(ops, at)
			if first+run > index {
				break
			}
			prev, at, first = at, at+size, first+run
		}
		if a, f, p := find(ops, index, 0, 0, -1); a != at || f != first || p != prev {
			t.Fatalf("found %d, %d, %d instead of %d, %d, %d in %x", a, f, p, at, first, prev, ops)
		}
	})
}

// TestSkips: what is found from skips is what is found without, and they follow changes.
func TestSkips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 4))
		b := AppendNew(nil)
		if rapid.Bool().Draw(t, "by hand") {
			b = b[:HeaderBytes]
			for range rapid.IntRange(0, 400).Draw(t, "opcodes") {
				b = append(b, byte(r.Uint32()))
			}
		}
		spread := rapid.SampledFrom([]int{Registers, 3000, 40}).Draw(t, "spread")
		base := r.IntN(Registers - spread + 1)
		values := rapid.IntRange(1, 6).Draw(t, "values") // few of them make VALs that can be joined
		var skips, anew Skips
		whole := skips.Fill(b)
		for range rapid.IntRange(1, 1500).Draw(t, "n") {
			index, value := base+r.IntN(spread), uint8(1+r.IntN(values))
			var c, with Change
			outcome := Raise(b, nil, index, value, &c)
			if whole {
				if got := Raise(b, &skips, index, value, &with); got != outcome || with != c {
					t.Fatalf("register %d: outcome %d, %v, and with skips %d, %v in %x", index, outcome, c, got, with, b)
				}
			}
			if outcome != Changes {
				continue
			}
			was := len(b)
			b = append(b, make([]byte, c.Grows())...)
			b = b[:c.Apply(b)]
			if !whole {
				continue
			}
			if skips.Follow(b, &c, was); !anew.Fill(b) || skips != anew {
				t.Fatalf("after register %d: skips %x instead of %x in %x", index, skips, anew, b)
			}
		}
	})
}

// randomTable is of registers as a number of elements leave them.
func randomTable(t *rapid.T, label string) (b []byte) {
	n := rapid.SampledFrom([]int{0, 1, 50, 1000, 20_000}).Draw(t, label+" elements")
	b = AppendNew(nil)
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, label), 4))
	for range n {
		b, _ = addAt(b, r.IntN(Registers), uint8(min(50, 1+int(r.ExpFloat64()*1.5))))
	}
	return b
}

func union(t *rapid.T, list ...[]byte) (table Table) {
	for _, b := range list {
		if !table.Merge(b) {
			t.Fatal("cannot be merged")
		}
	}
	return table
}

func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := randomTable(t, "a"), randomTable(t, "b"), randomTable(t, "c")
		ab := union(t, a, b)
		if ab != union(t, b, a) {
			t.Error("not commutative")
		}
		empty := AppendNew(nil)
		if union(t, AppendDense(nil, empty, &ab), c) != union(t, a, AppendDense(nil, empty, new(union(t, b, c)))) {
			t.Error("not associative")
		}
		if ab != union(t, a, b, a, b, b) || union(t, a) != union(t, a, a) {
			t.Error("not idempotent")
		}
		x, y := union(t, a), union(t, b)
		for i := range Registers {
			if ab.Get(i) != max(x.Get(i), y.Get(i)) {
				t.Fatalf("register %d is %d of %d and %d", i, ab.Get(i), x.Get(i), y.Get(i))
			}
		}
		if to, sparse := ab.WriteSparse(bytes.Clone(empty)); sparse {
			if registers(discard{}, to) != registers(discard{}, AppendDense(nil, empty, &ab)) {
				t.Error("written sparse, the registers differ")
			}
			step := bytes.Clone(empty)
			for i := range Registers {
				if value := ab.Get(i); value > 0 {
					step, _ = addAt(step, i, value)
				}
			}
			if MarkStale(to); !bytes.Equal(step, to) {
				t.Errorf("not as one by one:\n%s\n%s", AppendDecoded(nil, to), AppendDecoded(nil, step))
			}
		}
	})
}

// discard is a testing.TB that may only be asked to fail.
type discard struct{ testing.TB }

// TestHistogram compares counting registers by pairs with counting them one by one.
func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		var table Table
		for i := range table {
			table[i] = byte(r.Uint32())
		}
		var h, want histogram
		h.addDense(&table)
		for i := range Registers {
			want[table.Get(i)]++
		}
		if h != want {
			t.Fatalf("%v instead of %v", h, want)
		}
	}
}

// TestEstimate: nothing is off by more than four standard errors, and the mean over the seeds by far less.
func TestEstimate(t *testing.T) {
	const seeds = 20
	for _, n := range []int{1, 10, 100, 1000, 3000, 10_000, 50_000, 100_000} {
		sigma := 1.04 / math.Sqrt(Registers) * float64(n)
		sum := 0.0
		for seed := range uint64(seeds) {
			count, _ := Count(added(n, seed))
			off := float64(count) - float64(n)
			if sum += off; math.Abs(off) > 4*sigma+1 {
				t.Errorf("%d elements with seed %d are counted as %d", n, seed, count)
			}
		}
		if mean := sum / seeds; math.Abs(mean) > 4*sigma/math.Sqrt(seeds)+1 {
			t.Errorf("%d elements are off by %.1f on average", n, mean)
		}
	}
}

// TestExtremes are registers that no elements give, and few.
func TestExtremes(t *testing.T) {
	for _, c := range []struct {
		fill byte
		want uint64
	}{{0x00, 0}, {0xff, 1 << 63}} {
		var table Table
		for i := range table {
			table[i] = c.fill
		}
		if got := table.Count(); got != c.want {
			t.Errorf("all bytes %x are counted as %d instead of %d", c.fill, got, c.want)
		}
	}
	if b := AppendNew(nil); len(b) != 18 || !Check(b) || IsDense(b) {
		t.Errorf("new: %x", b)
	}
}

func TestCheck(t *testing.T) {
	empty := AppendNew(nil)
	full := AppendDense(nil, empty, &Table{})
	with := func(at int, c byte) []byte {
		b := bytes.Clone(empty)
		b[at] = c
		return b
	}
	for i, c := range []struct {
		b    []byte
		want bool
	}{
		{nil, false}, {empty[:15], false}, {empty[:16], true}, {empty, true}, {full, true}, {full[:len(full)-1], false},
		{append(bytes.Clone(full), 0), false}, {with(0, 'h'), false}, {with(4, 2), false}, {with(4, 0), false}, {with(4, 255), false},
		{with(5, 1), true}, {with(15, 0), true}, {with(16, 0), true},
	} {
		if Check(c.b) != c.want {
			t.Errorf("%d: %v", i, !c.want)
		}
	}
	for _, runs := range []string{"", "7ffe", "7fff00", "7fff80", "7fff7fff", "80", "7ffe40", "3f", "ff7ffd"} {
		ops, _ := hex.DecodeString(runs)
		b := append(bytes.Clone(empty[:HeaderBytes]), ops...)
		_, counted := Count(b)
		if merged := new(Table).Merge(b); counted != merged || counted != (runs == "7ffe40") {
			t.Errorf("%s: counted %v, merged %v", runs, counted, merged)
		}
	}
}

func TestCache(t *testing.T) {
	b := AppendNew(nil)
	if _, ok := Cached(b); ok {
		t.Error("a new one has a count")
	}
	copy(b[CountAt:], AppendCount(nil, 42))
	if n, ok := Cached(b); n != 42 || !ok {
		t.Errorf("cached %d, %v", n, ok)
	}
	MarkStale(b)
	if _, ok := Cached(b); ok || b[CountAt] != 42 {
		t.Error("not stale, or more than that")
	}
}

func TestSelfTest(t *testing.T) {
	if err := SelfTest(); err != nil {
		t.Error(err)
	}
}

func TestDecoded(t *testing.T) {
	b := append(AppendNew(nil)[:HeaderBytes], 0x00, 0x3f, 0x7f, 0xff, 0x80, 0xff, 0x40, 0x10, 0x41)
	if got, want := string(AppendDecoded(nil, b)), "z:1 z:64 Z:16384 v:1,1 v:32,4 Z:17 Z:257"; got != want {
		t.Errorf("%s instead of %s", got, want)
	}
}

// endsInHalf reports whether a sparse value's last opcode lacks its second byte: it reads as 0, and cannot be changed.
func endsInHalf(b []byte) bool {
	ops := b[HeaderBytes:]
	p := 0
	for p < len(ops) {
		size, _, _ := opcode(ops, p)
		p += size
	}
	return p > len(ops)
}

// FuzzBytes does everything to any bytes.
func FuzzBytes(f *testing.F) {
	f.Add(AppendNew(nil), uint64(1))
	f.Add(added(200, 1), uint64(2))
	f.Add(append(AppendNew(nil)[:HeaderBytes], 0x41), uint64(3))
	f.Add(append(AppendNew(nil)[:HeaderBytes], "\x7f\xff\x80\x80\x7f"...), uint64(4))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		b := append([]byte("HYLL\x01"), data...)
		if !Check(b) {
			if Check(data) {
				t.Fatal("too short, and long enough without its first bytes")
			}
			return
		}
		before := bytes.Clone(b)
		n, ok := Count(b)
		var table Table
		if merged := table.Merge(b); merged != ok || ok && table.Count() != n {
			t.Fatalf("counted %v, merged %v", ok, merged)
		}
		var d [DenseBytes]byte
		if ToDense(&d, b) != ok {
			t.Fatal("made dense or not")
		}
		AppendDecoded(nil, b)
		if !bytes.Equal(b, before) {
			t.Fatal("changed by reading")
		}
		r := rand.New(rand.NewPCG(seed, 7))
		for range 50 {
			index, value := r.IntN(Registers), uint8(1+r.IntN(40))
			next, outcome := addAt(b, index, value)
			if outcome == Corrupt && ok && !endsInHalf(b) {
				t.Fatal("runs were right")
			}
			if outcome != Corrupt && value <= valMax && len(next) > max(len(b), SparseMax) && !IsDense(next) {
				t.Fatalf("%d bytes", len(next))
			}
			b = next
			if _, still := Count(b); still != ok && (ok || IsDense(b)) {
				t.Fatalf("runs that were %v are %v", ok, still)
			}
		}
		if ok {
			var all Table
			all.Merge(before)
			to, sparse := all.WriteSparse(bytes.Clone(before))
			if sparse && !bytes.Equal(to, before) {
				t.Fatal("written to itself it changes")
			}
		}
	})
}

func ExampleCount() {
	b := AppendNew(nil)
	for i := range 1000 {
		b, _ = add(b, fmt.Append(nil, i%250))
	}
	n, _ := Count(b)
	fmt.Println(n, len(b))
	// Output: 251 601
}
