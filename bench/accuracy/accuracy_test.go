package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDistinctErrors runs a small part of the measurement: each estimator stays within 5 standard errors, and is exact
// on ten items.
func TestDistinctErrors(t *testing.T) {
	steps := []int{10, 5000, 50_000}
	for seed := range uint64(2) {
		errs, err := distinctErrors(seed, steps)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range estimators {
			if errs[i][0] != 0 {
				t.Errorf("%s: error %v of ten items", e.name, errs[i][0])
			}
			for k, off := range errs[i] {
				if math.Abs(off) > 5*standardError(e.precision) {
					t.Errorf("%s, seed %d: error %v of %d items", e.name, seed, off, steps[k])
				}
			}
		}
	}
}

// TestMeasures runs one of the cheapest cases of the others.
func TestMeasures(t *testing.T) {
	s := zipf(1.5).stream(1)
	for _, c := range countMinCases {
		e, err := c.measure(s, 0.01)
		if err != nil || e.mean <= 0 || e.mean > e.p99 || e.p99 > e.worst || e.beyond > countMinDelta {
			t.Errorf("%s: %+v, %v", c.name(), e, err)
		}
	}
	r, err := topKShapes[0].measure(s, 10, 1)
	if err != nil || r.recall < 0.9 || r.countError > 0.05 {
		t.Errorf("top 10: %+v, %v", r, err)
	}
}

// TestPage: the page has a place for what is measured, and every plot that it shows exists.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/sketches.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "](plots/")
	if len(parts) < 3 {
		t.Errorf("the page shows %d plots", len(parts)-1)
	}
	for _, part := range parts[1:] {
		name, _, _ := strings.Cut(part, ")")
		if _, err := os.Stat(filepath.Join("../../docs/plots", name)); err != nil {
			t.Error(err)
		}
	}
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, page, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceMeasured(file, []byte("figures\n")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got), pageBegin+"figures\n"+pageEnd) || !strings.HasPrefix(string(page), string(got[:200])) {
		t.Errorf("replaced: %s", got)
	}
	if err := os.WriteFile(file, []byte("no markers"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceMeasured(file, nil); err == nil {
		t.Error("a page without markers is no error")
	}
}
