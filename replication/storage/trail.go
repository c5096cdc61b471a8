package storage

import "sync"

// trail remembers about how many bytes of entries lie behind which index, so that what stays in the log behind a snapshot
// is measured in bytes: 10,240 entries, Raft's default, may be 5 GiB.
type trail struct {
	mu    sync.Mutex
	step  int64       // bytes from one step to the next
	bytes int64       // of all entries so far
	steps []trailStep // oldest first
	last  uint64      // index of the newest entry
	first uint64      // index of the first entry that was added; 0: none was
}

type trailStep struct {
	index uint64
	bytes int64 // of all entries up to index
}

// trailSteps is how finely the bytes to keep are measured.
const trailSteps = 64

func (t *trail) add(index uint64, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == 0 {
		t.first = index
	}
	t.bytes += n
	t.last = index
	if len(t.steps) == 0 || t.bytes-t.steps[len(t.steps)-1].bytes >= t.step {
		t.steps = append(t.steps, trailStep{index, t.bytes})
		if len(t.steps) > 4*trailSteps {
			t.steps = append(t.steps[:0], t.steps[len(t.steps)/2:]...)
		}
	}
}

// entries is the number of newest entries that hold about the given bytes; at least 1, since Raft must never be told to keep
// none.
func (t *trail) entries(bytes int64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.steps) - 1; i >= 0; i-- {
		if t.bytes-t.steps[i].bytes >= bytes {
			return max(1, t.last-t.steps[i].index)
		}
	}
	return max(1, t.last-t.first+1)
}
