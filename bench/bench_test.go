package main

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

func TestParseCSV(t *testing.T) {
	const text = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"incr key:__rand_int__","148809.53","0.197","0.072","0.191","0.247","0.311","0.999"
`
	got, err := parseCSV(text)
	if want := (sample{rate: 148809.53, p50: 0.191, p99: 0.311}); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "x", `"test","rps"` + "\n" + `"incr","1"` + "\n"} {
		if _, err := parseCSV(bad); err == nil {
			t.Errorf("parseCSV(%q) gives no error", bad)
		}
	}
}

func TestMedianAndSpread(t *testing.T) {
	cases := []struct {
		values         []float64
		median, spread float64
	}{
		{nil, 0, 0},
		{[]float64{3}, 3, 0},
		{[]float64{4, 1, 2, 3}, 2.5, 1.2},
		{[]float64{9, 1, 2}, 2, 4},
	}
	for _, c := range cases {
		if got := median(c.values); got != c.median {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.median)
		}
		if got := spread(c.values); got != c.spread {
			t.Errorf("spread(%v) = %v, want %v", c.values, got, c.spread)
		}
	}
}

func TestGrouped(t *testing.T) {
	cases := []struct {
		v      float64
		digits int
		want   string
	}{
		{0, 0, "0"}, {999, 0, "999"}, {1000, 0, "1,000"}, {5_000_001, 0, "5,000,001"}, {-123456, 0, "-123,456"},
		{-1234, 0, "-1,234"}, {1234.5678, 2, "1,234.57"}, {0.125, 3, "0.125"},
	}
	for _, c := range cases {
		if got := grouped(c.v, c.digits); got != c.want {
			t.Errorf("grouped(%v, %d) = %q, want %q", c.v, c.digits, got, c.want)
		}
	}
}

func TestCompact(t *testing.T) {
	for n, want := range map[int]string{7: "7", 10_000: "10k", 350_000: "350k", 1_000_000: "1M", 5_000_001: "5M", 2_500_000: "2.5M"} {
		if got := compact(n); got != want {
			t.Errorf("compact(%d) = %q, want %q", n, got, want)
		}
	}
}

// TestHistogram compares quantiles with those of the sorted values.
func TestHistogram(t *testing.T) {
	for i := range 7 * 128 { // buckets follow each other without gaps and contain their own middle
		if got := bucketOf(bucketMiddle(i)); got != i {
			t.Fatalf("the middle of bucket %d lies in bucket %d", i, got)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	var parts [3]histogram
	var values []time.Duration
	for i := range 100_000 {
		d := time.Duration(random.ExpFloat64() * float64(200*time.Microsecond))
		values = append(values, d)
		parts[i%len(parts)].record(d)
	}
	var h histogram
	for i := range parts {
		h.merge(&parts[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 0.9999} {
		want := values[int(q*float64(len(values)))]
		got := h.quantile(q)
		if diff := float64(got - want); diff > 0.01*float64(want) || -diff > 0.01*float64(want) {
			t.Errorf("quantile(%v) = %v, want %v within 1 %%", q, got, want)
		}
	}
	if h.quantile(1) != values[len(values)-1] || h.total != uint64(len(values)) {
		t.Errorf("longest %v of %d, want %v of %d", h.quantile(1), h.total, values[len(values)-1], len(values))
	}
	h.record(-1)
	h.record(1<<63 - 1)
	if h.max != 1<<63-1 {
		t.Errorf("max is %v", h.max)
	}
}

func TestKeys(t *testing.T) {
	if got := string(benchmarkKey(nil, 45)); got != "key:000000000045" {
		t.Errorf("benchmarkKey: %q", got)
	}
	if got := string(likesKey([]byte("x"), 5_000_000)); got != "xlikes:post:5000000" || len(got) != 1+18 {
		t.Errorf("likesKey: %q", got)
	}
}

func TestAppendFill(t *testing.T) {
	b, n := counterSet{name: benchmarkKey}.appendFill(nil, 3, 3+pairsOfMSET+1)
	if n != 2 || bytes.Count(b, []byte("MSET")) != 2 || !bytes.HasSuffix(b, []byte("*3\r\n$4\r\nMSET\r\n$16\r\nkey:000000000503\r\n$5\r\n20503\r\n")) {
		t.Errorf("%d commands, which end with %q", n, b[len(b)-80:])
	}
	b, n = counterSet{name: benchmarkKey, ttl: 9}.appendFill(nil, 0, 2)
	const first = "*5\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$5\r\n20000\r\n$2\r\nEX\r\n$1\r\n9\r\n"
	if n != 2 || !bytes.HasPrefix(b, []byte(first+"*5\r\n")) {
		t.Errorf("%d commands: %q", n, b)
	}
}

func TestChecks(t *testing.T) {
	l := &lab{figures: figures{}, refused: map[string]string{quipuLocal: "no such thing"}}
	for _, v := range []float64{180, 190, 400} {
		l.figures.add("m", quipuQuorum, 1, v)
		l.figures.add("m", peerAlways, 1, 100)
	}
	r := newReport(l, []measurement{{name: "test", bars: []bar{{"1", "x", []check{
		{label: "a", num: cell{"m", quipuQuorum, 1}, den: cell{"m", peerAlways, 1}, atLeast: 1.9},
		{label: "b", num: cell{"m", quipuQuorum, 1}, den: cell{"m", peerAlways, 1}, atLeast: 2},
		{label: "c", num: cell{"m", quipuQuorum, 1}, atMost: 189},
		{label: "d", num: cell{"m", quipuQuorum, 2}, atMost: 1},
		{label: "e", num: cell{"m", quipuLocal, 1}, atMost: 1},
	}}}}})
	if got := strings.Join(r.missed(), ", "); got != "bar 1 at b, bar 1 at c" {
		t.Errorf("missed: %s", got)
	}
	text := r.barsTable()
	for _, want := range []string{"1.90 |      1.80–4.00 | met", "**missed**", "not measured", "skipped: no such thing"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table has no %q:\n%s", want, text)
		}
	}
}

func TestTable(t *testing.T) {
	got := table([]string{"n", "name"}, "rl", [][]string{{"1", "x"}, {"100", "länger"}})
	want := "|   n | name   |\n|----:|:-------|\n|   1 | x      |\n| 100 | länger |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestChoose(t *testing.T) {
	all := measurements(config{scale: 1})
	if sketches, err := choose(all, "S2"); err != nil || len(sketches) != 1 || sketches[0].name != "sketches" {
		t.Errorf("%v, %v", sketches, err)
	}
	chosen, err := choose(all, "6,idle")
	if err != nil || len(chosen) != 2 || chosen[0].name != "incr" || chosen[1].name != "idle" {
		t.Errorf("%v, %v", chosen, err)
	}
	if _, err := choose(all, "1,nonsense"); err == nil {
		t.Error("an unknown name is no error")
	}
	for _, m := range all { // a bar without a measured metric would never be judged
		for _, b := range m.bars {
			for _, c := range b.checks {
				if !slices.ContainsFunc(m.metrics, func(mt metric) bool { return mt.id == c.num.metric }) {
					t.Errorf("bar %s: %s has no metric %q", b.id, m.name, c.num.metric)
				}
			}
		}
	}
}

func TestReadmeBlock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("above\n" + readmeBegin + "old\n" + readmeEnd + "below\n")
	l := &lab{cfg: config{readme: name, scale: 1}, figures: figures{}}
	if err := newReport(l, nil).writeReadme([]image{{"Plot", filepath.Join(filepath.Dir(name), "plots", "p.svg")}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "above\n"+readmeBegin) || !strings.HasSuffix(got, readmeEnd+"below\n") ||
		strings.Contains(got, "old") || !strings.Contains(got, `<img src="plots/p.svg" alt="Plot" width="49%">`) {
		t.Errorf("got %q", got)
	}
	write("no markers\n")
	if _, _, err := readmeBlock(name); err == nil {
		t.Error("a page without markers is no error")
	}
}

// TestBarOrder: bars named by a letter stand behind those with numbers.
func TestBarOrder(t *testing.T) {
	r := newReport(nil, []measurement{{bars: []bar{{id: "S2"}, {id: "S1"}, {id: "10"}}}, {bars: []bar{{id: "7b"}, {id: "7"}}}})
	var got []string
	for _, b := range r.bars() {
		got = append(got, b.id)
	}
	if want := []string{"7", "7b", "10", "S1", "S2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestZipfIncrements: every burst is whole commands, and their items differ.
func TestZipfIncrements(t *testing.T) {
	s := zipfIncrements()
	const command = "*4\r\n$10\r\nCMS.INCRBY\r\n$10\r\nsketch:cms\r\n$12\r\nitem:"
	seen := map[string]bool{}
	for range 100 {
		for one := range slices.Chunk(s.burst(16), s.size) {
			item, ok := strings.CutPrefix(string(one), command)
			if !ok || !strings.HasSuffix(item, "\r\n$1\r\n1\r\n") || len(item) != 7+9 {
				t.Fatalf("command %q", one)
			}
			seen[item] = true
		}
	}
	if len(seen) < 100 || len(seen) > 1500 {
		t.Errorf("%d different items of 1600", len(seen))
	}
}

func TestExpectLists(t *testing.T) {
	for text, ok := range map[string]bool{"*1\r\n:5\r\n*1\r\n:6\r\n": true, "*1\r\n:5\r\n-ERR\r\n": false, "*1\r\n-CMS: x\r\n": false, ":1\r\n": false, "*1\r\n:5\r\n": false} {
		if err := expectLists(bufio.NewReader(strings.NewReader(text)), 2); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestBadReplies: an answer that is not the expected one, or none, is an error
// and not a fast server.
func TestBadReplies(t *testing.T) {
	for _, answer := range []string{"-ERR no\r\n", ""} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 1<<10))
				_, _ = c.Write([]byte(answer))
				c.Close()
			}
		}()
		addr := l.Addr().String()
		g := generator{addr: addr, set: counterSet{name: likesKey}, keys: 10, clients: 2, depth: 1}
		if _, err := g.runFor(t.Context(), time.Minute); err == nil {
			t.Errorf("load with the answer %q gives no error", answer)
		}
		if err := fillPart(t.Context(), addr, g.set, 0, 10); err == nil {
			t.Errorf("filling with the answer %q gives no error", answer)
		}
		l.Close()
		<-served
	}
}

// TestRun runs measurements against real servers, in very small: all of them in the long form, else those that are quick
// and together have a figure of each kind.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some dozen servers")
	}
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	only, drawn := "incr,latency,keys,memory,snapshot,idle", 4
	if redistest.Long() {
		redistest.Tool(t, "etcd") // without it one measurement has no figures
		only, drawn = "", 6
	}
	cfg, err := parseFlags([]string{
		"-redis", redistest.Tool(t, "redis-server"), "-benchmark", redistest.Tool(t, "redis-benchmark"), "-quipu", redistest.Binary(t),
		"-dir", dir, "-out", out, "-rounds", "1", "-seconds", "0.02", "-scale", "0.001", "-local-args", "", "-only", only,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(out, "results.md"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		for _, bad := range []string{"not measured", "skipped", "failed", "NaN"} {
			// CPU time is counted in ticks of 10 ms: so short a run can have none.
			if strings.Contains(line, bad) && !strings.Contains(line, "CPU") {
				t.Errorf("the results say %q", line)
			}
		}
	}
	if !bytes.Contains(page, []byte("| CPU per request")) || !bytes.Contains(page, []byte("| 10,000 | ")) {
		t.Errorf("the results lack bars or figures:\n%s", page)
	}
	if plots, _ := filepath.Glob(filepath.Join(out, "plots", "*.svg")); len(plots) != drawn {
		t.Errorf("plots: %v", plots)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "quipu-bench-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
