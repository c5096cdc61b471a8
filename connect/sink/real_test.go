package sink

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quipu/connect/internal/testbed"
	"quipu/connect/target"
)

// databases runs a test with both, each time with a new database.
func databases(t *testing.T, test func(b *bed)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel() // most of the time something is waited for
		test(sqliteBed(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(&bed{t, testbed.StartPostgres(t).CreateDatabase(t, "likes", "")})
	})
}

// TestWrites: rows are what Quipu has, while keys change, go and expire, and after FLUSHALL.
func TestWrites(t *testing.T) {
	databases(t, func(b *bed) {
		server := testbed.StartQuipu(b.T, 1)
		s := b.newSink(server.Addrs, "")
		b.run(s)
		l := start(b.T, server, 500)
		l.await(b.T, 5000)
		if err := server.Client(0).FlushAll(b.Context()).Err(); err != nil {
			b.Fatal(err)
		}
		l.await(b.T, 5000)
		b.compare(l, server)
		if got := b.awaitState(s, Writing); got.Watermark.Generation != 1 {
			b.Errorf("the sink was taken over: %+v", got.Watermark)
		}
	})
}

// TestExpired: a key whose deadline has passed is a tombstone, without a row of the feed that says so.
func TestExpired(t *testing.T) {
	databases(t, func(b *bed) {
		server := testbed.StartQuipu(b.T, 1)
		b.run(b.newSink(server.Addrs, ""))
		c := server.Client(0)
		deadline := time.Now().Add(time.Second).UnixMilli()
		if err := c.Do(b.Context(), "SET", "short", 5, "PXAT", deadline).Err(); err != nil {
			b.Fatal(err)
		}
		b.awaitRows(map[string]string{"short": fmt.Sprintf("5 %d", deadline)})
		for time.Now().UnixMilli() <= deadline {
			time.Sleep(10 * time.Millisecond)
		}
		if err := c.Incr(b.Context(), "n").Err(); err != nil { // log time goes on
			b.Fatal(err)
		}
		b.awaitRows(map[string]string{"n": "1 0"})
		var deleted int64
		if err := b.query("SELECT deleted_at FROM quipu_counters WHERE key = 'short'", func(scan func(...any) error) error { return scan(&deleted) }); err != nil {
			b.Fatal(err)
		}
		if deleted != deadline {
			b.Errorf("deleted at %d, want %d", deleted, deadline)
		}
	})
}

// TestFallenOut: after more changes than the feed keeps, all keys are read again, and those that are gone are gone.
func TestFallenOut(t *testing.T) {
	databases(t, func(b *bed) {
		server := testbed.StartQuipu(b.T, 1, "--feed-ring", "1mb")
		stop := b.run(b.newSink(server.Addrs, ""))
		c := server.Client(0)
		if err := c.MSet(b.Context(), "gone:1", 1, "gone:2", "two").Err(); err != nil {
			b.Fatal(err)
		}
		l := start(b.T, server, 500)
		l.await(b.T, 3000)
		b.awaitWatermark()
		stop()
		for i := range testbed.Size(30, 30, 200) {
			p := c.Pipeline()
			for j := range 500 {
				p.Incr(b.Context(), fmt.Sprintf("likes:%0100d", 500*i+j)) // 100 bytes of the feed
			}
			p.Del(b.Context(), "gone:1", "gone:2")
			if _, err := p.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		s := b.newSink(server.Addrs, "")
		b.run(s)
		b.awaitState(s, Sweeping)
		l.await(b.T, 3000)
		b.compare(l, server)
	})
}

// TestFailover: the sink follows through other nodes while the one that leads is killed.
func TestFailover(t *testing.T) {
	b := sqliteBed(t)
	server := testbed.StartQuipu(t, 3)
	b.run(b.newSink(server.Addrs, ""))
	l := start(t, server, 500)
	for range testbed.Size(1, 2, 10) {
		l.await(t, 1000)
		leader := server.Leader()
		server.Kill(leader)
		server.Leader()
		l.await(t, 1000)
		server.Start(leader)
	}
	b.compare(l, server)
}

// TestOtherCluster: a sink does not go on with the data of another cluster, until it is adopted.
func TestOtherCluster(t *testing.T) {
	b := sqliteBed(t)
	one, two := testbed.StartQuipu(t, 1), testbed.StartQuipu(t, 1)
	stop := b.run(b.newSink(one.Addrs, ""))
	l := start(t, one, 100)
	l.await(t, 5000)
	b.compare(l, one)
	stop()
	before, err := b.live()
	if err != nil {
		t.Fatal(err)
	}
	l = start(t, two, 200)
	l.await(t, 500)
	s := b.newSink(two.Addrs, "")
	b.run(s)
	b.awaitState(s, NewIncarnation)
	b.awaitRows(before)
	b.adopt()
	b.compare(l, two)
}

// TestCommitCut: the connection is cut when COMMIT was sent, before it gets there or after; the sink goes on from what it finds, as the
// same owner, and nothing is missing.
func TestCommitCut(t *testing.T) {
	pg := testbed.StartPostgres(t)
	b := &bed{t, pg.CreateDatabase(t, "likes", "")}
	cut := newCutter(t, pg.Addr)
	server := testbed.StartQuipu(t, 1)
	s := b.newSinkAt(strings.Replace(b.url, pg.Addr, cut.addr, 1), server.Addrs, "")
	b.run(s)
	l := start(t, server, 500)
	for i := range testbed.Size(6, 20, 100) {
		l.await(t, 50)
		lose := cut.before
		if i%2 == 0 {
			lose = cut.after
		}
		before := b.await(s, "writing", func(s Snapshot) bool { return s.State == Writing })
		lose <- struct{}{}
		b.await(s, "cut", func(s Snapshot) bool { return s.State == Waiting })
		b.await(s, "writing again", func(s Snapshot) bool { return s.State == Writing && s.Transactions > before.Transactions })
		if w := b.watermark(); w.Generation != 1 {
			t.Fatalf("the owner has lost the sink: %+v", w)
		}
	}
	b.compare(l, server)
}

// TestOutcome: what Write says of a transaction whose COMMIT was sent is that nobody knows; the watermark knows.
func TestOutcome(t *testing.T) {
	pg := testbed.StartPostgres(t)
	b := &bed{t, pg.CreateDatabase(t, "likes", "")}
	cut := newCutter(t, pg.Addr)
	b.url = strings.Replace(b.url, pg.Addr, cut.addr, 1)
	at := target.Watermark{Cursor: ""}
	for i, lose := range []chan struct{}{cut.before, cut.after} {
		db, err := target.Open(t.Context(), b.url, "totals")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if at, _, err = db.Watermark(t.Context()); err != nil {
			t.Fatal(err)
		}
		next := at
		next.Cursor = fmt.Sprintf("i:%d", i)
		lose <- struct{}{}
		if _, err := db.Write(t.Context(), at, next, &target.Change{}); err == nil {
			t.Error("a transaction whose answer was lost is taken for committed")
		}
		if w := b.watermark(); (w.Cursor == next.Cursor) != (lose == cut.after) {
			t.Errorf("the watermark is at %q", w.Cursor)
		}
	}
}

// TestPostgresKilled: the server, or the process that serves the sink, is killed at a COMMIT.
func TestPostgresKilled(t *testing.T) {
	pg := testbed.StartPostgres(t)
	b := &bed{t, pg.CreateDatabase(t, "likes", "")}
	cut := newCutter(t, pg.Addr)
	var armed atomic.Bool
	committing := make(chan struct{}, 1)
	cut.committing = func() {
		if armed.Swap(false) {
			committing <- struct{}{}
		}
	}
	server := testbed.StartQuipu(t, 1)
	s := b.newSinkAt(strings.Replace(b.url, pg.Addr, cut.addr, 1), server.Addrs, "")
	b.run(s)
	l := start(t, server, 500)
	for i := range testbed.Size(2, 4, 20) {
		b.awaitState(s, Writing)
		l.await(t, 500)
		armed.Store(true)
		<-committing
		if i%2 == 0 {
			pg.Kill()
			l.await(t, 500)
			pg.Start()
			continue
		}
		pg.KillBackends(t)
		b.await(s, "waiting", func(s Snapshot) bool { return s.State == Waiting })
	}
	b.compare(l, server)
	if w := b.watermark(); w.Generation != 1 {
		t.Errorf("the owner has lost the sink: %+v", w)
	}
}

// TestRestoredUnderway: the tables are replaced by those of a backup while the sink writes. It notices, and writes again what they lack.
func TestRestoredUnderway(t *testing.T) {
	databases(t, func(b *bed) {
		server := testbed.StartQuipu(b.T, 1)
		b.run(b.newSink(server.Addrs, ""))
		l := start(b.T, server, 300)
		l.await(b.T, 3000)
		b.awaitWatermark()
		b.exec("CREATE TABLE old_counters AS SELECT * FROM quipu_counters", "CREATE TABLE old_sink AS SELECT * FROM quipu_sink")
		l.await(b.T, 3000)
		l.stop()
		c := server.Client(0)
		settle(b.T, c)
		b.awaitRows(quipuRows(b.T, c))
		b.exec("DELETE FROM quipu_counters", "INSERT INTO quipu_counters SELECT * FROM old_counters",
			"DELETE FROM quipu_sink", "INSERT INTO quipu_sink SELECT * FROM old_sink")
		if err := c.Incr(b.Context(), "likes:last").Err(); err != nil {
			b.Fatal(err)
		}
		b.awaitRows(quipuRows(b.T, c))
	})
}

// TestRestored: the database is an old copy. The sink goes on from the old watermark, or reads all keys where the feed does not reach
// back to it.
func TestRestored(t *testing.T) {
	for _, gap := range []string{"64mb", "1mb"} {
		t.Run("sqlite, feed of "+gap, func(t *testing.T) {
			t.Parallel()
			b := sqliteBed(t)
			path := strings.TrimPrefix(b.url, "sqlite:")
			testRestored(b, gap, func() { b.execAlone("VACUUM INTO '" + path + ".old'") }, func() {
				for _, more := range []string{"-wal", "-shm"} {
					if err := os.Remove(path + more); err != nil && !os.IsNotExist(err) {
						b.Fatal(err)
					}
				}
				if err := os.Rename(path+".old", path); err != nil {
					b.Fatal(err)
				}
			})
		})
		t.Run("postgres, feed of "+gap, func(t *testing.T) {
			t.Parallel()
			pg := testbed.StartPostgres(t)
			b := &bed{t, pg.CreateDatabase(t, "likes", "")}
			dump := filepath.Join(pg.Dir(), "likes.dump")
			testRestored(b, gap, func() { pg.Run(t, "pg_dump", "-Fc", "-f", dump, pg.URL("likes")) }, func() {
				pg.Exec(t, "postgres", "DROP DATABASE likes")
				pg.CreateDatabase(t, "likes", "")
				pg.Run(t, "pg_restore", "-d", pg.URL("likes"), dump)
			})
		})
	}
}

func testRestored(b *bed, ring string, backup, restore func()) {
	server := testbed.StartQuipu(b.T, 1, "--feed-ring", ring)
	stop := b.run(b.newSink(server.Addrs, ""))
	l := start(b.T, server, 500)
	l.await(b.T, 3000)
	b.awaitWatermark()
	backup()
	l.await(b.T, 3000)
	p := server.Client(0).Pipeline()
	for i := range 100 {
		p.Del(b.Context(), fmt.Sprintf("likes:%d", i))
	}
	for i := range 15_000 {
		p.Incr(b.Context(), fmt.Sprintf("likes:%0100d", i)) // 100 bytes of the feed
	}
	if _, err := p.Exec(b.Context()); err != nil {
		b.Fatal(err)
	}
	l.stop()
	c := server.Client(0)
	settle(b.T, c)
	stop()
	restore()
	s := b.newSink(server.Addrs, "")
	s.silence = lookTime // the owner in the backup is not there
	b.run(s)
	if ring == "1mb" {
		b.awaitState(s, Sweeping)
	}
	b.awaitRows(quipuRows(b.T, c))
}

// TestPaused: a process that owns the sink is frozen while another takes over, and thawed again: it writes nothing any more, and is
// the next owner when the other one goes.
func TestPaused(t *testing.T) {
	program := testbed.Program(t, "./cmd/quipu-connect")
	databases(t, func(b *bed) {
		server := testbed.StartQuipu(b.T, 1)
		conf := filepath.Join(b.TempDir(), "sink.conf")
		text := fmt.Sprintf("quipu %s\nsink totals\n  sql %s\n  every 50ms\n", server.Addrs[0], b.url)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		l := start(b.T, server, 300)
		one := testbed.StartProcess(b.T, program, "run", conf)
		b.awaitOwner(one, 1)
		two := testbed.StartProcess(b.T, program, "run", conf)
		l.await(b.T, 1000)
		b.pause(one)
		frozen := time.Now()
		b.awaitOwner(two, 2)
		for time.Since(frozen) < time.Duration(testbed.Size(12, 15, 30))*time.Second {
			l.await(b.T, 100)
		}
		one.Resume()
		l.await(b.T, 3000)
		b.awaitOwner(two, 2)
		b.compare(l, server)
		if status := two.Terminate(); status != 0 {
			b.Errorf("SIGTERM ends it with status %d", status)
		}
		b.awaitOwner(one, 3)
		l = start(b.T, server, 300)
		l.await(b.T, 1000)
		b.compare(l, server)
	})
}

// pause freezes a process. With SQLite not inside of a transaction: the lock of a file is kept by whoever is frozen.
func (b *bed) pause(p *testbed.Process) {
	b.Helper()
	for end := time.Now().Add(patience); ; {
		p.Pause()
		if !strings.HasPrefix(b.url, "sqlite:") || b.free() {
			return
		}
		p.Resume()
		if time.Now().After(end) {
			b.Fatal("the process is always inside of a transaction")
		}
	}
}

// awaitOwner waits until a process owns the sink, with that generation.
func (b *bed) awaitOwner(p *testbed.Process, generation int64) {
	b.Helper()
	var w target.Watermark
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		w = b.awaitWatermark()
		if strings.Contains(w.Owner, fmt.Sprintf(":%d/", p.Pid())) && w.Generation == generation && w.Cursor != "" {
			return
		}
	}
	b.Fatalf("process %d does not own the sink in generation %d: %+v", p.Pid(), generation, w)
}
