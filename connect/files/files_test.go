package files

import (
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/internal/testbed"
	"quipu/connect/mapping"
	"quipu/connect/quipu"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bed is a server of Quipu and a folder.
type bed struct {
	*testing.T
	server *testbed.Quipu
	dir    string
}

func newBed(t *testing.T) *bed { return &bed{t, testbed.StartQuipu(t, 1), t.TempDir()} }

func (b *bed) write(name, text string) string {
	b.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

func (b *bed) add(name, text string) {
	b.Helper()
	f, err := os.OpenFile(filepath.Join(b.dir, name), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		b.Fatal(err)
	}
}

// job counts a file; more are further lines.
func (b *bed) job(path, more string) *count.Job {
	b.Helper()
	text := fmt.Sprintf("quipu %s\nsource s\n  file %s\n  %s\n", b.server.Addrs[0], path, more)
	cfg, err := config.Parse("test.conf", []byte(text))
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(b.Output(), nil))
	client := quipu.New(cfg.Quipu.Nodes, quipu.Access{})
	b.Cleanup(client.Close)
	job := &count.Job{Source: cfg.Sources[0], Quipu: client, Log: log, Board: &count.Board{Log: log}}
	if job.Source.Format == config.FormatJSON {
		if job.Program, err = mapping.Compile(job.Source); err != nil {
			b.Fatal(err)
		}
	}
	return job
}

func (b *bed) start(job *count.Job) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := Run(ctx, job); err != nil {
			b.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	b.Cleanup(stop)
	return stop
}

// whole counts a file that is not followed.
func (b *bed) whole(job *count.Job) {
	b.Helper()
	job.Source.Follow = false
	if err := Run(b.Context(), job); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) await(job *count.Job, what string, wanted func(count.Snapshot) bool) count.Snapshot {
	b.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s := job.Board.Report("s/0").Snapshot()
		if wanted(s) {
			return s
		}
		if time.Now().After(end) {
			b.Fatalf("not %s after 20 s: %+v", what, s)
		}
	}
}

func (b *bed) expect(key string, want int64) {
	b.Helper()
	if got, _ := b.server.Client(0).Get(b.Context(), key).Int64(); got != want {
		b.Errorf("%s is %d, want %d", key, got, want)
	}
}

func lines(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "{\"k\":\"a\",\"i\":%d}\n", i)
	}
	return text.String()
}

// TestFollow: a file that grows is counted line by line, a line only when its end is there, and over a restart.
func TestFollow(t *testing.T) {
	b := newBed(t)
	path := b.write("log.jsonl", "")
	job := b.job(path, "INCR n:{k}")
	stop := b.start(job)
	b.await(job, "counting", func(s count.Snapshot) bool { return s.State == count.Counting })
	b.add("log.jsonl", lines(5000))
	for _, piece := range []string{`{"k":"a"`, `,`} { // when the second is seen, the first has been read
		b.add("log.jsonl", piece)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		b.await(job, "read", func(s count.Snapshot) bool { return s.End == info.Size() })
	}
	if s := b.await(job, "counted", func(s count.Snapshot) bool { return s.Place == 5000 }); s.State != count.Counting {
		t.Errorf("stopped at a line whose end is not there: %+v", s)
	}
	b.expect("n:a", 5000)
	stop()
	b.add("log.jsonl", "\"i\":7}\n\n\n{\"k\":\"b\"}\r\n")
	again := b.job(path, "INCR n:{k}")
	b.start(again)
	s := b.await(again, "counted", func(s count.Snapshot) bool { return s.Place == 5002 })
	if s.Off() != 0 {
		t.Errorf("the identity is off by %d: %v", s.Off(), s.Position)
	}
	b.expect("n:a", 5001)
	b.expect("n:b", 1)
}

// TestWhole: a file is counted to its end, also without an end of line, once however often it is run.
func TestWhole(t *testing.T) {
	b := newBed(t)
	path := b.write("log.jsonl", lines(100)+`{"k":"a"}`)
	for range 3 {
		b.whole(b.job(path, "INCR n:{k}"))
	}
	b.expect("n:a", 101)
}

// TestCSV: names of columns, fields in quotes, ends of lines within them, and a packed file.
func TestCSV(t *testing.T) {
	b := newBed(t)
	text := "\ufeffk,v\na,1\n\"b, \"\"c\"\"\",2\n\"two\nlines\",3\na,4\n"
	path := b.write("t.csv", text)
	for range 2 {
		b.whole(b.job(path, "INCRBY n:{k} {v}"))
	}
	b.expect("n:a", 5)
	b.expect("n:b, \"c\"", 2)
	b.expect("n:two\nlines", 3)

	packed, err := os.Create(filepath.Join(b.dir, "p.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	zip := gzip.NewWriter(packed)
	if _, err := zip.Write([]byte(text + strings.Repeat("a,0\n", 1000))); err != nil { // smaller when it is packed
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	packed.Close()
	if err := b.server.Client(0).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		job := b.job(packed.Name(), "INCRBY n:{k} {v}")
		job.Source.Name = "packed"
		b.whole(job)
		stored, err := job.Quipu.List(t.Context(), "packed/0", nil)
		if err != nil || len(stored) != 1 {
			t.Fatalf("%v, %v", stored, err)
		}
		seen, err := Kind.Look(t.Context(), job, map[string]quipu.Stored{"packed/0": stored[0]})
		if err != nil {
			t.Fatal(err)
		}
		if to, what, err := count.Accepted(Kind, stored[0], seen[0]); err != nil || what != "" {
			t.Errorf("accept goes on at %v (%s), %v, though nothing is in the way", to, what, err)
		}
	}
	b.expect("n:a", 5)
}

// TestOtherFile: a file that was replaced is not taken for the old one, and neither is one that was cut off.
func TestOtherFile(t *testing.T) {
	b := newBed(t)
	path := b.write("log.jsonl", lines(100))
	job := b.job(path, "INCR n:{k}")
	b.start(job)
	b.await(job, "counted", func(s count.Snapshot) bool { return s.Place == 100 })
	if err := os.Rename(b.write("new.jsonl", "{\"k\":\"b\"}\n"+lines(300)), path); err != nil {
		t.Fatal(err)
	}
	b.await(job, "stopped", func(s count.Snapshot) bool { return s.State == count.NewIncarnation })
	b.expect("n:b", 0)
	stored := map[string]quipu.Stored{}
	list, err := job.Quipu.List(t.Context(), "s/*", nil)
	if err != nil {
		t.Fatal(err)
	}
	stored["s/0"] = list[0]
	seen, err := Kind.Look(t.Context(), job, stored)
	if err != nil {
		t.Fatal(err)
	}
	to, what, err := count.Accepted(Kind, stored["s/0"], seen[0])
	if err != nil || what == "" {
		t.Fatalf("nothing to accept: %v", err)
	}
	if _, err := job.Quipu.Do(t.Context(), "INGEST", "SET", "s/0", seen[0].Incarnation, to.String()); err != nil {
		t.Fatal(err)
	}
	b.await(job, "counted", func(s count.Snapshot) bool { return s.State == count.Counting && s.Place == 301 })
	b.expect("n:b", 1)
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	b.await(job, "stopped", func(s count.Snapshot) bool { return s.State == count.Gap })
}

// TestTwoReaders: two connectors that read the same file count each line once.
func TestTwoReaders(t *testing.T) {
	b := newBed(t)
	path := b.write("log.jsonl", lines(20_000))
	one, two := b.job(path, "INCR n:{k}\n  batch 100"), b.job(path, "INCR n:{k}\n  batch 100")
	b.start(one)
	b.start(two)
	for _, job := range []*count.Job{one, two} {
		b.await(job, "counted", func(s count.Snapshot) bool { return s.Place == 20_000 })
	}
	b.expect("n:a", 20_000)
}

// TestPlaces: a record that is longer than what is taken is cut off, and the places of those behind it are right.
func TestPlaces(t *testing.T) {
	b := newBed(t)
	path := b.write("log.jsonl", "{\"k\":\"a\"}\n"+strings.Repeat("x", 3<<20)+"\n{\"k\":\"a\"}\n")
	job := b.job(path, "INCR n:{k}\n  on-bad-record park dead")
	b.whole(job)
	b.expect("n:a", 2)
	s := job.Board.Report("s/0").Snapshot()
	if s.Position.Parked != 1 || s.Off() != 0 {
		t.Errorf("%v", s.Position)
	}
	line, err := b.server.Client(0).Get(t.Context(), "dead/0").Result()
	if err != nil || !strings.HasPrefix(line, "2:") {
		t.Errorf("set aside: %q, %v", line, err)
	}
}
