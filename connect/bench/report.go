package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bar is what is demanded of a figure, or of the ratio of two.
type bar struct {
	id, what string
	num, den string // figures; without den it is num itself
	needs    string // the contestant without which there is nothing to compare
	atLeast  float64
	atMost   float64
	unit     string
}

var bars = []bar{
	{id: "E1", what: "quipu-connect ÷ bare consumer, events per CPU-second", num: cpuRate(theConnector), den: cpuRate(theBare), atLeast: 0.6},
	{id: "E2", what: "quipu-connect ÷ kcat to nothing, events/s", num: wallRate(theConnector), den: wallRate(theKcat), needs: theKcat, atLeast: 0.4},
	{id: "E3", what: "produced to readable at 50,000 events/s, p99", num: latencyP99, atMost: 100, unit: " ms"},
	{id: "E4", what: "clients beside 200,000 events/s ÷ without, `INCR`, P = 16; Quipu and they on processors of their own", num: clientsBeside(apart), den: clientsAlone(apart), needs: clientsAlone(apart), atLeast: 0.7},
	{id: "E4b", what: "the same, everything on the same processors", num: clientsBeside(together), den: clientsAlone(together), needs: clientsAlone(together), atLeast: 0.7},
	{id: "E5", what: "quipu-connect ÷ Kafka Streams, exactly once, events/s", num: wallRate(theConnector), den: wallRate(theStreams), needs: theStreams, atLeast: 3},
	{id: "E6", what: "SQLite behind Quipu at 50,000 changed keys/s, p99", num: behindP99, atMost: 1, unit: " s"},
	{id: "E7", what: "sink ÷ bare upsert loop with the same batches, rows/s, SQLite", num: sinkRate(theSQLite), den: bareRate(theSQLite), atLeast: 0.8},
	{id: "E7b", what: "the same, PostgreSQL", num: sinkRate(thePostgres), den: bareRate(thePostgres), needs: sinkRate(thePostgres), atLeast: 0.8},
}

func (b bar) wanted() string {
	if b.atMost > 0 {
		return "≤ " + number(b.atMost) + b.unit
	}
	return "≥ " + number(b.atLeast) + b.unit
}

// judgement is how a bar ended.
type judgement struct {
	got, low, high float64
	verdict        string
	missed         bool
}

// judge compares the ratio of the medians with what is demanded. The lowest and the highest are of single rounds.
func (l *lab) judge(b bar) (j judgement) {
	num, den := l.figures[b.num], l.figures[b.den]
	if b.den == "" {
		den = slices.Repeat([]float64{1}, len(num))
	}
	n := min(len(num), len(den))
	if n == 0 {
		j.verdict = "not measured"
		if reason := l.skipped[b.needs]; reason != "" {
			j.verdict = "skipped: " + reason
		}
		return j
	}
	j.got = median(num) / median(den)
	j.low, j.high = math.Inf(1), 0
	for i := range n {
		j.low, j.high = min(j.low, num[i]/den[i]), max(j.high, num[i]/den[i])
	}
	j.missed = b.atLeast > 0 && j.got < b.atLeast || b.atMost > 0 && j.got > b.atMost
	j.verdict = "met"
	if j.missed {
		j.verdict = "**missed**"
	}
	return j
}

func (l *lab) missed() (list []string) {
	for _, b := range l.selected {
		if l.judge(b).missed {
			list = append(list, b.id)
		}
	}
	return list
}

func (l *lab) barsTable() string {
	rows := [][]string{{"Bar", "What", "Demanded", "Measured", "Lowest–highest", "Verdict"}}
	for _, b := range l.selected {
		j := l.judge(b)
		row := []string{b.id, b.what, b.wanted(), "", "", j.verdict}
		if j.got > 0 {
			row[3], row[4] = number(j.got)+b.unit, number(j.low)+"–"+number(j.high)
		}
		rows = append(rows, row)
	}
	return table(rows)
}

func (l *lab) figuresTable() string {
	rows := [][]string{{"Figure", "Median", "Lowest", "Highest"}}
	for _, name := range l.names {
		f := l.figures[name]
		rows = append(rows, []string{name, number(median(f)), number(slices.Min(f)), number(slices.Max(f))})
	}
	return table(rows)
}

// write writes the results with their conditions.
func (l *lab) write() error {
	var b strings.Builder
	b.WriteString("# quipu-connect, measured\n\nWritten by `go run ./bench` in `connect`, whose text says what is measured and how.\n\n")
	for _, line := range l.conditions() {
		fmt.Fprintf(&b, "* %s\n", line)
	}
	fmt.Fprintf(&b, "\n## Bars\n\n%s\nMeasured: ratio of the medians of all rounds. Lowest and highest: of single rounds.\n", l.barsTable())
	fmt.Fprintf(&b, "\n## Figures\n\n%s", l.figuresTable())
	if err := os.MkdirAll(filepath.Dir(l.cfg.out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(l.cfg.out, []byte(b.String()), 0o644); err != nil {
		return err
	}
	logf("written: %s", l.cfg.out)
	return nil
}

// conditions are lines about the machine, the programs and the run.
func (l *lab) conditions() []string {
	keys := "without keys"
	if l.cfg.keyed {
		keys = "keyed by post"
	}
	list := []string{
		l.begun.UTC().Format("2 January 2006"),
		l.host.name,
		fmt.Sprintf("fsync of 4 KiB where the data is: %.2f ms (median of 100); load average before the run: %s", millis(l.host.sync), l.host.load),
		strings.Join(l.versions, "; "),
		fmt.Sprintf("%s events of %d bytes in %d partitions, %s, of %s posts; Kafka Streams has %d threads; %d alternating rounds; the whole took %.0f min",
			number(float64(l.cfg.events)), eventSize, partitions, keys, number(posts), l.cfg.threads, l.cfg.rounds, time.Since(l.begun).Minutes()),
	}
	if l.host.busy > 0.1 {
		list = append(list, fmt.Sprintf("**the machine was not idle: others used %.0f %% of the processors before the run began**", l.host.busy*100))
	}
	if share := l.host.stolen(); share > 0.02 {
		list = append(list, fmt.Sprintf("**the host took %.0f %% of the processors' time away during the run**", share*100))
	}
	for _, w := range l.warnings {
		list = append(list, "**"+w+"**")
	}
	return list
}

// table writes a Markdown table; the first row has the titles.
func table(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			width[i] = max(width[i], len([]rune(text)))
		}
	}
	var b strings.Builder
	for r, row := range rows {
		for i, text := range row {
			b.WriteString("| " + text + strings.Repeat(" ", width[i]-len([]rune(text))) + " ")
		}
		b.WriteString("|\n")
		if r == 0 {
			for _, w := range width {
				b.WriteString("|" + strings.Repeat("-", w+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

// median is the middle of values; of an even number the mean of the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// number writes large numbers with separators, and small ones with three digits.
func number(v float64) string {
	switch size := math.Abs(v); {
	case size < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case size < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
