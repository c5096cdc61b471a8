package commands

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"quipu/protocol"
)

// BenchmarkPFAddNew adds an element that is new to one of 10,000 keys that hold as many already: 0.8 µs with 30, 1 µs with
// 300, most of it waiting for memory.
func BenchmarkPFAddNew(b *testing.B) {
	for _, held := range []int{30, 100, 300} {
		b.Run(fmt.Sprint(held), func(b *testing.B) {
			s := newShell(b)
			const keys = 10_000
			var names [keys][]byte
			for i := range names {
				names[i] = fmt.Appendf(nil, "sketch:%012d", i)
			}
			var element [8]byte
			r := rand.New(rand.NewPCG(1, 2))
			args := [][]byte{[]byte("PFADD"), nil, element[:]}
			cmd, _ := s.table.Resolve(args)
			w := &protocol.Writer{V: 2}
			add := func(key []byte) {
				args[1] = key
				for i := range element {
					element[i] = byte(r.Uint32())
				}
				w.B = w.B[:0]
				s.run(cmd, 512<<20, args, w)
			}
			for range held {
				for _, key := range names {
					add(key)
				}
			}
			for b.Loop() {
				add(names[r.IntN(keys)])
			}
		})
	}
}
