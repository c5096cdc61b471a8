package redistest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/netfault"
	"quipu/internal/ports"
)

// StartCluster starts n Quipu nodes, with further flags, that found a cluster together, and waits until each answers reads.
func StartCluster(tb testing.TB, n int, flags ...string) []*Server {
	tb.Helper()
	list := LaunchCluster(tb, n, func(int) []string { return flags })
	for _, s := range list {
		if err := s.WaitServes(readyLimit); err != nil {
			tb.Fatal(err)
		}
	}
	return list
}

// LaunchCluster starts n nodes and returns at once. flags gives further flags of the i-th node.
func LaunchCluster(tb testing.TB, n int, flags func(i int) []string) []*Server {
	tb.Helper()
	numbers, peers := make([]int, n), make([]string, n)
	for i := range n {
		numbers[i] = FreePort(tb)
		peers[i] = "127.0.0.1:" + strconv.Itoa(numbers[i]+ports.PeerOffset)
	}
	return launchAll(tb, numbers, peers, flags)
}

// LaunchBehind is LaunchCluster with all that nodes say to each other through a network that a test controls.
func LaunchBehind(tb testing.TB, net *netfault.Network, n int, flags func(i int) []string) []*Server {
	tb.Helper()
	numbers, peers := make([]int, n), make([]string, n)
	for i := range n {
		numbers[i] = FreePort(tb)
		var err error
		if peers[i], err = net.Open(i, "127.0.0.1:"+strconv.Itoa(numbers[i]+ports.PeerOffset)); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(net.Close)
	return launchAll(tb, numbers, peers, func(i int) []string {
		return append([]string{"--peer-bind", "127.0.0.1:" + strconv.Itoa(numbers[i]+ports.PeerOffset)}, flags(i)...)
	})
}

func launchAll(tb testing.TB, numbers []int, peers []string, flags func(i int) []string) (list []*Server) {
	tb.Helper()
	for i := range numbers {
		args := []string{"--peer-addr", peers[i], "--join", strings.Join(peers, ","), "--bootstrap-expect", strconv.Itoa(len(numbers))}
		list = append(list, Quipu{Dir: FastDir(tb), Port: numbers[i], Flags: append(args, flags(i)...)}.Launch(tb))
	}
	return list
}

// WaitServes waits until the node answers a read, for which a node has to lead.
func (s *Server) WaitServes(limit time.Duration) error {
	if err := s.WaitReady(limit); err != nil {
		return err
	}
	last := error(nil)
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if last = s.reads(); last == nil {
			return nil
		}
	}
	return fmt.Errorf("%s serves no reads: %w; output: %s", s.name, last, s.Output())
}

func (s *Server) reads() error {
	c, err := Dial(s.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Do("EXISTS", "nothing")
	if err == nil && r.IsError() && !strings.HasPrefix(r.Text, "MOVED ") {
		err = errors.New(r.Text)
	}
	return err
}

// Leader is the place in list of the node that leads, as it says itself; -1: none.
func Leader(list []*Server) int {
	for i, s := range list {
		if !s.Alive() {
			continue
		}
		c, err := Dial(s.Addr)
		if err != nil {
			continue
		}
		r, err := c.Do("INFO", "replication")
		c.Close()
		if err == nil && strings.Contains(r.Text, "\nraft_leader:1\r") {
			return i
		}
	}
	return -1
}

// WaitLeader waits for a node that leads, other than those named.
func WaitLeader(tb testing.TB, list []*Server, except ...int) int {
	tb.Helper()
	for end := time.Now().Add(readyLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		at := Leader(list)
		for _, e := range except {
			if at == e {
				at = -1
			}
		}
		if at >= 0 {
			return at
		}
	}
	tb.Fatal("no node leads")
	return -1
}

// KillLeader ends the node that leads, waits until another one does, and starts it again.
func KillLeader(tb testing.TB, list []*Server) {
	tb.Helper()
	leader := list[WaitLeader(tb, list)]
	leader.Kill9()
	WaitLeader(tb, list)
	if err := leader.Relaunch(); err != nil {
		tb.Fatal(err)
	}
}
