package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// noisy is the spread of rounds, by their median, from which a figure is marked.
const noisy = 0.25

// report writes what a lab has found.
type report struct {
	l        *lab
	measured []measurement
}

func newReport(l *lab, measured []measurement) *report { return &report{l, measured} }

// write writes the files: plots, results.md and, if it is asked for, the block of
// a readme.
func (r *report) write() error {
	plots := filepath.Join(r.l.cfg.out, "plots")
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	var images []image
	for _, m := range r.measured {
		for _, spec := range m.charts {
			c, ok := r.chart(spec)
			if !ok {
				continue
			}
			name := filepath.Join(plots, spec.file+".svg")
			if err := os.WriteFile(name, c.SVG(), 0o644); err != nil {
				return err
			}
			images = append(images, image{spec.title, name})
		}
	}
	name := filepath.Join(r.l.cfg.out, "results.md")
	if err := os.WriteFile(name, []byte(r.page(images)), 0o644); err != nil {
		return err
	}
	logf("written: %s and %d plots", name, len(images))
	if r.l.cfg.readme == "" {
		return nil
	}
	return r.writeReadme(images)
}

// image is a plot that was written.
type image struct{ title, path string }

// markdown is the image as seen from a page in the folder dir.
func (im image) markdown(dir string) string {
	return fmt.Sprintf("![%s](%s)\n\n", im.title, relative(dir, im.path))
}

// relative is the way from a folder to a file, for a link.
func relative(dir, file string) string {
	from, err1 := filepath.Abs(dir)
	to, err2 := filepath.Abs(file)
	path, err := filepath.Rel(from, to)
	if errors.Join(err1, err2, err) != nil {
		return file
	}
	return filepath.ToSlash(path)
}

func (r *report) page(images []image) string {
	var b strings.Builder
	b.WriteString("# Quipu beside Redis\n\nWritten by `make bench`; [performance.md](" + r.performancePage() + ") says what is measured and how.\n\n")
	for _, line := range r.facts() {
		fmt.Fprintf(&b, "* %s\n", line)
	}
	b.WriteString("\n## Bars\n\n" + r.barsTable() + "\n")
	b.WriteString("Got: ratio of the medians of all rounds. Lowest and highest: of the ratios of single rounds. F1 and F2: median of the\n" +
		"ratios of runs that follow each other, and the interval that holds the true median with 95 % certainty.\n\n")
	for _, im := range images {
		b.WriteString(im.markdown(r.l.cfg.out))
	}
	b.WriteString("## Figures\n\nMedians of the rounds, and the lowest and the highest round.")
	fmt.Fprintf(&b, " ~: these lie more than %.0f %% apart.\n", noisy*100)
	for _, m := range r.measured {
		fmt.Fprintf(&b, "\n### %s\n\n%s (%.0f s).\n", m.name, upperFirst(m.about), r.l.took[m.name].Seconds())
		for _, mt := range m.metrics {
			b.WriteString(r.metricTable(mt))
		}
	}
	return b.String()
}

// performancePage leads from the results to the page that explains them, where
// both are in the checkout.
func (r *report) performancePage() string {
	return relative(r.l.cfg.out, filepath.Join("docs", "performance.md"))
}

// where is lines about the time and the machine.
func (l *lab) where() []string {
	all := []string{
		l.begun.UTC().Format("2 January 2006"),
		l.host.name(),
		fmt.Sprintf("fsync of 4 KiB in the data's folder: %.2f ms (median of 100)", millis(l.host.sync)),
	}
	if l.host.load != "" {
		all = append(all, "load average before the run: "+l.host.load)
	}
	return all
}

// facts are lines about the machine, the servers and the run.
func (r *report) facts() []string {
	l := r.l
	all := l.where()
	for _, v := range allVariants {
		if reason := l.refused[v]; reason != "" {
			all = append(all, fmt.Sprintf("%s: left out, %s", l.name[v], reason))
			continue
		}
		all = append(all, fmt.Sprintf("%s: %s, event loops or I/O threads: %s", l.name[v], l.product[v], l.loops[v]))
	}
	return append(all, l.course()...)
}

// course is lines about how the run went.
func (l *lab) course() []string {
	all := []string{fmt.Sprintf("%d alternating rounds; runs of %s s; the load runs on the same machine; the whole took %.0f min",
		l.cfg.rounds, trimFloat(l.cfg.seconds), time.Since(l.begun).Minutes())}
	if l.cfg.cpus != "" {
		all = append(all, "all servers on CPUs "+l.cfg.cpus)
	}
	return append(all, l.warnings()...)
}

// warnings are reasons to doubt the figures.
func (l *lab) warnings() []string {
	var all []string
	if l.cfg.scale != 1 {
		all = append(all, fmt.Sprintf("**keys and idle connections are scaled by %s: the goals are meant for full size**", trimFloat(l.cfg.scale)))
	}
	for _, failure := range l.failed {
		all = append(all, "**failed: "+failure+"**")
	}
	for _, w := range l.host.warnings() {
		all = append(all, "**the machine was not idle: "+w+"**")
	}
	return all
}

// judgement is how a check ended.
type judgement struct {
	got, low, high float64
	verdict        string
	missed         bool
}

func (r *report) judge(c check) judgement {
	for _, v := range []string{c.num.variant, c.den.variant} {
		if reason := r.l.refused[v]; reason != "" {
			return judgement{verdict: "skipped: " + reason}
		}
	}
	var j judgement
	var ok bool
	ratio := r.l.figures.ratio
	if c.paired {
		ratio = r.l.figures.paired
	}
	j.got, j.low, j.high, ok = ratio(c.num, c.den)
	switch {
	case !ok:
		j.verdict = "not measured"
	case c.atLeast != 0 && j.got < c.atLeast, c.atMost != 0 && j.got > c.atMost:
		j.verdict, j.missed = "**missed**", true
	default:
		j.verdict = "met"
	}
	return j
}

func (r *report) barsTable() string {
	var rows [][]string
	for _, b := range r.bars() {
		for _, c := range b.checks {
			j := r.judge(c)
			row := []string{b.id, b.what, c.label, c.wanted(), "", "", j.verdict}
			if j.got != 0 {
				digits := 2
				if j.got >= 100 {
					digits = 0
				}
				row[4] = grouped(j.got, digits)
				row[5] = grouped(j.low, digits) + "–" + grouped(j.high, digits)
			}
			rows = append(rows, row)
		}
	}
	return table([]string{"Bar", "What", "At", "Wanted", "Got", "Lowest–highest", "Verdict"}, "rllrrrl", rows)
}

// missed names the bars that were not reached.
func (r *report) missed() []string {
	var all []string
	for _, b := range r.bars() {
		for _, c := range b.checks {
			if r.judge(c).missed {
				all = append(all, "bar "+b.id+" at "+c.label)
			}
		}
	}
	return all
}

// bars are those of all measurements that ran, in the order of their numbers.
func (r *report) bars() []bar {
	var all []bar
	for _, m := range r.measured {
		all = append(all, m.bars...)
	}
	number := func(b bar) (n int) {
		if _, err := fmt.Sscanf(b.id, "%d", &n); err != nil { // a letter may follow
			return math.MaxInt // S1 stands behind all numbers
		}
		return n
	}
	slices.SortStableFunc(all, func(a, b bar) int {
		return cmp.Or(cmp.Compare(number(a), number(b)), cmp.Compare(a.id, b.id))
	})
	return all
}

// metricTable has a line for each x and a column for each variant.
func (r *report) metricTable(mt metric) string {
	var variants []string
	titles, align := []string{mt.xTitle}, "r"
	for _, v := range columns {
		for c := range r.l.figures {
			if c.metric == mt.id && c.variant == v {
				variants, titles, align = append(variants, v), append(titles, r.l.name[v]), align+"r"
				break
			}
		}
	}
	if len(variants) == 0 {
		return "\n" + mt.title + ": not measured.\n"
	}
	var rows [][]string
	for _, x := range r.l.figures.xs(mt.id) {
		row := []string{mt.xName(x)}
		for _, v := range variants {
			row = append(row, mt.format(r.l.figures[cell{mt.id, v, x}]))
		}
		rows = append(rows, row)
	}
	return "\n" + mt.title + ":\n\n" + table(titles, align, rows)
}

// format writes the median of the rounds, and their lowest and highest.
func (mt metric) format(values []float64) string {
	if len(values) == 0 {
		return ""
	}
	mark := ""
	if spread(values) > noisy {
		mark = "~ "
	}
	return fmt.Sprintf("%s%s (%s–%s)", mark, grouped(median(values), mt.digits),
		grouped(slices.Min(values), mt.digits), grouped(slices.Max(values), mt.digits))
}

// table writes a Markdown table; align has l or r for each column.
func table(titles []string, align string, rows [][]string) string {
	width := make([]int, len(titles))
	for _, row := range append([][]string{titles}, rows...) {
		for i, text := range row {
			width[i] = max(width[i], len([]rune(text)))
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, text := range row {
			pad := strings.Repeat(" ", width[i]-len([]rune(text)))
			if align[i] == 'l' {
				fmt.Fprintf(&b, "| %s%s ", text, pad)
			} else {
				fmt.Fprintf(&b, "| %s%s ", pad, text)
			}
		}
		b.WriteString("|\n")
	}
	line(titles)
	for i, w := range width {
		if align[i] == 'l' {
			b.WriteString("|:" + strings.Repeat("-", w+1))
		} else {
			b.WriteString("|" + strings.Repeat("-", w+1) + ":")
		}
	}
	b.WriteString("|\n")
	for _, row := range rows {
		line(row)
	}
	return b.String()
}

// upperFirst begins a sentence with text, unless that begins with code.
func upperFirst(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
