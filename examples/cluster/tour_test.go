package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// TestTour plays what README.md says about three nodes, word for word but for the ports.
func TestTour(t *testing.T) {
	redistest.Tool(t, "redis-cli")
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "```console\n$ for p in 7001")
	if !found {
		t.Fatal("README.md has no tour of three nodes")
	}
	block, _, _ = strings.Cut("$ for p in 7001"+block, "```")
	port := redistest.FreePort(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	dir := filepath.Join(redistest.FastDir(t), "cluster")
	go func() { ended <- run(ctx, redistest.Binary(t), dir, port, 2*time.Second) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	list := make([]node, nodes)
	for i := range list {
		list[i] = node{number: i + 1, port: port + i, log: "see " + dir}
	}
	if err := awaitReady(ctx, list); err != nil {
		t.Fatal(err)
	}
	for i := nodes; i > 0; i-- {
		block = strings.ReplaceAll(block, strconv.Itoa(7000+i), strconv.Itoa(port+i-1))
	}
	for _, step := range strings.Split("\n"+block, "\n$ ")[1:] {
		line, want, _ := strings.Cut(step, "\n")
		play(t, line, want)
	}
	// The node that was killed comes back, and has everything.
	if err := awaitReady(ctx, list); err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		if out, err := exec.Command("redis-cli", "-p", strconv.Itoa(n.port), "GET", "votes").Output(); err != nil || strings.TrimSpace(string(out)) != "5" {
			t.Errorf("node %d has %s, %v", n.number, out, err)
		}
	}
}

var numbers = regexp.MustCompile(`(?m)^(?:\(integer\) )?"?(\d+)"?$`)

// play runs one line of the shell and compares the numbers it prints; where the README prints …, two nodes of three answer.
func play(t *testing.T, line, want string) {
	t.Helper()
	out, _ := exec.CommandContext(t.Context(), "bash", "-c", line).Output() // it fails where a node is down
	got, expected := find(string(out)), find(want)
	if strings.Contains(want, "…") {
		slices.Sort(got)
		expected = []string{"4", "5"}
	}
	if !slices.Equal(got, expected) {
		t.Errorf("%s: %v, want %v", line, got, expected)
	}
}

func find(text string) (list []string) {
	for _, m := range numbers.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}
