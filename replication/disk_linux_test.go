package replication

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quipu/internal/redistest"
	"quipu/replication/storage"
)

func mountSmall(t *testing.T, dir, size string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestSmallDisk fills a real file system of 12 MiB to the brim, from the log and from outside.
func TestSmallDisk(t *testing.T) {
	t.Parallel() // it mostly waits
	dir := t.TempDir()
	mountSmall(t, dir, "12m")
	cfg := Config{Dir: filepath.Join(dir, "data"), Logger: testConfig("").Logger, SnapshotLogBytes: 1 << 30}
	cfg.OnFatal = func(err error) { t.Errorf("the node stopped: %v", err) }
	n := startNode(t, cfg)
	// A hundred numbers at a time. They may be spread over two entries: the entry before is done once its clients have their
	// outcome, and whoever is done with an entry proposes what has come meanwhile. So each number has an outcome of its own.
	var want counter // of what was applied
	var next uint64
	write := func() (err error) {
		var waits []chan error
		for i := range uint64(100) {
			waits = append(waits, make(chan error, 1))
			n.batch.Submit(number{v: next + i, waiter: waits[i]})
		}
		n.batch.Flush()
		for i, ch := range waits {
			if e := outcomeOf(t, ch); e != nil {
				err = e
				continue
			}
			want.add(next + uint64(i))
		}
		next += 100
		return err
	}
	check := func() {
		t.Helper()
		if got := n.sm.state(); got != want.state() {
			t.Errorf("%+v, want %+v", got, want.state())
		}
	}
	fill := func() { t.Helper(); writeUntilFull(t, write) }
	ballast := filepath.Join(dir, "ballast")
	os.WriteFile(ballast, make([]byte, 9<<20), 0o600)
	fill()
	n.stop(t)
	n = startNode(t, cfg)
	check()
	fill()
	// As full as it gets: reads and restarts go on all the same.
	os.WriteFile(filepath.Join(dir, "more"), make([]byte, 12<<20), 0o600)
	n.stop(t)
	n = startNode(t, cfg)
	check()
	os.Remove(filepath.Join(dir, "more"))
	os.Remove(ballast)
	start := time.Now()
	waitFor(t, "writes to resume", func() bool { return n.Writable() == nil })
	t.Logf("%d writes fitted; resumed after %v", want.count, time.Since(start))
	if err := write(); err != nil {
		t.Fatal(err)
	}
	check()
	n.stop(t)
}

// writeUntilFull writes until it is refused for good: a snapshot may have freed something.
func writeUntilFull(t *testing.T, write func() error) {
	t.Helper()
	refused := time.Time{}
	for range 200_000 {
		err := write()
		var full *DiskFullError
		switch {
		case err == nil:
			refused = time.Time{}
			continue
		case !isNotApplied(err) || !errors.As(err, &full):
			t.Fatalf("outcome %v", err)
		case refused.IsZero():
			refused = time.Now()
		case time.Since(refused) > 3*time.Second:
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never full")
}

// bulk is a state of constant size that is overwritten all the time.
type bulk struct{ counter }

func (b *bulk) Apply(e Entry, _ Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(uint64(len(e.Payload)))
}

// Capture makes snapshots that take a while: the log grows by several segments meanwhile.
func (b *bulk) Capture() Persister { return slowBulk{b.counter.Capture()} }

type slowBulk struct{ Persister }

func (p slowBulk) Persist(w io.Writer) error { return p.Persister.Persist(slowWriter{w}) }

type slowWriter struct{ w io.Writer }

func (s slowWriter) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = s.w.Write(b[n:min(n+1<<20, len(b))])
		n += m
		time.Sleep(20 * time.Millisecond)
	}
	return n, err
}

func startBulk(t *testing.T, cfg Config, live int) *node {
	t.Helper()
	cfg.OnFatal = func(err error) { t.Errorf("the node stopped: %v", err) }
	sm := &bulk{counter{pad: live}}
	g, err := openGroup(t.Context(), cfg, sm)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{g, &sm.counter, NewBatcher(g, g.Clock(), &testSource{}, BatcherOptions{})}
	waitFor(t, "the node to be ready", func() bool { return n.Term() != 0 })
	return n
}

// writeBulk writes one entry of size bytes. It says whether that was certainly refused for want of room.
func (n *node) writeBulk(t *testing.T, size int) (refused bool) {
	ch := make(chan error, 1)
	n.batch.Submit(number{v: 1, waiter: ch, pad: size - 8})
	n.batch.Flush()
	err := outcomeOf(t, ch)
	var full *DiskFullError
	switch {
	case err == nil:
		return false
	case isNotApplied(err) && errors.As(err, &full):
		return true
	case errors.Is(err, ErrUnknown):
		return false // it waits for room
	}
	if n.Err() != nil {
		t.Fatalf("outcome %v", err)
	}
	time.Sleep(10 * time.Millisecond)
	return true
}

// Another program fills the disk to the last byte, within less time than the guard looks away.
func TestDiskFilledByOthers(t *testing.T) {
	for _, size := range []int{200, 60 << 10, 1 << 20} {
		t.Run(fmt.Sprintf("entries of %d bytes", size), func(t *testing.T) {
			t.Parallel() // it mostly waits
			diskFilledByOthers(t, size)
		})
	}
}

func diskFilledByOthers(t *testing.T, size int) {
	dir := t.TempDir()
	mountSmall(t, dir, "64m")
	cfg := testConfig(filepath.Join(dir, "data"))
	cfg.SegmentBytes, cfg.MinFreeBytes, cfg.SnapshotLogBytes = 1<<20, 0, 4<<20
	n := startBulk(t, cfg, 1000)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	var wrote, refused atomic.Int64
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if n.writeBulk(t, size) {
				refused.Add(1)
				time.Sleep(time.Millisecond)
			} else {
				wrote.Add(1)
			}
		}
	})
	for round := range 2 {
		time.Sleep(300*time.Millisecond + time.Duration(round)*170*time.Millisecond)
		ballast := filepath.Join(dir, "ballast")
		before := refused.Load()
		began := time.Now()
		hogDisk(ballast, func() bool { // an entry in flight may wait for room first
			held := time.Since(began)
			return held > 1500*time.Millisecond && (size >= segmentLimit || refused.Load() > before) || held > 15*time.Second
		})
		if size < segmentLimit && refused.Load() == before {
			t.Error("no write was refused")
		}
		os.Remove(ballast)
		have := wrote.Load()
		waitFor(t, "writes to resume", func() bool { return wrote.Load() > have+2 })
	}
	close(stop)
	writer.Wait()
	t.Logf("%d written, %d refused", wrote.Load(), refused.Load())
	n.stop(t)
}

// hogDisk takes every free byte until it is enough, also what is freed meanwhile.
func hogDisk(path string, enough func() bool) {
	f, err := os.Create(path)
	if err != nil {
		return
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for !enough() {
		if _, err := f.Write(chunk); err != nil {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

const segmentLimit = 256 << 10 // larger entries than this may wait for room in segments of 1 MiB

// A log that grows faster than snapshots are written does not take the room of the next one.
func TestDiskFilledByOwnLog(t *testing.T) {
	t.Parallel() // it mostly waits
	dir := t.TempDir()
	mountSmall(t, dir, "64m")
	cfg := testConfig(filepath.Join(dir, "data"))
	cfg.SegmentBytes, cfg.MinFreeBytes, cfg.SnapshotLogBytes = 4<<20, 0, 8<<20
	const live, size = 8 << 20, 256 << 10
	for range 2 { // the second after a restart
		n := startBulk(t, cfg, live)
		var refused int
		var longest time.Duration
		last := time.Now()
		for total := 0; total < redistest.Size(150, 150, 300)<<20; {
			if n.writeBulk(t, size) {
				if refused++; time.Since(last) > 8*time.Second {
					t.Fatalf("refused for %v after %d MiB: %v", time.Since(last), total>>20, n.Writable())
				}
				time.Sleep(5 * time.Millisecond)
				continue
			}
			longest = max(longest, time.Since(last))
			last, total = time.Now(), total+size
		}
		t.Logf("refused %d times, for at most %v", refused, longest)
		n.stop(t)
	}
}

// The disk is full and the guard has not noticed: what the current segment and the spare hold goes on, rotation included.
func TestRotationNeedsNoBlocks(t *testing.T) {
	for _, size := range []int{1000, 60 << 10, 250 << 10} {
		dir := t.TempDir()
		mountSmall(t, dir, "16m")
		cfg := testConfig(filepath.Join(dir, "data"))
		cfg.SegmentBytes = 1 << 20
		cfg.usage = func(string) (storage.DiskUsage, error) { return storage.DiskUsage{Total: 1 << 40, Free: 1 << 39}, nil }
		rec := &recorder{}
		cfg.Logger = slog.New(rec)
		n := startBulk(t, cfg, 0)
		waitForSpare(t, cfg.Dir)
		os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 16<<20), 0o600)
		for written := 0; n.logs.Segments() < 2 || written < 1<<20; written += size {
			if n.writeBulk(t, size) {
				break // no room for the next spare
			}
		}
		if n.logs.Segments() != 2 || rec.has("waits for room") {
			t.Errorf("entries of %d bytes: %d segments, waited: %v", size, n.logs.Segments(), rec.has("waits for room"))
		}
		os.Remove(filepath.Join(dir, "ballast"))
		n.stop(t)
	}
}
