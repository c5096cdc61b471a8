package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// How damage in stable.db is found. bolt has a checksum on its two meta pages only. If the newer one is damaged bolt uses the
// older one, which brings back an older vote. A damaged data page makes bolt panic in a goroutine of its own, and a file that
// is cut off ends the process by a bus error. So the file is checked before bolt maps it.
//
// A walk over any B-tree is not needed: the store has one record below 1 KiB, so that all data are in one page whose bytes
// follow from the record. The check rebuilds that page and compares. The record has a CRC32C of its own (votes.go).
//
// A second file with a copy of the record was rejected: its damage would matter as much as that of the first file, it could
// not keep the process from ending, and each vote would take twice as many syncs.
//
// A bolt file (bbolt 1.3, 64-bit, little-endian) is a sequence of pages:
//
//	page:  id u64 · flags u16 · count u16 · overflow u32 · elements · keys and values
//	meta:  pages 0 and 1; magic u32 · version u32 · page size u32 · flags u32 · root u64 · sequence u64 · freelist u64 ·
//	       pages u64 · txid u64 · FNV-1a of the 56 bytes before
//	leaf:  element: flags u32 · pos u32, from the element on · key size u32 · value size u32
//
// The root page is a leaf of raft-boltdb's two buckets, flag 1; the value of a small bucket is root u64 = 0 · sequence
// u64 = 0 · a page of its own with id 0:
//
//	root ─┬─ "conf" ─ leaf ── "quipu": the record
//	      └─ "logs" ─ leaf without elements
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16
	boltMetaSize   = 64
	boltLeaf       = 0x02
	boltMeta       = 0x04
	boltBucketFlag = 0x01
	// From the beginning of the root page: the value size of "conf", and the record.
	boltConfSize = boltPageHeader + 12
	boltRecord   = boltPageHeader + 2*16 + len("conf") + boltBucket + 16 + len("quipu")
	boltBucket   = 16 + boltPageHeader // a bucket's value before its elements
	// bolt gives a bucket above a quarter of a page pages of its own. Pages have 4 KiB or more.
	maxVoteRecord = 4096/4 - boltPageHeader - 16 - len("quipu")
)

// checkBolt returns where the first damage is; what is empty if there is none.
func checkBolt(b []byte) (offset int64, what string) {
	root, size, offset, what := checkBoltMetas(b)
	if what != "" {
		return offset, what
	}
	page := b[root*size:][:size]
	le := binary.LittleEndian
	n := int(le.Uint32(page[boltConfSize:])) - (boltRecord - boltPageHeader - 2*16 - len("conf"))
	if n < 0 || n > maxVoteRecord {
		return int64(root*size) + boltConfSize, "no record of term and vote"
	}
	want := boltRoot(root, page[boltRecord:boltRecord+n])
	for i := range want {
		if page[i] != want[i] {
			return int64(root*size) + int64(i), fmt.Sprintf("page %d is damaged", root)
		}
	}
	return 0, ""
}

// checkBoltMetas checks both meta pages and returns the root of the newer, which lies within b, and the page size. A torn
// write cannot damage a meta page: it fits into a sector.
func checkBoltMetas(b []byte) (root, size uint64, offset int64, what string) {
	le := binary.LittleEndian
	size = 4096
	if len(b) >= boltPageHeader+boltMetaSize {
		if n := le.Uint32(b[boltPageHeader+8:]); n >= 4096 && n <= 1<<16 && n&(n-1) == 0 {
			size = uint64(n)
		}
	}
	var newest, pages uint64
	for i := range uint64(2) {
		at := i * size
		if uint64(len(b)) < at+boltPageHeader+boltMetaSize {
			return 0, 0, int64(len(b)), fmt.Sprintf("cut off in meta page %d", i)
		}
		p, m := b[at:], b[at+boltPageHeader:]
		sum := fnv.New64a()
		sum.Write(m[:56])
		if le.Uint64(p) != i || le.Uint16(p[8:]) != boltMeta || le.Uint32(m) != boltMagic || le.Uint32(m[4:]) != boltVersion ||
			uint64(le.Uint32(m[8:])) != size || le.Uint64(m[56:]) != sum.Sum64() {
			return 0, 0, int64(at), fmt.Sprintf("meta page %d is damaged", i)
		}
		if txid := le.Uint64(m[48:]); i == 0 || txid > newest {
			newest, root, pages = txid, le.Uint64(m[16:]), le.Uint64(m[40:])
		}
	}
	if pages > uint64(len(b))/size {
		return 0, 0, int64(len(b)), fmt.Sprintf("cut off: %d bytes of at least %d", len(b), pages*size)
	}
	if root < 2 || root >= pages {
		return 0, 0, -1, fmt.Sprintf("page %d is not where it can be", root)
	}
	return root, size, 0, ""
}

// boltRoot is the root page of the given ID, up to its last byte in use, in a file that holds record.
func boltRoot(id uint64, record []byte) []byte {
	conf := boltInline(1)
	conf = boltElement(conf, 0, 16, len("quipu"), len(record))
	conf = append(append(conf, "quipu"...), record...)
	logs := boltInline(0)
	b := boltHeader(nil, id, 2)
	b = boltElement(b, boltBucketFlag, 2*16, len("conf"), len(conf))
	b = boltElement(b, boltBucketFlag, 16+len("conf")+len(conf), len("logs"), len(logs))
	return bytes.Join([][]byte{b, []byte("conf"), conf, []byte("logs"), logs}, nil)
}

// boltInline is the value of a small bucket before its elements.
func boltInline(elements uint16) []byte { return boltHeader(make([]byte, 16), 0, elements) }

func boltHeader(b []byte, id uint64, elements uint16) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(le.AppendUint64(b, id), boltLeaf)
	return le.AppendUint32(le.AppendUint16(b, elements), 0)
}

func boltElement(b []byte, flags uint32, pos, key, value int) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(le.AppendUint32(b, flags), uint32(pos))
	return le.AppendUint32(le.AppendUint32(b, uint32(key)), uint32(value))
}
