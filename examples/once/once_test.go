package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// TestExact has the example of each language count to a number, all at the same time and one key together, while the leader of
// three nodes is killed twice: the sum is exact.
func TestExact(t *testing.T) {
	nodes := redistest.StartCluster(t, 3)
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.Addr)
	}
	count := redistest.Size(300, 1000, 3000)
	args := func(script, name string) []string {
		list := append([]string{name, "visits", strconv.Itoa(count)}, addresses...)
		if script != "" {
			list = append([]string{script}, list...)
		}
		return list
	}
	programs := map[string]*exec.Cmd{
		"redis-py":   toolbox.Python(t, "redis").Command(t.Context(), args("once.py", "python")...),
		"node-redis": toolbox.Node(t, "redis").Command(t.Context(), args("once.cjs", "node")...),
	}
	var running atomic.Int64
	ended := make(chan error, 1+len(programs))
	start := func(name string, run func() (string, error)) {
		running.Add(1)
		go func() {
			out, err := run()
			if last, ok := strconv.Atoi(strings.TrimSpace(out)); err != nil || ok != nil || last < count {
				err = fmt.Errorf("%s: %q, %w", name, out, err)
			}
			running.Add(-1)
			ended <- err
		}()
	}
	start("go-redis", func() (string, error) {
		last, err := run(t.Context(), "go", "visits", count, addresses)
		return strconv.FormatInt(last, 10), err
	})
	for name, cmd := range programs {
		start(name, func() (string, error) {
			out, err := cmd.CombinedOutput()
			return string(out), err
		})
	}
	kills := 0
	for ; kills < 2 && running.Load() > 0; kills++ {
		time.Sleep(300 * time.Millisecond)
		redistest.KillLeader(t, nodes)
	}
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	c := nodes[0].Dial(t)
	reply, err := c.Do("GET", "visits")
	if want := strconv.Itoa(cap(ended) * count); err != nil || reply.Text != want {
		t.Errorf("the sum is %v, %v, want %s", reply, err, want)
	}
	t.Logf("%s, with %d kills of the leader", reply.Text, kills)
}
