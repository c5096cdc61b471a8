package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

func TestParseCSV(t *testing.T) {
	const text = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"incr key:__rand_int__","148809.53","0.197","0.072","0.191","0.247","0.311","0.999"
`
	got, err := parseCSV(text)
	if want := (measurement{rate: 148809.53, p50: 0.191, p99: 0.311}); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "x", `"test","rps"` + "\n" + `"incr","1"` + "\n"} {
		if _, err := parseCSV(bad); err == nil {
			t.Errorf("parseCSV(%q) gives no error", bad)
		}
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{0: nil, 3: {3}, 2.5: {4, 1, 2, 3}, 2: {9, 1, 2}} {
		if got := median(values); got != want {
			t.Errorf("median(%v) = %v, want %v", values, got, want)
		}
	}
}

func TestBars(t *testing.T) {
	bars, err := parseBars("16=1.5,100=2")
	if err != nil {
		t.Fatal(err)
	}
	r := &report{cfg: config{atLeast: bars}, runs: map[cell][]measurement{}}
	always, quipu := &server{name: nameRedisAlways}, &server{name: nameQuipu}
	for _, depth := range []int{16, 100} {
		r.add(always, depth, measurement{rate: 100})
		r.add(quipu, depth, measurement{rate: 190})
	}
	if err := r.checkBars(); err == nil || !strings.Contains(err.Error(), "pipeline 100: 1.90, wanted 2.00") || strings.Contains(err.Error(), "pipeline 16") {
		t.Errorf("checkBars: %v", err)
	}
	if _, err := parseBars("16"); err == nil {
		t.Error("parseBars takes a bar without a ratio")
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	writeTable(&b, []string{"n", "name"}, [][]string{{"1", "x"}, {"100", "longer"}})
	want := "|   n | name   |\n|----:|:-------|\n|   1 | x      |\n| 100 | longer |\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestRun measures all three servers, in small.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	cfg, err := parseFlags([]string{
		"-redis", redistest.Tool(t, "redis-server"), "-benchmark", redistest.Tool(t, "redis-benchmark"),
		"-quipu", redistest.Binary(t), "-dir", dir, "-rounds", "1", "-keys", "2000", "-requests", "5000",
		"-pipelines", "1,16", "-o", filepath.Join(dir, "report.md"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	report, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil || strings.Count(string(report), nameQuipu) != 3 {
		t.Errorf("report: %v\n%s", err, report)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "quipu-compare-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
