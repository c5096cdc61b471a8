// Command accuracy measures how far the estimates of the sketches are from the truth, on the packages that the server
// uses, and writes tables and plots into docs/sketches.md. All input is generated from fixed seeds: the figures are the
// same on every run.
//
//	go run ./bench/accuracy
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"quipu/bench/plot"
)

const (
	pageBegin = "<!-- measured: make accuracy -->\n"
	pageEnd   = "<!-- end of what is measured -->\n"
)

func main() {
	docs := flag.String("docs", "docs", "folder with sketches.md, whose measured part is replaced, and plots")
	flag.Parse()
	if err := run(*docs); err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

// section is what one measurement gives to the page.
type section struct {
	text  string
	plots map[string]plot.Chart
}

func run(docs string) error {
	var text bytes.Buffer
	for _, part := range []struct {
		name    string
		measure func() (section, error)
	}{{"distinct counts", distinctCounts}, {"Count-Min", countMin}, {"Top-K", topK}} {
		start := time.Now()
		s, err := part.measure()
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		text.WriteString(s.text)
		for name, chart := range s.plots {
			if err := os.WriteFile(filepath.Join(docs, "plots", name), chart.SVG(), 0o644); err != nil {
				return err
			}
		}
		fmt.Printf("%s: %.1f s\n", part.name, time.Since(start).Seconds())
	}
	return replaceMeasured(filepath.Join(docs, "sketches.md"), text.Bytes())
}

func replaceMeasured(file string, text []byte) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := bytes.Index(page, []byte(pageBegin)), bytes.Index(page, []byte(pageEnd))
	if begin < 0 || end < begin {
		return fmt.Errorf("%s has no part between %q and %q", file, pageBegin, pageEnd)
	}
	begin += len(pageBegin)
	var out []byte
	out = append(out, page[:begin]...)
	out = append(out, text...)
	return os.WriteFile(file, append(out, page[end:]...), 0o644)
}

// eachSeed runs fn for seeds 0 to n-1 on all processors and returns the results in order of the seeds.
func eachSeed[T any](n int, fn func(seed uint64) (T, error)) ([]T, error) {
	results, errs := make([]T, n), make([]error, n)
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range n {
		free <- struct{}{}
		wg.Go(func() {
			results[i], errs[i] = fn(uint64(i))
			<-free
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return results, nil
}

// The colours of lines and bands, which can be read on white and on dark grey.
const rules = `
.one { stroke: #c2410c } .dot.one, .band.one { fill: #c2410c }
.two { stroke: #1d6fd1 } .dot.two, .band.two { fill: #1d6fd1 }
.three { stroke: #4aa3ff; stroke-dasharray: 7 4 } .dot.three { fill: #4aa3ff }
.four { stroke: #15803d } .dot.four, .band.four { fill: #15803d }
.five { stroke: #f59331; stroke-dasharray: 7 4 } .dot.five { fill: #f59331 }
.limit { stroke: #6b7280; stroke-dasharray: 2 4 } .dot.limit { fill: none; stroke: none }
.band.one, .band.two, .band.four { stroke: none }
`
