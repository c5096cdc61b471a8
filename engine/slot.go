package engine

import "bytes"

const (
	// Slots is the number of Redis hash slots.
	Slots = 16384
	// Parts is the number of parts, each of Slots/Parts neighbouring slots.
	Parts = 256

	slotsPerPartLog2 = 6
)

// crcTables[i][b] is the CRC-16/XMODEM of byte b followed by i zero bytes, so
// that eight bytes take eight independent lookups ("slicing by eight").
var crcTables = func() (t [8][256]uint16) {
	for b := range 256 {
		crc := uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		t[0][b] = crc
	}
	for i := 1; i < 8; i++ {
		for b := range 256 {
			prev := t[i-1][b]
			t[i][b] = prev<<8 ^ t[0][prev>>8]
		}
	}
	return t
}()

// Slot returns the key's hash slot as Redis Cluster defines it: CRC-16/XMODEM
// modulo 16384 of the key, or only of the bytes between the first '{' and the next
// '}' if there is at least one byte between them.
func Slot(key []byte) uint16 {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	return crc16(key) & (Slots - 1)
}

func crc16(b []byte) uint16 {
	crc := uint16(0)
	t := &crcTables
	for len(b) >= 8 {
		crc = t[7][b[0]^byte(crc>>8)] ^ t[6][b[1]^byte(crc)] ^
			t[5][b[2]] ^ t[4][b[3]] ^ t[3][b[4]] ^ t[2][b[5]] ^ t[1][b[6]] ^ t[0][b[7]]
		b = b[8:]
	}
	for _, c := range b {
		crc = crc<<8 ^ t[0][byte(crc>>8)^c]
	}
	return crc
}

// Part returns the part a key belongs to, in every database.
func Part(key []byte) int { return int(Slot(key) >> slotsPerPartLog2) }

// PartSet is a set of parts. The zero value is empty.
type PartSet [Parts / 64]uint64

// Add adds a part.
func (s *PartSet) Add(part int) { s[part>>6&3] |= 1 << (part & 63) }

// Remove takes a part out.
func (s *PartSet) Remove(part int) { s[part>>6&3] &^= 1 << (part & 63) }

// AddKey adds the part of a key.
func (s *PartSet) AddKey(key []byte) { s.Add(Part(key)) }

// AddAll adds every part.
func (s *PartSet) AddAll() {
	for i := range s {
		s[i] = ^uint64(0)
	}
}

// Has reports whether the part is in the set.
func (s *PartSet) Has(part int) bool { return s[part>>6&3]>>(part&63)&1 != 0 }

// Empty reports whether no part is in the set.
func (s *PartSet) Empty() bool { return s[0]|s[1]|s[2]|s[3] == 0 }

// IsAll reports whether every part is in the set.
func (s *PartSet) IsAll() bool { return s[0]&s[1]&s[2]&s[3] == ^uint64(0) }
