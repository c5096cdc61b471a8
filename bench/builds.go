package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Comparing two builds of Quipu (-before).
//
// The naive way runs the whole of one build's measurements and then the other's.
// A virtual machine gets some percent faster or slower within seconds, more than
// most changes of the code cost, and such a comparison would show that. So both
// builds run side by side, one of them idle, and short runs alternate between them
// (before, after, after, before, …). Two runs that follow each other are a pair;
// the result is the median of the ratios of all pairs.
//
// Where a process finds its memory makes some percent as well, and stays as it is
// until the process ends. So every round starts new processes.
//
// The older build may lack the newer one's settings and cannot share its data:
// every server is started with --bind, --port, --dir and --ack alone, in a folder
// of its own. Settings that both know can be added with -quipu-args.

// bothBuilds is the order of columns.
var bothBuilds = []string{buildBefore, buildAfter}

// compareBuilds measures both builds and writes the report.
func (l *lab) compareBuilds(ctx context.Context, selected []measurement) error {
	for i, program := range []string{l.cfg.before, l.cfg.quipu} {
		what, err := describeProgram(ctx, program)
		if err != nil {
			return err
		}
		build := bothBuilds[i]
		l.name[build], l.product[build] = build, what
		logf("%s: %s", build, what)
	}
	if err := l.measureAll(ctx, selected); err != nil {
		return err
	}
	r := buildReport{l, selected}
	page := r.page()
	if err := os.MkdirAll(l.cfg.out, 0o755); err != nil {
		return err
	}
	name := filepath.Join(l.cfg.out, "before-after.md")
	if err := os.WriteFile(name, []byte(page), 0o644); err != nil {
		return err
	}
	fmt.Print(page)
	logf("written: %s", name)
	return l.verdict(r.below())
}

// describeProgram says what an executable file is: builds of two commits have the
// same version most of the time, so it adds the commit, where the file knows it,
// and a hash of the file.
func describeProgram(ctx context.Context, program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	version, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", path, err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	commit := "not known"
	if info, err := buildinfo.ReadFile(path); err == nil {
		for _, setting := range info.Settings {
			switch {
			case setting.Key == "vcs.revision":
				commit = setting.Value[:min(12, len(setting.Value))]
			case setting.Key == "vcs.modified" && setting.Value == "true":
				commit += " with changes"
			}
		}
	}
	return fmt.Sprintf("%s, commit %s, SHA-256 %.6x…, `%s`",
		strings.TrimSpace(string(version)), commit, sha256.Sum256(content), path), nil
}

// turn is a list in the order of turn n: each turn begins with another element. Of a pair, every second turn begins with the
// second one.
func turn[S ~[]E, E any](n int, list S) S {
	n %= len(list)
	return slices.Concat(list[n:], list[:n])
}
