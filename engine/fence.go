package engine

// A fence sends the increments of a key through the log instead of having them answered from memory, from when a write
// that may end the key's life or change its deadline is queued until that write is decided. Without it an increment
// could be answered against the deadline from before the write and be drained behind it, and would then be dropped with
// a life of the key that has gone on, or would begin one that has ended.
//
// Keys share fences: each part has a few. A fence that stands for another key costs a commit, nothing else.
type Fence uint16

const (
	partFences       = 16 // a power of two
	fenceAll   Fence = 0xffff
)

// Fence sets up the fence of a key. All increments of it that were answered from memory before are in what the part
// gathers, or in flight; drain them next. The caller holds no parts.
func (ks *Keyspace) Fence(key []byte) Fence {
	part := Part(key)
	f := Fence(part*partFences) + Fence(ks.hash(key)>>32%partFences)
	ks.LockPart(part)
	ks.fences[f]++
	ks.UnlockPart(part)
	return f
}

// FenceAll sets up a fence around all keys.
func (ks *Keyspace) FenceAll() Fence {
	ks.fencedAll.Add(1)
	ks.passParts()
	return fenceAll
}

// Unfence takes a fence away. The caller holds no parts.
func (ks *Keyspace) Unfence(f Fence) {
	if f == fenceAll {
		ks.fencedAll.Add(-1)
		return
	}
	part := int(f / partFences)
	ks.LockPart(part)
	ks.fences[f]--
	ks.UnlockPart(part)
}

// fenced reports whether a key with the hash may be fenced. The part is locked.
func (ks *Keyspace) fenced(part int, hash uint64) bool {
	return ks.fences[part*partFences+int(hash>>32%partFences)] != 0 || ks.fencedAll.Load() != 0
}

// Fences returns how many fences stand. It locks each part.
func (ks *Keyspace) Fences() int {
	n := int(ks.fencedAll.Load())
	for part := range Parts {
		ks.LockPart(part)
		for _, count := range ks.fences[part*partFences:][:partFences] {
			n += int(count)
		}
		ks.UnlockPart(part)
	}
	return n
}

// passParts waits until whoever holds a part now has left it.
func (ks *Keyspace) passParts() {
	for p := range Parts {
		ks.LockPart(p)
		ks.UnlockPart(p)
	}
}
