package storage

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// BenchmarkLogStore compares raft-wal as it comes with ours: zero-filled segments, fdatasync, CRC, watermark.
func BenchmarkLogStore(b *testing.B) {
	for _, size := range []int{200, 20_000} {
		b.Run(fmt.Sprintf("ours/%d", size), func(b *testing.B) {
			cfg := testLog(b, b.TempDir())
			cfg.SegmentBytes, cfg.Create = 64<<20, true
			s, err := OpenLog(cfg)
			if err != nil {
				b.Fatal(err)
			}
			s.fs.start()
			defer s.Close()
			benchStore(b, s, size)
		})
		b.Run(fmt.Sprintf("raft-wal/%d", size), func(b *testing.B) {
			s, err := wal.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			benchStore(b, s, size)
		})
	}
}

func benchStore(b *testing.B, s raft.LogStore, size int) {
	data := make([]byte, size)
	for i := range b.N {
		if err := s.StoreLogs([]*raft.Log{{Index: uint64(i + 1), Term: 1, Data: data}}); err != nil {
			b.Fatal(err)
		}
	}
}
