//go:build linux

package engine

import "testing"

// BenchmarkAnswerAhead answers random increments ahead, one by one and WarmMax together, and
// throws them away every 20,000: as many as a busy node gathers between two sections.
func BenchmarkAnswerAhead(b *testing.B) {
	for _, count := range []int{1, WarmMax} {
		name := "single"
		if count > 1 {
			name = "together"
		}
		b.Run(name, func(b *testing.B) {
			benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
				incs := newIncrements(count)
				r := uint64(0)
				b.ReportAllocs()
				b.ResetTimer()
				defer reportCPU(b, cpuTime())
				for i := 0; i < b.N; i += count {
					r = randomIncrements(incs, r, n)
					if done := ks.AnswerAhead(incs, 1); done != count {
						b.Fatal("refused")
					}
					if i%20_000 < count {
						forget(ks)
					}
				}
			})
		})
	}
}

// BenchmarkCounted is what an increment costs once it is answered ahead: encoding, and applying from the tallies, or as
// another node does by decoding.
func BenchmarkCounted(b *testing.B) {
	const round = 20_000
	for _, own := range []bool{true, false} {
		name := "own"
		if !own {
			name = "replica"
		}
		b.Run(name, func(b *testing.B) {
			benchSizes(b, func(b *testing.B, ks *Keyspace, n int) {
				origin := ks
				if !own {
					origin = New(Config{Seed: 7})
					defer origin.Close()
				}
				if err := origin.SetSelf("node", 7); err != nil {
					b.Fatal(err)
				}
				incs := newIncrements(WarmMax)
				var buf []byte
				r := uint64(0)
				b.ReportAllocs()
				b.ResetTimer()
				for done := 0; done < b.N; done += round {
					b.StopTimer()
					for range round / WarmMax {
						r = randomIncrements(incs, r, n)
						origin.AnswerAhead(incs, 1)
					}
					b.StartTimer()
					var o Origin
					buf, _ = origin.Counted(buf[:0], 8<<20, func(dst []byte, of *Origin) []byte {
						o = *of
						return dst
					})
					applyCounted(b, ks, &o, buf)
					if !own {
						b.StopTimer()
						applyCounted(b, origin, &o, buf)
						b.StartTimer()
					}
				}
			})
		})
	}
}

func applyCounted(b *testing.B, ks *Keyspace, o *Origin, body []byte) {
	t := ks.Txn(0, 1, false)
	if got := t.Advance(o, 0); got != Accepted {
		b.Fatal(got)
	}
	if err := t.ApplyCounted(o, body); err != nil {
		b.Fatal(err)
	}
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
		if g := ks.parts[p].gathered; g != nil {
			ks.parts[p].gathered = nil
			ks.parts[p].spare = g.reset()
			ks.aheadParts.Add(-1)
		}
		ks.UnlockPart(p)
	}
}
