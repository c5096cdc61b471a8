package storage

import (
	"os"
	"sync/atomic"
	"time"
)

// The naive way writes a snapshot in one go, and deletes an old one in one go. The disk then works on that for long, and the
// log's next sync waits. So snapshots are written and deleted in pieces that are synced one by one, and after each piece the
// disk is left to the log for twice as long as the piece took, if the log is in use. 4 KiB synced every 0.3 ms beside 128 MiB, p99.9: 1 to 4 ms without, 12 to 20 ms beside pieces of 8 MiB, 2 to
// 5 ms beside pieces of 256 KiB with pauses; deleting 128 MiB at once adds 5 to 10 ms.
const (
	diskPiece    = 256 << 10 // bytes that are written and synced at once
	diskShorten  = 4 << 20   // bytes that are freed at once
	diskPauseMax = 20 * time.Millisecond
)

// diskShare leaves the disk to the log. written is the bytes of log written so far.
type diskShare struct {
	written func() int64
	seen    atomic.Int64 // written at the last call of leave
}

// leave is called after each piece, on which the disk has worked for took.
func (d *diskShare) leave(took time.Duration) {
	written := d.written()
	if d.seen.Swap(written) != written {
		time.Sleep(min(2*took, diskPauseMax))
	}
}

// shorten frees nearly all bytes of a file that is to be deleted, piece by piece.
func (d *diskShare) shorten(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	for size := info.Size() - diskShorten; size > 0; size -= diskShorten {
		begin := time.Now()
		if err := os.Truncate(path, size); err != nil {
			return err
		}
		d.leave(time.Since(begin))
	}
	return nil
}
