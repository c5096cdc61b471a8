package topk

import (
	"bytes"
	"slices"
)

// entry is the offset of an entry.
func (s *Sketch) entry(id uint32) uint32 { return s.entries + min(id, s.k-1)*entryBytes }

const (
	fingerprintAt = 8 // in an entry
	offsetAt      = 12
	lengthAt      = 16
	placeAt       = 20
)

// item is the bytes of an entry's item.
func (s *Sketch) item(id uint32) []byte {
	e := s.entry(id)
	from, n := uint64(s.u32(e+offsetAt)), uint64(s.u32(e+lengthAt))
	if from+n > uint64(s.used()) {
		return nil
	}
	return s.b[uint64(s.items)+from:][:n]
}

// find looks an item up in the index.
func (s *Sketch) find(fingerprint uint32, item []byte) (id uint32, ok bool) {
	i := fingerprint & s.mask
	for range s.mask + 1 {
		v := s.u32(s.index + i*4)
		if v == 0 {
			break
		}
		if id = v - 1; s.u32(s.entry(id)+fingerprintAt) == fingerprint && id < s.inUse && bytes.Equal(s.item(id), item) {
			return id, true
		}
		i = (i + 1) & s.mask
	}
	return 0, false
}

// enlist puts an entry into the index.
func (s *Sketch) enlist(fingerprint, id uint32) {
	i := fingerprint & s.mask
	for range s.mask + 1 {
		if at := s.index + i*4; s.u32(at) == 0 {
			s.putU32(at, id+1)
			return
		}
		i = (i + 1) & s.mask
	}
}

// delist takes an entry out of the index and moves up those behind it that it has displaced.
func (s *Sketch) delist(id uint32) {
	hole := s.u32(s.entry(id)+fingerprintAt) & s.mask
	for range s.mask + 1 {
		if v := s.u32(s.index + hole*4); v == id+1 {
			break
		} else if v == 0 {
			return
		}
		hole = (hole + 1) & s.mask
	}
	i := hole
	for range s.mask {
		i = (i + 1) & s.mask
		v := s.u32(s.index + i*4)
		if v == 0 {
			break
		}
		home := s.u32(s.entry(v-1)+fingerprintAt) & s.mask
		if (i-home)&s.mask >= (i-hole)&s.mask {
			s.putU32(s.index+hole*4, v)
			hole = i
		}
	}
	s.putU32(s.index+hole*4, 0)
}

// at is the entry at a position of the heap.
func (s *Sketch) at(place uint32) uint32 { return min(s.u32(s.heap+place*4), s.inUse-1) }

// place is an entry's position in the heap.
func (s *Sketch) place(id uint32) uint32 { return min(s.u32(s.entry(id)+placeAt), s.inUse-1) }

func (s *Sketch) put(id, place uint32) {
	s.putU32(s.heap+place*4, id)
	s.putU32(s.entry(id)+placeAt, place)
}

// down moves the entry at a position to where all below it count at least as much.
func (s *Sketch) down(place uint32) {
	id := s.at(place)
	count := s.u64(s.entry(id))
	for {
		child := 2*place + 1
		if child >= s.inUse {
			break
		}
		least := s.at(child)
		if child+1 < s.inUse {
			if other := s.at(child + 1); s.u64(s.entry(other)) < s.u64(s.entry(least)) {
				child, least = child+1, other
			}
		}
		if s.u64(s.entry(least)) >= count {
			break
		}
		s.put(least, place)
		place = child
	}
	s.put(id, place)
}

// up moves the entry at a position to where the one above it counts at most as much.
func (s *Sketch) up(place uint32) {
	id := s.at(place)
	count := s.u64(s.entry(id))
	for place > 0 {
		parent := s.at((place - 1) / 2)
		if s.u64(s.entry(parent)) <= count {
			break
		}
		s.put(parent, place)
		place = (place - 1) / 2
	}
	s.put(id, place)
}

// Room returns the size that the bytes need before an item of n bytes can enter: their own if there is room. More is to be
// zeros at the end, and the sketch is to be opened again. The error is ErrTooLarge.
func (s *Sketch) Room(n int) (size int, err error) {
	have := len(s.b) - int(s.items)
	live := int(s.used()-s.dead()) + n
	switch {
	case int(s.used())+n <= have || live <= have-have/4:
		return len(s.b), nil
	case int(s.items)+live > MaxBytes:
		return 0, ErrTooLarge
	}
	// At the limit, gaps are closed more and more often.
	return max(len(s.b), min(int(s.items)+2*live, MaxBytes)), nil
}

// Enter gives a place to an item for which Count has said so and Room has been made. It returns the item that has lost
// its place, nil if none has. That is valid until the next change.
func (s *Sketch) Enter(item []byte, known Item) (expelled []byte) {
	if int(s.items)+int(s.used())+len(item) > len(s.b) {
		s.closeGaps()
	}
	from := s.used()
	if int(s.items)+int(from)+len(item) > len(s.b) {
		return nil // the lengths in the sketch contradict each other
	}
	var id uint32
	place := uint32(0)
	if s.inUse < s.k {
		id = s.inUse
		place = id
		s.inUse++
		s.putU32(inUseAt, s.inUse)
	} else {
		id = s.at(0)
		if expelled = s.item(id); expelled == nil {
			expelled = []byte{}
		}
		s.delist(id)
		s.putU32(deadAt, min(s.dead()+uint32(len(expelled)), s.used()))
	}
	copy(s.b[s.items+from:], item)
	s.putU32(usedAt, from+uint32(len(item)))
	e := s.entry(id)
	s.putU64(e, known.count)
	s.putU32(e+fingerprintAt, known.fingerprint)
	s.putU32(e+offsetAt, from)
	s.putU32(e+lengthAt, uint32(len(item)))
	s.enlist(known.fingerprint, id)
	s.put(id, place)
	if place == 0 {
		s.down(0)
	} else {
		s.up(place)
	}
	return expelled
}

// closeGaps moves all items together.
func (s *Sketch) closeGaps() {
	live := make([]byte, 0, s.used()-s.dead())
	for id := range s.inUse {
		item := s.item(id)
		if len(live)+len(item) > int(s.used()) {
			return // items overlap
		}
		s.putU32(s.entry(id)+lengthAt, uint32(len(item)))
		live = append(live, item...)
	}
	from := uint32(0)
	for id := range s.inUse {
		s.putU32(s.entry(id)+offsetAt, from)
		from += s.u32(s.entry(id) + lengthAt)
	}
	copy(s.b[s.items:], live)
	s.putU32(usedAt, from)
	s.putU32(deadAt, 0)
}

// Ranked is an item among the best. It aliases the sketch.
type Ranked struct {
	Item  []byte
	Count int64
}

// List returns the best, the one that counts most first; equal ones in the order of their bytes.
func (s *Sketch) List() []Ranked {
	list := make([]Ranked, 0, s.inUse)
	for id := range s.inUse {
		list = append(list, Ranked{s.item(id), int64(min(s.u64(s.entry(id)), countMax))})
	}
	rank(list)
	return list
}

func rank(list []Ranked) {
	slices.SortFunc(list, func(a, b Ranked) int {
		if a.Count != b.Count {
			if a.Count > b.Count {
				return -1
			}
			return 1
		}
		return bytes.Compare(a.Item, b.Item)
	})
}

// ListSum returns the best of several sketches of the same shape together, as List does: of the items that are among the best of one, with the
// sum of what is known of each in all.
func ListSum(sketches []Sketch) []Ranked {
	if len(sketches) == 1 {
		return sketches[0].List()
	}
	seen := map[string]bool{}
	var list []Ranked
	for i := range sketches {
		for _, r := range sketches[i].List() {
			if !seen[string(r.Item)] {
				seen[string(r.Item)] = true
				list = append(list, Ranked{r.Item, EstimateSum(sketches, r.Item)})
			}
		}
	}
	rank(list)
	return list[:min(len(list), int(sketches[0].k))]
}

// EstimateSum is the count of an item in all of some sketches of the same shape.
func EstimateSum(sketches []Sketch, item []byte) int64 {
	sum := uint64(0) // of numbers below 2^63 each: of two it does not overflow
	for i := range sketches {
		sum = min(sum+uint64(sketches[i].Estimate(item)), countMax)
	}
	return int64(sum)
}
