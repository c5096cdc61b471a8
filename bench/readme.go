package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The summary stands in a page between these lines.
const (
	readmeBegin = "<!-- written by `make bench`: begin -->\n"
	readmeEnd   = "<!-- written by `make bench`: end -->\n"
)

// readmeBlock splits a page at its markers, which stay in the two parts.
func readmeBlock(name string) (before, after string, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", "", err
	}
	begin, rest, ok1 := strings.Cut(string(text), readmeBegin)
	_, end, ok2 := strings.Cut(rest, readmeEnd)
	if !ok1 || !ok2 {
		return "", "", fmt.Errorf("%s has no lines %q and %q", name, strings.TrimSpace(readmeBegin), strings.TrimSpace(readmeEnd))
	}
	return begin + readmeBegin, readmeEnd + end, nil
}

// writeReadme puts the machine, the bars and the plots between the markers, or with -tables the figures.
func (r *report) writeReadme(images []image) error {
	name := r.l.cfg.readme
	before, after, err := readmeBlock(name)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, on %s. ", r.l.begun.UTC().Format("2 January 2006"), r.l.host.name())
	if r.l.cfg.tables {
		fmt.Fprintf(&b, "Medians of %d rounds, and the lowest and the highest.\n", r.l.cfg.rounds)
		for _, m := range r.measured {
			for _, mt := range m.metrics {
				b.WriteString(r.metricTable(mt))
			}
		}
		return os.WriteFile(name, []byte(before+b.String()+"\n"+after), 0o644)
	}
	fmt.Fprintf(&b, "One fsync takes %.2f ms there. ", millis(r.l.host.sync))
	for _, v := range r.l.available(quipuQuorum, peerMemory) {
		fmt.Fprintf(&b, "%s with event loops or I/O threads: %s. ", r.l.product[v], r.l.loops[v])
	}
	fmt.Fprintf(&b, "Medians of %d rounds; the load runs on the same machine.\n\n", r.l.cfg.rounds)
	for _, w := range r.l.warnings() {
		b.WriteString(w + "\n\n")
	}
	for _, im := range images { // two stand side by side
		fmt.Fprintf(&b, "<img src=\"%s\" alt=\"%s\" width=\"49%%\">\n", relative(filepath.Dir(name), im.path), im.title)
	}
	b.WriteString("\n" + r.barsTable() + "\n")
	return os.WriteFile(name, []byte(before+b.String()+after), 0o644)
}
