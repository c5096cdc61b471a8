package main

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"quipu/bench/plot"
	"quipu/engine/hll"
	"quipu/engine/uc"
)

const distinctSeeds = 40

// distinctSteps are the numbers of distinct items at which a growing sketch is asked.
var distinctSteps = []int{10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000}

// distinctCounter is a sketch that takes hashes of uc.Hash.
type distinctCounter interface {
	add(hashes []uint64) error
	count() (uint64, error)
}

// estimator is one column of the table.
type estimator struct {
	name      string
	style     string
	precision int
	band      bool // drawn as a band: one for each precision
	make      func() distinctCounter
}

var estimators = []estimator{
	{"PF*, precision 14", "three", 14, false, func() distinctCounter { return newPF() }},
	{"UC.*, precision 10", "one", 10, true, func() distinctCounter { return &ucCounter{uc.New(10)} }},
	{"UC.*, precision 14", "two", 14, true, func() distinctCounter { return &ucCounter{uc.New(14)} }},
	{"UC.*, precision 18", "four", 18, true, func() distinctCounter { return &ucCounter{uc.New(18)} }},
}

// pfCounter is a dense HyperLogLog of Redis. A sparse one has the same registers, from which the count follows.
type pfCounter struct{ b []byte }

func newPF() *pfCounter {
	var empty hll.Table
	return &pfCounter{hll.AppendDense(nil, hll.AppendNew(nil)[:hll.HeaderBytes], &empty)}
}

func (c *pfCounter) add(hashes []uint64) error {
	for _, h := range hashes {
		if i, value := hll.PlaceHash(bits.Reverse64(h)); hll.DenseGet(c.b, i) < value {
			hll.DenseSet(c.b, i, value)
		}
	}
	return nil
}

func (c *pfCounter) count() (uint64, error) {
	n, ok := hll.Count(c.b)
	if !ok {
		return 0, fmt.Errorf("the HyperLogLog is corrupted")
	}
	return n, nil
}

// ucCounter is a value of UC.*, changed as UC.ADD changes it.
type ucCounter struct{ value []byte }

func (c *ucCounter) add(hashes []uint64) error {
	s, err := uc.Open(c.value)
	if err != nil {
		return err
	}
	if s.Dense() {
		for _, h := range hashes {
			at, rank := s.Register(h)
			c.value[at] = max(c.value[at], rank)
		}
		return nil
	}
	entries := make([]uint32, len(hashes))
	for i, h := range hashes {
		entries[i] = uc.Entry(h)
	}
	change := s.Plan(entries)
	if !change.Fits() {
		c.value = change.Dense()
		return nil
	}
	c.value = append(c.value, make([]byte, change.Len()-len(c.value))...)
	change.Apply(c.value)
	return nil
}

func (c *ucCounter) count() (uint64, error) {
	s, err := uc.Open(c.value)
	if err != nil {
		return 0, err
	}
	return s.Count()
}

// distinctErrors are the relative errors of one seed, by estimator and step.
func distinctErrors(seed uint64, steps []int) ([][]float64, error) {
	counters := make([]distinctCounter, len(estimators))
	errs := make([][]float64, len(estimators))
	for i, e := range estimators {
		counters[i] = e.make()
	}
	const batch = 4096
	hashes := make([]uint64, 0, batch)
	item := append(strconv.AppendUint([]byte("seed:"), seed, 10), ":item:"...)
	n := 0
	for _, step := range steps {
		for n < step {
			hashes = hashes[:0]
			for ; n < step && len(hashes) < batch; n++ {
				hashes = append(hashes, uc.Hash(strconv.AppendInt(item, int64(n), 10)))
			}
			for _, c := range counters {
				if err := c.add(hashes); err != nil {
					return nil, err
				}
			}
		}
		for i, c := range counters {
			got, err := c.count()
			if err != nil {
				return nil, err
			}
			errs[i] = append(errs[i], float64(got)/float64(step)-1)
		}
	}
	return errs, nil
}

func distinctCounts() (section, error) {
	seeds, err := eachSeed(distinctSeeds, func(seed uint64) ([][]float64, error) {
		return distinctErrors(seed, distinctSteps)
	})
	if err != nil {
		return section{}, err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "### Distinct counts\n\n"+
		"Relative error in percent: root of the mean square over %d seeds, in parentheses the worst of them. Each seed is a\n"+
		"growing set of items named `seed:<seed>:item:<i>`, asked at every n.\n\n| n |", distinctSeeds)
	for _, e := range estimators {
		text.WriteString(" " + e.name + " |")
	}
	text.WriteString("\n|---:|" + strings.Repeat("---:|", len(estimators)) + "\n")
	chart := plot.Chart{
		Title: "Error of distinct counts", About: fmt.Sprintf("%%, root of the mean square over %d seeds; 0.01 stands for all below", distinctSeeds),
		XLabel: "distinct items", LogX: true, LogY: true, Floor: 0.01, Rules: rules,
	}
	for _, e := range estimators {
		chart.Series = append(chart.Series, plot.Series{Name: e.name, Style: e.style})
		if e.band {
			// Two standard deviations of a root of a mean square over so many normal errors, 1/√(2·seeds) of it.
			sigma, off := 100*standardError(e.precision), 2/math.Sqrt(2*distinctSeeds)
			chart.Bands = append(chart.Bands, plot.Band{Style: e.style, Low: sigma * (1 - off), High: sigma * (1 + off)})
		}
	}
	for i, step := range distinctSteps {
		chart.Ticks = append(chart.Ticks, plot.Tick{At: float64(step), Name: stepName(step)})
		fmt.Fprintf(&text, "| %s |", plot.Grouped(float64(step), 0))
		for k := range estimators {
			square, worst := 0.0, 0.0
			for _, errs := range seeds {
				square += errs[k][i] * errs[k][i]
				worst = max(worst, math.Abs(errs[k][i]))
			}
			rms := 100 * math.Sqrt(square/distinctSeeds)
			fmt.Fprintf(&text, " %.3f (%.2f) |", rms, 100*worst)
			chart.Series[k].Points = append(chart.Series[k].Points, plot.Point{X: float64(step), Y: rms})
		}
		text.WriteString("\n")
	}
	text.WriteString("| 1.04/√registers |")
	for _, e := range estimators {
		fmt.Fprintf(&text, " %.3f |", 100*standardError(e.precision))
	}
	text.WriteString("\n\n![Error of distinct counts](plots/distinct.svg)\n\n" +
		"Each band is where the line of its precision runs, with a probability of 95 %, if the standard error is\n" +
		"1.04/√registers.\n\n")
	return section{text.String(), map[string]plot.Chart{"distinct.svg": chart}}, nil
}

func standardError(precision int) float64 { return 1.04 / math.Sqrt(float64(int(1)<<precision)) }

// stepName labels powers of ten only.
func stepName(n int) string {
	for p, name := 10, ""; p <= n; p *= 10 {
		if name = plot.Grouped(float64(p), 0); p == n {
			return name
		}
	}
	return ""
}
