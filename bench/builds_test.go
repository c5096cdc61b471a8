package main

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

func TestDefaults(t *testing.T) {
	cases := []struct {
		args    string
		rounds  int
		seconds float64
		scale   float64
		out     string
	}{
		{"", 5, 2.5, 1, "bench"},
		{"-quick", 2, 0.5, 0.1, "bench"},
		{"-quick -rounds 5", 5, 0.5, 0.1, "bench"},
		{"-before x", 6, 2, 1, "bench-results"},
		{"-before x -seconds 2.5 -out bench", 6, 2.5, 1, "bench"},
		{"-before x -quick", 4, 0.5, 0.1, "bench-results"},
		{"-before x -quick -scale 1", 4, 0.5, 1, "bench-results"},
	}
	for _, c := range cases {
		cfg, err := parseFlags(strings.Fields(c.args))
		if err != nil || cfg.rounds != c.rounds || cfg.seconds != c.seconds || cfg.scale != c.scale || cfg.out != c.out {
			t.Errorf("%q: %d rounds of %v s, scale %v, out %q, %v", c.args, cfg.rounds, cfg.seconds, cfg.scale, cfg.out, err)
		}
	}
	if _, err := parseFlags([]string{"-before", "x", "-readme", "README.md"}); err == nil {
		t.Error("-before with -readme is no error")
	}
}

// TestTurn: neither build is first more often than the other.
func TestTurn(t *testing.T) {
	var got []string
	for n := range 3 {
		got = append(got, turn(n, bothBuilds)...)
	}
	if want := []string{"before", "after", "after", "before", "before", "after"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestAddPair: a figure that one of the builds lacks is left out for both, so that
// figures of one pair stay beside each other.
func TestAddPair(t *testing.T) {
	l := &lab{figures: figures{}}
	for _, round := range [][2]float64{{10, 20}, {0, 30}, {40, 0}, {50, 60}} {
		l.addPair(map[cell]float64{{"m", buildBefore, 1}: round[0], {"m", buildAfter, 1}: round[1]})
	}
	before, after := l.figures[cell{"m", buildBefore, 1}], l.figures[cell{"m", buildAfter, 1}]
	if !slices.Equal(before, []float64{10, 50}) || !slices.Equal(after, []float64{20, 60}) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// TestMedianInterval holds the ranks to those in tables of the binomial distribution.
func TestMedianInterval(t *testing.T) {
	for n, rank := range map[int]int{1: 1, 4: 1, 6: 1, 8: 1, 9: 2, 12: 3, 20: 6, 24: 7, 25: 8, 100: 40} {
		var values []float64
		for i := range n {
			values = append(values, float64((i*7919)%n+1)) // 1 … n in some order, as 7919 is a prime
		}
		low, high := medianInterval(values)
		if low != float64(rank) || high != float64(n+1-rank) {
			t.Errorf("%d values: %v to %v, want %d to %d", n, low, high, rank, n+1-rank)
		}
	}
}

func TestTransactionScript(t *testing.T) {
	s := transactionScript(1000)
	const command = "*1\r\n$5\r\nMULTI\r\n" +
		"*2\r\n$4\r\nINCR\r\n$16\r\nkey:000000000NNN\r\n*2\r\n$4\r\nINCR\r\n$16\r\nkey:000000000NNN\r\n*1\r\n$4\r\nEXEC\r\n"
	seen := map[string]bool{}
	for one := range slices.Chunk(s.burst(64), s.size) {
		text := string(one)
		if len(text) != len(command) {
			t.Fatalf("transaction %q", text)
		}
		for _, part := range strings.Split(command, "NNN") {
			number := ""
			if !strings.HasPrefix(text, part) {
				t.Fatalf("transaction %q", one)
			}
			if text = text[len(part):]; text != "" {
				number, text = text[:3], text[3:]
				seen[number] = true
			}
		}
	}
	if len(seen) < 50 { // of 128 draws out of 1000
		t.Errorf("%d different counters", len(seen))
	}
}

func TestExpectTransactions(t *testing.T) {
	const good = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:2\r\n"
	for text, ok := range map[string]bool{
		good + good:       true,
		good:              false,
		good + "-ERR\r\n": false,
		good + "+OK\r\n+QUEUED\r\n+QUEUED\r\n-EXECABORT\r\n":     false,
		good + "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n-E\r\n": false,
	} {
		if err := expectTransactions(bufio.NewReader(strings.NewReader(text)), 2); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestBuildReport: a ratio is above 1 where the newer build is better, and what
// is below 0.97 is marked in the table and named under it.
func TestBuildReport(t *testing.T) {
	l := &lab{cfg: config{scale: 1}, figures: figures{}, product: map[string]string{buildBefore: "old one", buildAfter: "new one"}}
	for _, round := range []struct {
		metric        string
		before, after float64
	}{
		{"set", 1000, 960}, {"set", 1000, 960}, {"set", 1000, 990}, {cpuOf("set"), 2, 1}, {cpuOf("set"), 2, 1.6},
		{"get", 1000, 980}, {cpuOf("get"), 1, 1.25}, {cpuOf("get"), 1, 0.9}, {cpuOf("get"), 1, 1.25},
		{"bytes", 50, 40},
	} {
		l.figures.add(round.metric, buildBefore, 16, round.before)
		l.figures.add(round.metric, buildAfter, 16, round.after)
	}
	r := buildReport{l, []measurement{{metrics: []metric{
		requestsMetric("set", "SET"), requestsMetric("get", "GET"), requestsMetric("none", "NONE"),
		{id: "bytes", title: "Bytes", xName: depthName, digits: 1, less: true},
	}}}}
	page := r.page()
	rows := tableRows(page)
	for name, want := range map[string]string{
		"SET P=16": "2.00 1.30 1.625 1.25–2.00 1,000 960 **0.960** 0.96–0.99",
		"GET P=16": "1.00 1.25 **0.800** 0.80–1.11 1,000 980 0.980 0.98–0.98",
		"NONE":     "not measured",
		"Bytes":    "50.0 40.0 1.250 1.25–1.25",
	} {
		if got := strings.Join(rows[name], " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	below := []string{"SET, P=16, throughput: 0.960 (0.96–0.99), the whole interval below 1", "GET, P=16, CPU: 0.800 (0.80–1.11)"}
	if got := r.below(); !slices.Equal(got, below) {
		t.Errorf("below: %q", got)
	}
	for _, want := range append(below, "* before: old one\n", "* after: new one\n") {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
}

// tableRows are the lines of all tables of a page by their first columns: what was
// measured and, where there is one, the pipeline's depth. Empty fields are left out.
func tableRows(page string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(page) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "|")
		if !ok || strings.HasPrefix(line, ":-") {
			continue
		}
		var fields []string
		for field := range strings.SplitSeq(line, "|") {
			if field = strings.TrimSpace(field); field != "" {
				fields = append(fields, field)
			}
		}
		name, rest := fields[0], fields[1:]
		if len(rest) > 0 && strings.HasPrefix(rest[0], "P=") {
			name, rest = name+" "+rest[0], rest[1:]
		}
		rows[name] = rest
	}
	return rows
}

// TestRunBuilds compares a build with itself, in very small: all measurements in
// the long form, else those that together have each kind of load.
func TestRunBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some dozen servers")
	}
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	only := "incr-local,multi,memory"
	if redistest.Long() {
		only = ""
	}
	program := redistest.Binary(t)
	cfg, err := parseFlags([]string{
		"-before", program, "-quipu", program, "-benchmark", redistest.Tool(t, "redis-benchmark"),
		"-dir", dir, "-out", out, "-rounds", "2", "-seconds", "0.02", "-scale", "0.02", "-only", only,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(out, "before-after.md"))
	if err != nil {
		t.Fatal(err)
	}
	checkBuildPage(t, string(page), cfg)
	if left, _ := filepath.Glob(filepath.Join(dir, "quipu-bench-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// checkBuildPage wants a line for each figure of the measurements that ran, with
// numbers in it, and no assertion on these.
func checkBuildPage(t *testing.T, page string, cfg config) {
	t.Helper()
	rows := tableRows(page)
	chosen, err := choose(buildMeasurements(cfg), cfg.only)
	if err != nil {
		t.Fatal(err)
	}
	for _, mt := range (buildReport{measured: chosen}).metrics(false) {
		found := 0
		for _, depth := range []int{1, 16, 100} {
			row, ok := rows[mt.title+" "+depthName(depth)]
			if !ok {
				continue
			}
			found++
			// CPU time is counted in ticks of 10 ms: so short a run can have none. The other figures stand last.
			checkFigures(t, mt.title, row[max(0, len(row)-4):])
		}
		if found == 0 {
			t.Errorf("the tables have no line of %q", mt.title)
		}
	}
	for _, mt := range (buildReport{measured: chosen}).metrics(true) {
		if row := rows[mt.title]; len(row) == 4 {
			checkFigures(t, mt.title, row)
		} else if !strings.Contains(mt.title, "CPU") { // not known, as above
			t.Errorf("%s: %q", mt.title, row)
		}
	}
	if strings.Contains(page, "failed") || strings.Count(page, "SHA-256") != 2 {
		t.Errorf("the page:\n%s", page)
	}
}

// checkFigures wants two figures and their ratio to be positive numbers.
func checkFigures(t *testing.T, what string, row []string) {
	t.Helper()
	if len(row) != 4 {
		t.Errorf("%s: %q", what, row)
		return
	}
	for _, text := range row[:3] {
		v, err := strconv.ParseFloat(strings.Trim(strings.ReplaceAll(text, ",", ""), "*"), 64)
		if err != nil || v <= 0 {
			t.Errorf("%s: %q in %q", what, text, row)
		}
	}
}
