//go:build linux

package engine

import (
	"fmt"
	"testing"
)

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

// BenchmarkAheadWhole is all that an increment answered ahead costs the keyspace of the node that it is answered on: answering, sealing and
// landing, 20,000 in a section; of keys that nobody shares, and of keys that three regions have counted, of which frames are cut for one other
// region every fourth section.
func BenchmarkAheadWhole(b *testing.B) {
	const section = 20_000
	for _, regions := range []bool{false, true} {
		for _, keys := range []int{10_000, 1_000_000} {
			b.Run(fmt.Sprintf("regions=%v/%d", regions, keys), func(b *testing.B) {
				ks := New(Config{Seed: 7, Databases: 1})
				defer ks.Close()
				fill(ks, keys, 0)
				if regions {
					ks.SetRegionRing(64 << 20)
					if _, err := ks.Txn(0, 1000, false).OpenRegions("eu", []string{"*"}, 0); err != nil {
						b.Fatal(err)
					}
					shareWithTwo(b, ks)
				}
				if err := ks.SetSelf("node", 7); err != nil {
					b.Fatal(err)
				}
				incs := newIncrements(WarmMax)
				var buf, frame []byte
				var acked [Parts]uint64
				r := uint64(0)
				b.ReportAllocs()
				b.ResetTimer()
				defer reportCPU(b, cpuTime())
				for done := 0; done < b.N; done += section {
					for range section / WarmMax {
						r = randomIncrements(incs, r, keys)
						if n := ks.AnswerAhead(incs, 1000); n != WarmMax {
							b.Fatal("refused")
						}
					}
					var o Origin
					buf, _ = ks.Counted(buf[:0], 8<<20, func(dst []byte, of *Origin) []byte {
						o = *of
						return dst
					})
					applyCounted(b, ks, &o, buf)
					if regions && done/section%4 == 3 {
						for part := range Parts {
							frame, acked[part] = ks.Frame(frame[:0], part, acked[part], 1000)
						}
					}
				}
			})
		}
	}
}
