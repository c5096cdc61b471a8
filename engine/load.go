package engine

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// minRecord is the size of the smallest record in a snapshot; it bounds what
// counts in a damaged snapshot can make us allocate.
const minRecord = 3

// loader is the state of one Load.
type loader struct {
	ks   *Keyspace
	r    io.ReaderAt
	size int64
	plan map[planKey]uint64 // records that each shard should have

	jobs chan loadJob

	mu  sync.Mutex
	err error
	at  int64 // offset err is about
}

type planKey struct {
	part uint8
	db   uint16
}

type loadJob struct {
	section
	at int64 // of the section
}

// Load reads a snapshot of size bytes into an empty keyspace, with the given
// number of goroutines, and takes over the snapshot's seed. Damage of any kind gives a
// *CorruptError, a newer format a *VersionError. After an error the keyspace is
// good for nothing but Close. Nothing else may use the keyspace meanwhile.
func (ks *Keyspace) Load(r io.ReaderAt, size int64, goroutines int) error {
	for db := range ks.databases {
		if ks.View(db, 0, false).Len() > 0 {
			return errors.New("engine: a snapshot can only be loaded into an empty keyspace")
		}
	}
	l := &loader{ks: ks, r: r, size: size, jobs: make(chan loadJob, 64)}
	at, err := l.begin()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range max(goroutines, 1) {
		wg.Go(l.work)
	}
	if err := l.sections(at); err != nil {
		l.fail(err)
	}
	close(l.jobs)
	wg.Wait()
	if l.err != nil {
		return l.err
	}
	if err := l.checkPlan(); err != nil {
		return err
	}
	ks.countOrigins()
	if err := ks.loadRegions(); err != nil {
		return &CorruptError{headerBytes, err.Error()}
	}
	ks.userChanges.Add(1)
	ks.reconcile()
	return nil
}

// read reads n bytes at an offset; what is missing is damage.
func (l *loader) read(b []byte, at int64) error {
	if int64(len(b)) > l.size-at {
		return &CorruptError{at, "the snapshot ends early"}
	}
	n, err := l.r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == io.EOF || err == nil {
		return &CorruptError{at, "the snapshot ends early"}
	}
	return fmt.Errorf("engine: reading a snapshot at byte %d: %w", at, err)
}

// begin reads the header and the plan, prepares the shards, and returns the
// offset of the first section.
func (l *loader) begin() (int64, error) {
	var b [headerBytes]byte
	if err := l.read(b[:], 0); err != nil {
		return 0, err
	}
	h, err := decodeHeader(b[:])
	if err != nil {
		return 0, err
	}
	n := int64(h.shards)*planEntryBytes + 4
	if n > l.size-headerBytes {
		return 0, &CorruptError{headerBytes, "the snapshot ends early"}
	}
	plan := make([]byte, n)
	if err := l.read(plan, headerBytes); err != nil {
		return 0, err
	}
	if !goodCRC(plan) {
		return 0, &CorruptError{headerBytes, "the checksum of the plan is wrong"}
	}
	l.ks.clearShards()
	l.ks.seed = h.seed
	l.plan = make(map[planKey]uint64, h.shards)
	last, left := -1, uint64(l.size)/minRecord
	for i := range int(h.shards) {
		at := i * planEntryBytes
		e := decodePlanEntry(plan[at:])
		order := int(e.part)*(MaxDatabases+1) + int(e.db)
		if plan[at+1] != 0 || e.db >= h.databases && e.db != hiddenDB || order <= last || e.records == 0 || e.records > left {
			return 0, &CorruptError{headerBytes + int64(at), "the plan has impossible values"}
		}
		db, ok := l.ks.dbAt(int(e.db))
		if !ok {
			return 0, fmt.Errorf("engine: the snapshot has keys in database %d, there are only %d databases", e.db, l.ks.databases)
		}
		last = order
		left -= e.records
		l.plan[planKey{e.part, e.db}] = e.records
		l.ks.makeShard(int(e.part), db).reserve(e.records)
	}
	return headerBytes + n, nil
}

// sections hands all sections to the goroutines of Load and checks the end.
func (l *loader) sections(at int64) error {
	var sections uint32
	var records uint64
	for {
		var b [sectionBytes]byte
		if err := l.read(b[:], at); err != nil {
			return err
		}
		if !goodCRC(b[:]) {
			return &CorruptError{at, "the checksum of a section's header is wrong"}
		}
		if b[0] == endMark {
			e := decodeEnd(b[:])
			if e.sections != sections || e.records != records || at+sectionBytes != l.size {
				return &CorruptError{at, "the snapshot's totals do not match its content"}
			}
			return nil
		}
		s := decodeSection(b[:])
		_, planned := l.plan[planKey{s.part, s.db}]
		if b[0] != sectionMark || !planned || s.records == 0 || s.bytes > uint64(l.size-at-sectionBytes) ||
			uint64(s.records) > s.bytes/minRecord {
			return &CorruptError{at, "a section's header has impossible values"}
		}
		sections++
		records += uint64(s.records)
		l.jobs <- loadJob{s, at}
		at += sectionBytes + int64(s.bytes)
		if l.failed() {
			return nil
		}
	}
}

func (l *loader) work() {
	var body []byte
	for job := range l.jobs {
		if l.failed() {
			continue
		}
		if cap(body) < int(job.bytes) || cap(body) > 1<<20 {
			body = make([]byte, max(job.bytes, chunkBytes))
		}
		if err := l.section(job, body[:job.bytes]); err != nil {
			l.fail(err)
		}
	}
}

// section reads and loads one section.
func (l *loader) section(job loadJob, body []byte) error {
	from := job.at + sectionBytes
	if err := l.read(body, from); err != nil {
		return err
	}
	if checksum(body) != job.crc {
		return &CorruptError{job.at, "the checksum of a section is wrong"}
	}
	l.ks.LockPart(int(job.part))
	defer l.ks.UnlockPart(int(job.part))
	db, _ := l.ks.dbAt(int(job.db)) // the plan has been checked
	sh := l.ks.shard(int(job.part), db)
	for range job.records {
		key, v, n, err := decodeRecord(body)
		if err != nil {
			return &CorruptError{from, err.Error()}
		}
		if sh.partOf(key) != int(job.part) || db == l.ks.databases && len(key) == 0 {
			return &CorruptError{from, "a key is in the wrong part"}
		}
		if !sh.goodShared(key, &v) {
			return &CorruptError{from, "a shared key is malformed"}
		}
		h := l.ks.hash(key)
		if sh.find(h, key) != 0 {
			return &CorruptError{from, "a key occurs twice"}
		}
		ref := sh.add(h, key, v.Kind, v.Int, len(v.Bytes), v.Deadline)
		if v.Kind != KindInt {
			copy(sh.at(ref).content(), v.Bytes)
		}
		body = body[n:]
		from += int64(n)
	}
	if len(body) > 0 {
		return &CorruptError{from, "a section has more bytes than records"}
	}
	return nil
}

// checkPlan makes sure that every shard got the records it should have.
func (l *loader) checkPlan() error {
	for k, want := range l.plan {
		db, _ := l.ks.dbAt(int(k.db))
		if got := l.ks.shard(int(k.part), db).keys.Load(); uint64(got) != want {
			return &CorruptError{headerBytes, fmt.Sprintf("part %d of database %d has %d records, not the planned %d", k.part, k.db, got, want)}
		}
	}
	return nil
}

// fail keeps the error about the lowest offset.
func (l *loader) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := int64(0)
	if c, ok := err.(*CorruptError); ok {
		at = c.Offset
	}
	if l.err == nil || at < l.at {
		l.err, l.at = err, at
	}
}

func (l *loader) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

// clearShards removes the shards of an empty keyspace: their order of hashes is
// that of another seed.
func (ks *Keyspace) clearShards() {
	for part := range Parts {
		for db := range ks.databases + 1 {
			ks.LockPart(part)
			ks.detach(part, db)
			ks.UnlockPart(part)
		}
	}
}
