package systest

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRegionDiskFull: a region whose disk is full refuses writes, those of other regions among them, and says why to clients and to those who
// ask the others. They count on. When there is room all come to the same.
func TestRegionDiskFull(t *testing.T) {
	t.Parallel() // it mostly waits
	d := mountSmallDisk(t)
	g := startRegionsIn(t, []string{filepath.Join(d.dir, "data"), t.TempDir(), t.TempDir()}, "eu", "us", "asia")
	for i := range g.list {
		g.settle(i)
	}
	rng := newRand(t)
	var n [3]regionCounts // of each region
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i, s := range g.list {
		r := rand.New(rand.NewPCG(rng.Uint64(), 0))
		clients.Go(func() { n[i].load(s.Addr, r, stop) })
	}
	c := g.list[0].Dial(t)
	defer c.Close()
	d.take(t, d.free(t)-40<<20)
	refusal := ""
	eventuallyTrue(t, "a refusal", func() bool {
		if free := d.free(t); free > 4<<20 {
			d.take(t, 2<<20)
		}
		r, err := c.Do("INCR", "full")
		if err != nil {
			t.Fatal(err)
		}
		refusal = r.Text
		return r.IsError() && !strings.HasPrefix(r.Text, "UNKNOWN")
	})
	if !strings.HasPrefix(refusal, "MISCONF") {
		t.Errorf("on a full disk: %s", refusal)
	}
	g.refusal(1, "eu", "MISCONF")
	g.refusal(2, "eu", "MISCONF")
	do(t, c, "GET", regionKey(0))
	for i := 1; i < len(n); i++ {
		before := n[i].sum()
		eventuallyTrue(t, g.names[i]+" to count on", func() bool { return n[i].sum() > before })
	}
	close(stop)
	clients.Wait()
	d.release(t)
	eventuallyTrue(t, "eu to take writes", func() bool {
		r, err := c.Do("DEL", "full")
		if err != nil {
			t.Fatal(err)
		}
		return !r.IsError()
	})
	for i := range g.list {
		g.settle(i)
	}
	time.Sleep(1100 * time.Millisecond) // what was to die has died
	values := g.converge(10 * time.Second)
	g.tombstones()
	n[0].plus(&n[1])
	n[0].plus(&n[2])
	n[0].verify(t, values)
}
