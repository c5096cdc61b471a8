package engine

import (
	"errors"
	"fmt"
	"io"
	"time"
	"unsafe"
)

// writeBuffer is how many bytes are collected before they are written.
const writeBuffer = 256 << 10

// snapshotWriter is the state of one WriteTo.
type snapshotWriter struct {
	s        *Snapshot
	w        io.Writer
	out      []byte // not yet written
	image    []byte // private copy of a chunk
	written  int64
	sections uint32
	records  uint64
	visit    func(db int, r record) error // of Checksum, which writes nothing; else nil
}

// WriteTo writes the snapshot and returns the number of bytes written. It takes
// each part's lock for a few microseconds at a time. An error leaves a stream
// that Load refuses; Release is still needed.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	sw := &snapshotWriter{s: s, w: w}
	err := sw.run()
	return sw.written, err
}

func (sw *snapshotWriter) run() error {
	s := sw.s
	sw.out = header{uint16(s.ks.databases), s.ks.seed, uint32(len(s.plan)), s.regions}.append(sw.out)
	from, total := len(sw.out), uint64(0)
	for _, e := range s.plan {
		sw.out = e.append(sw.out)
		total += e.records
	}
	sw.out = appendCRC(sw.out, from)
	if err := sw.takeAll(total); err != nil {
		return err
	}
	sw.out = end{sw.sections, sw.records}.append(sw.out)
	return sw.flush(0)
}

// takeAll writes the records of all chunks, total in number.
func (sw *snapshotWriter) takeAll(total uint64) error {
	for i := range sw.s.pins {
		if err := sw.writeQueued(); err != nil {
			return err
		}
		if err := sw.take(&sw.s.pins[i]); err != nil {
			return err
		}
	}
	if err := sw.writeQueued(); err != nil {
		return err
	}
	if sw.records != total {
		return fmt.Errorf("engine: BUG: snapshot has %d records, %d were captured", sw.records, total)
	}
	return nil
}

// writeQueued writes what mutators have queued.
func (sw *snapshotWriter) writeQueued() error {
	for p := sw.s.next(); p != nil; p = sw.s.next() {
		image := unsafe.Slice((*byte)(p.base), p.used)
		p.undone(image)
		err := sw.section(p, image)
		sw.s.free(p, true)
		if err != nil {
			return err
		}
	}
	return nil
}

// take writes a chunk that is still pinned.
func (sw *snapshotWriter) take(p *pin) error {
	if p.used > LongCopy {
		var part PartSet
		part.Add(p.sh.part)
		sw.s.ks.markLong(&part)
		defer sw.s.ks.unmarkLong(&part)
	}
	if err := sw.lock(p); err != nil {
		return err
	}
	if p.state != pinned {
		sw.s.ks.UnlockPart(p.sh.part)
		return nil
	}
	if cap(sw.image) <= int(p.used) {
		// One byte more: an empty content at the end must not point behind it.
		sw.image = make([]byte, max(p.used, chunkBytes)+1)
	}
	image := sw.image[:p.used]
	copy(image, unsafe.Slice((*byte)(p.base), p.used))
	p.state = done
	p.sh.meta[p.chunk].pin = nil
	sw.s.ks.UnlockPart(p.sh.part)

	p.undone(image)
	err := sw.section(p, image)
	sw.s.free(p, false)
	if cap(sw.image) > writeBuffer {
		sw.image = nil
	}
	return err
}

// lock takes the part's lock. Whoever holds the lock may be waiting for the queue
// to be emptied, so lock goes on writing the queue until it gets the lock.
func (sw *snapshotWriter) lock(p *pin) error {
	mu := &sw.s.ks.parts[p.sh.part].mu
	for range 20 {
		if mu.TryLock() {
			return nil
		}
		if err := sw.writeQueued(); err != nil {
			return err
		}
		time.Sleep(10 * time.Microsecond)
	}
	mu.Lock()
	return nil
}

// section writes the live records of a chunk's image.
func (sw *snapshotWriter) section(p *pin, image []byte) error {
	db := p.sh.ks.dbNumber(p.sh.db)
	if sw.visit != nil {
		n, err := eachInImage(p, image, func(r record) error { return sw.visit(db, r) })
		sw.records += uint64(n)
		return err
	}
	at := len(sw.out)
	sw.out = append(sw.out, make([]byte, sectionBytes)...)
	records, _ := eachInImage(p, image, func(r record) error { sw.out = appendRecord(sw.out, r); return nil })
	if records == 0 {
		sw.out = sw.out[:at]
		return nil
	}
	body := sw.out[at+sectionBytes:]
	section{uint8(p.sh.part), uint16(db), records, uint64(len(body)), checksum(body)}.append(sw.out[:at])
	sw.sections++
	sw.records += uint64(records)
	return sw.flush(writeBuffer)
}

// eachInImage calls fn for the live records of a chunk's image, and returns their number.
func eachInImage(p *pin, image []byte, fn func(r record) error) (n uint32, err error) {
	for off := uint32(0); off < p.used && err == nil; {
		r := record{unsafe.Pointer(&image[off])}
		if r.isFree() {
			off += r.freeSize()
			continue
		}
		n++
		err = fn(r)
		off += r.block()
	}
	return n, err
}

// flush writes the buffer if it holds at least so many bytes.
func (sw *snapshotWriter) flush(atLeast int) error {
	if len(sw.out) < atLeast {
		return nil
	}
	n, err := sw.w.Write(sw.out)
	sw.written += int64(n)
	if err != nil {
		return fmt.Errorf("engine: writing a snapshot: %w", err)
	}
	if n < len(sw.out) {
		return errors.Join(errors.New("engine: writing a snapshot"), io.ErrShortWrite)
	}
	sw.out = sw.out[:0]
	if cap(sw.out) > 4*writeBuffer {
		sw.out = nil
	}
	return nil
}
