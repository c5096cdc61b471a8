package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// A bolt file (bbolt 1.3, 64-bit, little-endian) is a sequence of pages:
//
//	page:    id u64 · flags u16 · count u16 · overflow u32 · elements
//	meta:    pages 0 and 1; magic u32 · version u32 · page size u32 · flags u32 · root u64 · sequence u64 · freelist u64 ·
//	         pages u64 · txid u64 · FNV-1a of the 56 bytes before
//	branch:  element: pos u32 · key size u32 · child page u64
//	leaf:    element: flags u32 · pos u32 · key size u32 · value size u32; flag 1: value is a bucket: root u64 ·
//	         sequence u64, and with root 0 a page inline
//
// pos counts from the element itself.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16
	boltMetaSize   = 64
	boltBranch     = 0x01
	boltLeaf       = 0x02
	boltMeta       = 0x04
	boltMaxDepth   = 16
	boltBucketLeaf = 0x01
)

// boltFile is a file that is being checked. bad records the first damage.
type boltFile struct {
	b        []byte
	pageSize uint64
	pages    uint64 // high-water mark
	seen     map[uint64]bool
	offset   int64
	what     string
}

// checkBolt walks every page that can be reached and returns where the first damage is; what is empty if there is none.
func checkBolt(b []byte) (offset int64, what string) {
	f := &boltFile{b: b, seen: map[uint64]bool{}}
	root := f.metas()
	if f.what == "" {
		f.page(root, 0)
	}
	return f.offset, f.what
}

func (f *boltFile) bad(offset int64, format string, args ...any) {
	if f.what == "" {
		f.offset, f.what = offset, fmt.Sprintf(format, args...)
	}
}

// metas checks both meta pages and returns the root of the newer. A torn write cannot damage one: it fits into a sector.
func (f *boltFile) metas() (root uint64) {
	le := binary.LittleEndian
	var newest uint64
	size := 4096
	if len(f.b) >= boltPageHeader+boltMetaSize {
		if n := le.Uint32(f.b[boltPageHeader+8:]); n >= 512 && n <= 1<<16 && n&(n-1) == 0 {
			size = int(n)
		}
	}
	for i := range 2 {
		at := i * size
		if len(f.b) < at+boltPageHeader+boltMetaSize {
			f.bad(int64(len(f.b)), "cut off in meta page %d", i)
			return 0
		}
		p, m := f.b[at:], f.b[at+boltPageHeader:]
		sum := fnv.New64a()
		sum.Write(m[:56])
		if le.Uint64(p) != uint64(i) || le.Uint16(p[8:]) != boltMeta || le.Uint32(m) != boltMagic ||
			le.Uint32(m[4:]) != boltVersion || le.Uint32(m[8:]) != uint32(size) || le.Uint64(m[56:]) != sum.Sum64() {
			f.bad(int64(at), "meta page %d is damaged", i)
			return 0
		}
		if txid := le.Uint64(m[48:]); i == 0 || txid > newest {
			newest, root, f.pages = txid, le.Uint64(m[16:]), le.Uint64(m[40:])
		}
	}
	f.pageSize = uint64(size)
	if f.pages > uint64(len(f.b))/f.pageSize {
		f.bad(int64(len(f.b)), "cut off: %d bytes of at least %d", len(f.b), f.pages*f.pageSize)
	}
	return root
}

// page checks a page and all below it.
func (f *boltFile) page(id uint64, depth int) {
	if f.what != "" {
		return
	}
	if id < 2 || id >= f.pages || f.seen[id] || depth > boltMaxDepth {
		f.bad(-1, "page %d is not where it can be", id)
		return
	}
	f.seen[id] = true
	le := binary.LittleEndian
	at := int64(id * f.pageSize)
	overflow := uint64(le.Uint32(f.b[at+12:]))
	if le.Uint64(f.b[at:]) != id || overflow >= f.pages-id {
		f.bad(at, "page %d has a damaged header", id)
		return
	}
	f.elements(f.b[at:at+int64((overflow+1)*f.pageSize)], at, depth)
}

// elements checks the elements of a page that begins at offset at of the file.
func (f *boltFile) elements(p []byte, at int64, depth int) {
	le := binary.LittleEndian
	flags, count := le.Uint16(p[8:]), int(le.Uint16(p[10:]))
	if flags != boltBranch && flags != boltLeaf || boltPageHeader+16*count > len(p) || flags == boltBranch && count == 0 {
		f.bad(at, "page has flags %#x and %d elements", flags, count)
		return
	}
	var last []byte
	for i := range count {
		e := boltPageHeader + 16*i
		fields := p[e:]
		if flags == boltLeaf {
			fields = p[e+4:]
		}
		start := uint64(e) + uint64(le.Uint32(fields))
		keyEnd := start + uint64(le.Uint32(fields[4:]))
		end := keyEnd
		if flags == boltLeaf {
			end += uint64(le.Uint32(fields[8:]))
		}
		if start < uint64(boltPageHeader+16*count) || end > uint64(len(p)) {
			f.bad(at+int64(e), "element %d lies outside its page", i)
			return
		}
		key := p[start:keyEnd]
		if len(key) == 0 || last != nil && bytes.Compare(last, key) >= 0 {
			f.bad(at+int64(e), "element %d is out of order", i)
			return
		}
		last = key
		switch {
		case flags == boltBranch:
			f.page(le.Uint64(p[e+8:]), depth+1)
		case le.Uint32(p[e:]) == boltBucketLeaf:
			f.bucket(p[keyEnd:end], at+int64(keyEnd), depth)
		case le.Uint32(p[e:]) != 0:
			f.bad(at+int64(e), "element %d has unknown flags", i)
		}
		if f.what != "" {
			return
		}
	}
}

// bucket checks the value of a bucket element at offset at.
func (f *boltFile) bucket(v []byte, at int64, depth int) {
	if len(v) < 16 {
		f.bad(at, "bucket header is cut off")
		return
	}
	if root := binary.LittleEndian.Uint64(v); root != 0 {
		f.page(root, depth+1)
		return
	}
	if len(v) < 16+boltPageHeader || depth > boltMaxDepth {
		f.bad(at, "bucket without a page")
		return
	}
	f.elements(v[16:], at+16, depth+1)
}
