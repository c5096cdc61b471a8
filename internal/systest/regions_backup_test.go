package systest

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// restored takes a backup of a node and restores it into a directory.
func restored(t *testing.T, s *redistest.Server, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup")
	for _, args := range [][]string{{"backup", file, "--addr", s.Addr}, {"restore", file, "--dir", dir}} {
		if out, err := exec.Command(redistest.Binary(t), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	return dir
}

// refusal waits for a link's error with a text in it.
func (g *regions) refusal(from int, to, text string) {
	g.t.Helper()
	eventuallyTrue(g.t, text, func() bool { return strings.Contains(g.link(from, to, "error"), text) })
}

// count has a region increment n, and returns the value.
func (g *regions) count(i int) string {
	c := g.list[i].Dial(g.t)
	defer c.Close()
	return do(g.t, c, "INCR", "n").Text
}

// TestRegionsOfOneBackup: two regions that are made of one backup, or of a cluster and its backup, are told so, and count nothing twice.
func TestRegionsOfOneBackup(t *testing.T) {
	t.Parallel() // it mostly waits
	plain := redistest.Quipu{Dir: t.TempDir(), Flags: smallFiles}.Start(t)
	c := plain.Dial(t)
	do(t, c, "INCRBY", "n", "5")
	c.Close()
	dirs := []string{t.TempDir(), restored(t, plain, filepath.Join(t.TempDir(), "us")), restored(t, plain, filepath.Join(t.TempDir(), "asia"))}
	const twice = "everything would count twice"
	g := startRegionsIn(t, dirs, "eu", "us", "asia")
	g.refusal(1, "asia", twice)
	g.refusal(2, "us", twice)
	for i := 1; i < 3; i++ {
		if n := g.count(i); n != "6" {
			t.Errorf("%s counts %s, and not 5 + 1", g.names[i], n)
		}
	}
	if n, _ := strconv.Atoi(g.values(0)["n"]); n > 6 { // it takes at most one of them
		t.Errorf("a third region has %d", n)
	}
	for i := range g.list {
		g.list[i].Kill9()
	}
	g = startRegionsIn(t, []string{t.TempDir(), dirs[1], t.TempDir()}, "eu", "us", "asia")
	for i := range g.list {
		g.settle(i)
	}
	g.count(0)
	g.settle(0)
	if values := g.converge(5 * time.Second); values["n"] != "7" {
		t.Errorf("n is %s, and not 5 + 1 + 1", values["n"])
	}
}

// TestRegionRestored: a region that is restored, while the one that it was taken of goes on, is refused until it is another incarnation,
// whoever has counted more. From then on the old one is.
func TestRegionRestored(t *testing.T) {
	t.Parallel() // it mostly waits
	g := startRegions(t, "eu", "us")
	g.count(0)
	g.settle(0)
	g.settle(1)
	again := g.nodes[0]
	again.Dir, again.Port = restored(t, g.list[0], filepath.Join(t.TempDir(), "again")), redistest.FreePort(t)
	g.count(0)
	g.settle(0)
	g.list = append(g.list, again.Start(t))
	for range 3 { // more than us knows
		g.count(2)
	}
	g.refusal(2, "us", "another cluster has said that it is this incarnation")
	if n := g.values(1)["n"]; n != "2" {
		t.Errorf("n is %s, and not 2", n)
	}
	c := g.list[2].Dial(t)
	defer c.Close()
	do(t, c, "REGION", "RENEW")
	g.count(2)
	eventuallyTrue(t, "us to have the longer history", func() bool { return g.values(1)["n"] == "5" })
	g.count(0)
	g.refusal(0, "us", "REGIONLOST")
}
