package engine

// A Hold sends the increments of a key through the log instead of having them answered ahead,
// from when a write that may end the key's life or change its deadline is gathered until that
// write is decided. Without a hold an increment could be answered ahead, with the deadline that
// the key has before the write, and reach the log behind the write. The increment would then be
// dropped at the old deadline although the write has removed it, or would create the key again
// with the deadline from before a DEL.
//
// Keys share holds: each part has partHolds counters of holds, and a key's hash chooses one. An
// increment that finds the hold of another key waits for a commit; nothing else is lost.
type Hold uint16

const (
	partHolds      = 16 // a power of two
	holdAll   Hold = 0xffff
)

// Hold sets up the hold of a key. Increments of the key that were answered ahead before are then
// in the gathered or the sealed table of its part, so they reach the log before the operations of
// any batch that is sealed afterwards. The caller holds no parts.
func (ks *Keyspace) Hold(key []byte) Hold {
	part := Part(key)
	h := Hold(part*partHolds) + Hold(ks.hash(key)>>32%partHolds)
	ks.LockPart(part)
	ks.holds[h]++
	ks.UnlockPart(part)
	return h
}

// HoldAll sets up a hold of all keys.
func (ks *Keyspace) HoldAll() Hold {
	ks.heldAll.Add(1)
	ks.passParts()
	return holdAll
}

// Release takes a hold away. The caller holds no parts.
func (ks *Keyspace) Release(h Hold) {
	if h == holdAll {
		ks.heldAll.Add(-1)
		return
	}
	part := int(h / partHolds)
	ks.LockPart(part)
	ks.holds[h]--
	ks.UnlockPart(part)
}

// isHeld reports whether a key with the hash may be held. The part is locked.
func (ks *Keyspace) isHeld(part int, hash uint64) bool {
	return ks.holds[part*partHolds+int(hash>>32%partHolds)] != 0 || ks.heldAll.Load() != 0
}

// Holds returns how many holds stand. It locks each part.
func (ks *Keyspace) Holds() int {
	n := int(ks.heldAll.Load())
	for part := range Parts {
		ks.LockPart(part)
		for _, count := range ks.holds[part*partHolds:][:partHolds] {
			n += int(count)
		}
		ks.UnlockPart(part)
	}
	return n
}

// passParts waits until each part's lock, if somebody holds it now, has been released.
func (ks *Keyspace) passParts() {
	for p := range Parts {
		ks.LockPart(p)
		ks.UnlockPart(p)
	}
}
