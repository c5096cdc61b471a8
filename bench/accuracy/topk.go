package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"quipu/bench/plot"
	"quipu/engine/topk"
)

const topKSeeds = 10

// topKShape is the dimensions of a sketch.
type topKShape struct {
	name  string
	width func(k int64) int64
	depth int64
}

var topKShapes = []topKShape{
	{"default", topk.DefaultWidth, topk.DefaultDepth},
	{"8 × 7", func(int64) int64 { return 8 }, 7},
}

// topKResult: recall, and the mean relative error of the counts of those found.
type topKResult struct{ recall, countError float64 }

func (shape topKShape) measure(s stream, k int64, seed uint64) (r topKResult, err error) {
	size, err := topk.Dimensions(k, shape.width(k), shape.depth)
	if err != nil {
		return r, err
	}
	b := make([]byte, size)
	topk.Init(b, k, shape.width(k), shape.depth, topk.DefaultDecay, seed)
	sketch, err := topk.Open(b)
	if err != nil {
		return r, err
	}
	var name []byte
	for _, n := range s.items {
		name = itemName(name[:0], n)
		known, enters := sketch.Count(name, 1)
		if !enters {
			continue
		}
		size, err := sketch.Room(len(name))
		if err != nil {
			return r, err
		}
		if size > len(b) {
			b = append(b, make([]byte, size-len(b))...)
			if sketch, err = topk.Open(b); err != nil {
				return r, err
			}
		}
		sketch.Enter(name, known)
	}
	counts := slices.Clone(s.counts)
	slices.Sort(counts)
	least := counts[len(counts)-int(k)] // whatever counts as much as the last of the best is as good
	found := 0
	for _, ranked := range sketch.List() {
		n, err := strconv.ParseUint(strings.TrimPrefix(string(ranked.Item), "item:"), 10, 32)
		if err != nil {
			return r, err
		}
		if truth := s.counts[n]; truth >= least {
			found++
			r.countError += math.Abs(float64(ranked.Count)-float64(truth)) / float64(truth)
		}
	}
	r.recall = float64(found) / float64(k)
	if found > 0 {
		r.countError /= float64(found)
	}
	return r, nil
}

func topK() (section, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "### Top-K\n\n"+
		"Which share of the k most frequent items of %s events is in the list, and how far their counts are off, with decay\n"+
		"%v: the mean of %d seeds, for the recall also the worst. 8 × 7 are RedisBloom's default dimensions.\n\n"+
		"| items | k | width × depth | recall | worst | error of counts |\n|---|---:|---:|---:|---:|---:|\n",
		plot.Grouped(events, 0), topk.DefaultDecay, topKSeeds)
	for _, from := range []distribution{zipf(1.05), zipf(1.2), zipf(1.5)} {
		streams, err := eachSeed(topKSeeds, func(seed uint64) (stream, error) { return from.stream(seed), nil })
		if err != nil {
			return section{}, err
		}
		for _, k := range []int64{10, 50, 500} {
			for _, shape := range topKShapes {
				results, err := eachSeed(topKSeeds, func(seed uint64) (topKResult, error) {
					return shape.measure(streams[seed], k, seed)
				})
				if err != nil {
					return section{}, err
				}
				mean, worst := topKResult{}, 1.0
				for _, r := range results {
					mean.recall += r.recall / topKSeeds
					mean.countError += r.countError / topKSeeds
					worst = min(worst, r.recall)
				}
				fmt.Fprintf(&text, "| %s | %d | %d × %d | %.3f | %.3f | %.2f %% |\n",
					from.name, k, shape.width(k), shape.depth, mean.recall, worst, 100*mean.countError)
			}
		}
	}
	text.WriteString("\n")
	return section{text: text.String()}, nil
}
