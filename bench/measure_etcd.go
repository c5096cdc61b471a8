package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"quipu/internal/ports"
)

// etcdMeasurement is bar N8: one client that counts beside one client that puts a key into etcd, which also answers when a
// majority has the write on disk. Both clients talk to the node that leads.
func etcdMeasurement() measurement {
	return measurement{
		name:    "etcd",
		about:   "three nodes of Quipu beside three of etcd, one client each; needs etcd (Debian's etcd-server)",
		metrics: []metric{{id: "etcd-p50", title: "p50 of one client's `INCR`, and put to etcd, µs", xTitle: "Clients", xName: countName}},
		bars: []bar{{"N8", "p50 of one client, INCR ÷ put to etcd", []check{
			{label: "p50", num: cell{"etcd-p50", nodesLeader, 1}, den: cell{"etcd-p50", etcdVariant, 1}, atMost: 1},
		}}},
		run: func(ctx context.Context, l *lab) error {
			l.name[nodesLeader], l.name[etcdVariant] = "Quipu, "+setUp[nodesLeader], setUp[etcdVariant]
			return measureEtcd(ctx, l)
		},
	}
}

func measureEtcd(ctx context.Context, l *lab) error {
	if _, err := exec.LookPath("etcd"); err != nil {
		logf("without etcd, which is not installed: %v", err)
		return nil
	}
	client, err := filepath.Abs(filepath.Join(l.work, "etcd-client"))
	if err != nil {
		return err
	}
	source := "bench/etcd"
	if _, err := os.Stat(source); err != nil {
		source = "etcd" // a test of this folder
	}
	build := exec.CommandContext(ctx, "go", "build", "-C", source, "-o", client, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the client of etcd: %w\n%s", err, out)
	}
	e, err := startEtcd(ctx, l.work)
	defer e.kill()
	if err != nil {
		return err
	}
	c, err := l.startCluster(ctx, nil)
	defer c.kill()
	if err != nil {
		return err
	}
	s := c.fleet[0]
	const keys = 1000
	g := generator{addr: s.addr(), set: counterSet{name: benchmarkKey}, keys: keys, clients: 1, depth: 1}
	d := max(time.Second, l.cfg.runTime())
	return l.alternate(ctx, 2, func(round, i int) error {
		variant, p50 := nodesLeader, time.Duration(0)
		if i == 0 {
			result, err := g.runFor(ctx, d)
			if err != nil {
				return s.explain(err)
			}
			p50 = result.latencies.quantile(0.5)
		} else {
			variant = etcdVariant
			out, err := exec.CommandContext(ctx, client, "-endpoints", strings.Join(e.clients, ","), "-duration", d.String(), "-keys", strconv.Itoa(keys)).Output()
			if err != nil {
				return fmt.Errorf("the client of etcd: %w", err)
			}
			ns, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
			if err != nil {
				return err
			}
			p50 = time.Duration(ns)
		}
		l.figures.add("etcd-p50", variant, 1, float64(p50.Nanoseconds())/1000)
		l.progress(round, variant, "p50 of one client", float64(p50.Nanoseconds())/1000, "µs")
		return nil
	})
}

// etcd is three nodes of it.
type etcd struct {
	clients []string // addresses for clients
	nodes   []*exec.Cmd
	dirs    []string
}

func startEtcd(ctx context.Context, work string) (*etcd, error) {
	e := &etcd{}
	var peers, names []string
	for i := range nodeCount {
		client, err := ports.Keep()
		if err != nil {
			return e, err
		}
		name := fmt.Sprint("etcd", i)
		e.clients = append(e.clients, loopback(client))
		peers = append(peers, "http://"+loopback(client+ports.PeerOffset))
		names = append(names, name+"="+peers[i])
	}
	for i := range nodeCount {
		dir := filepath.Join(work, fmt.Sprint("etcd", i))
		cmd := exec.Command("etcd", "--name", fmt.Sprint("etcd", i), "--data-dir", dir,
			"--listen-client-urls", "http://"+e.clients[i], "--advertise-client-urls", "http://"+e.clients[i],
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(names, ","), "--initial-cluster-state", "new")
		log, err := os.Create(dir + ".log")
		if err != nil {
			return e, err
		}
		cmd.Stdout, cmd.Stderr = log, log
		err = cmd.Start()
		log.Close()
		if err != nil {
			return e, fmt.Errorf("etcd: %w", err)
		}
		e.nodes, e.dirs = append(e.nodes, cmd), append(e.dirs, dir)
	}
	return e, e.await(ctx)
}

// await waits until all nodes are healthy: they have a leader.
func (e *etcd) await(ctx context.Context) error {
	for end := time.Now().Add(readyLimit); time.Now().Before(end); {
		healthy := 0
		for _, address := range e.clients {
			if r, err := http.Get("http://" + address + "/health"); err == nil {
				if r.Body.Close(); r.StatusCode == http.StatusOK {
					healthy++
				}
			}
		}
		if healthy == len(e.clients) {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("etcd has no leader")
}

func (e *etcd) kill() {
	for i, n := range e.nodes {
		n.Process.Kill()
		n.Wait()
		if err := os.RemoveAll(e.dirs[i]); err != nil {
			logf("%v", err)
		}
	}
}
