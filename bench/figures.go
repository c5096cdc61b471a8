package main

import (
	"math"
	"slices"
	"strconv"

	"quipu/bench/plot"
)

// cell names a figure: a metric of one variant at one x (a pipeline depth, a
// number of keys, …).
type cell struct {
	metric  string
	variant string
	x       int
}

// figures holds one value for each round of every cell.
type figures map[cell][]float64

func (f figures) add(metric, variant string, x int, value float64) {
	c := cell{metric, variant, x}
	f[c] = append(f[c], value)
}

// xs are the values of x that the metric has figures for.
func (f figures) xs(metric string) []int {
	var all []int
	for c := range f {
		if c.metric == metric {
			all = append(all, c.x)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ratio is the ratio of two medians, and the lowest and highest ratio of any one
// round. Without a den it is the median itself.
func (f figures) ratio(num, den cell) (value, low, high float64, ok bool) {
	above, below := f[num], f[den]
	if den == (cell{}) {
		below = slices.Repeat([]float64{1}, len(above))
	}
	n := min(len(above), len(below))
	if n == 0 || median(below) == 0 {
		return 0, 0, 0, false
	}
	low, high = above[0]/below[0], above[0]/below[0]
	for i := 1; i < n; i++ {
		low, high = min(low, above[i]/below[i]), max(high, above[i]/below[i])
	}
	return median(above) / median(below), low, high, true
}

// paired is the median of the ratios of the pairs of two figures, and the interval
// that holds the true median with 95 % certainty (medianInterval).
func (f figures) paired(num, den cell) (value, low, high float64, ok bool) {
	above, below := f[num], f[den]
	var ratios []float64
	for i := range min(len(above), len(below)) {
		if below[i] != 0 {
			ratios = append(ratios, above[i]/below[i])
		}
	}
	if len(ratios) == 0 {
		return 0, 0, 0, false
	}
	low, high = medianInterval(ratios)
	return median(ratios), low, high, true
}

// medianInterval is the narrowest pair of values, equally far from both ends of the
// sorted list, between which the median of what they were drawn from lies with at
// least 95 % certainty. Of fewer than six values it is the lowest and the highest,
// which is less certain.
//
// A draw is below the true median with probability 1/2, whatever the distribution. So
// the true median lies below the k-th lowest of n draws (k from 1) only if fewer than
// k of them are below it, and the probability of that is a sum of binomial terms
// (Conover, Practical Nonparametric Statistics, section 3.2).
func medianInterval(values []float64) (low, high float64) {
	v := slices.Sorted(slices.Values(values))
	n, k := len(v), 0 // k from 0
	term := math.Pow(0.5, float64(n))
	for sum, j := term, 1; j <= n/2; j++ {
		term *= float64(n-j+1) / float64(j)
		if sum += term; sum > 0.025 { // the probability that at most j draws are below the median
			break
		}
		k = j
	}
	return v[k], v[n-1-k]
}

// median is the middle of values; of an even number the mean of the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// spread is how far the rounds lie apart, by their median: 0.1 is 10 %.
func spread(values []float64) float64 {
	m := median(values)
	if m == 0 {
		return 0
	}
	return (slices.Max(values) - slices.Min(values)) / m
}

// trimFloat writes a float without zeros at its end.
func trimFloat(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// compact writes a count for an axis: 300k, 5M.
func compact(n int) string {
	switch {
	case n >= 1_000_000:
		return strconv.FormatFloat(float64(n)/1e6, 'g', 3, 64) + "M"
	case n >= 1000:
		return strconv.FormatFloat(float64(n)/1e3, 'g', 3, 64) + "k"
	}
	return strconv.Itoa(n)
}

func grouped(v float64, digits int) string { return plot.Grouped(v, digits) }
