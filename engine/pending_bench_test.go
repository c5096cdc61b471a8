//go:build linux

package engine

import "testing"

// BenchmarkAddPending answers random increments from memory, one by one and in groups that are fetched ahead, and
// throws them away every 20,000: as many as a busy node gathers between two drains.
func BenchmarkAddPending(b *testing.B) {
	for _, group := range []int{1, WarmMax} {
		name := "single"
		if group > 1 {
			name = "group"
		}
		b.Run(name, func(b *testing.B) {
			benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
				incs := newIncrements(group)
				r := uint64(0)
				b.ReportAllocs()
				b.ResetTimer()
				defer reportCPU(b, cpuTime())
				for i := 0; i < b.N; i += group {
					r = randomIncrements(incs, r, n)
					if done := ks.AddPending(incs, 1); done != group {
						b.Fatal("refused")
					}
					if i%20_000 < group {
						forget(ks)
					}
				}
			})
		})
	}
}

// BenchmarkDrain is what an increment costs once it is pending: encoding, and applying by reference, or as another
// node does by decoding.
func BenchmarkDrain(b *testing.B) {
	const round = 20_000
	for _, own := range []bool{true, false} {
		name := "own"
		if !own {
			name = "replica"
		}
		b.Run(name, func(b *testing.B) {
			benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
				if err := ks.SetOrigin("node", 7); err != nil {
					b.Fatal(err)
				}
				origin := ks
				if !own {
					origin = New(Config{Seed: 7})
					defer origin.Close()
					if err := origin.SetOrigin("node", 7); err != nil {
						b.Fatal(err)
					}
				}
				incs := newIncrements(WarmMax)
				var buf []byte
				r, carrier := uint64(0), uint64(0)
				b.ReportAllocs()
				b.ResetTimer()
				for done := 0; done < b.N; done += round {
					b.StopTimer()
					for range round / WarmMax {
						r = randomIncrements(incs, r, n)
						origin.AddPending(incs, 1)
					}
					b.StartTimer()
					carrier++
					for p := range Parts {
						drainOnce(b, origin, ks, p, carrier, &buf)
					}
				}
			})
		})
	}
}

// drainOnce takes one part of origin through an entry into ks.
func drainOnce(b *testing.B, origin, ks *Keyspace, part int, carrier uint64, buf *[]byte) {
	origin.LockPart(part)
	f := origin.Cut(part, carrier)
	origin.UnlockPart(part)
	if f == nil {
		return
	}
	id, count := f.ID(origin), f.Len()
	*buf = f.AppendItems((*buf)[:0])
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	t := ks.Txn(0, 1, false).In(part)
	if outcome := t.Drain(part, &id); outcome == DrainSettled {
		return
	}
	rest := *buf
	for range count {
		it, n, err := DecodeDrainItem(rest, part, 16)
		if err != nil {
			b.Fatal(err)
		}
		t.AddDrained(&it, false)
		rest = rest[n:]
	}
	origin.LockPart(part)
	origin.Txn(0, 1, false).Drain(part, &id)
	origin.UnlockPart(part)
}

func newIncrements(n int) []Increment {
	incs := make([]Increment, n)
	for i := range incs {
		incs[i].Key = []byte("likes:post:00000000")
		incs[i].Delta = 1
	}
	return incs
}

func randomIncrements(incs []Increment, r uint64, n int) uint64 {
	for i := range incs {
		r = mix(r)
		randomKey(incs[i].Key, r, n)
	}
	return r
}

// forget drops all that is gathered.
func forget(ks *Keyspace) {
	for p := range Parts {
		ks.LockPart(p)
		if g := ks.parts[p].gather; g != nil {
			ks.parts[p].gather = nil
			ks.parts[p].spare = g.reset()
			ks.pendingParts.Add(-1)
		}
		ks.UnlockPart(p)
	}
}
