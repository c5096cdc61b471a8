// Command cluster runs three Quipu nodes on this machine, to try what happens when one of them fails: `make cluster`. It
// prints where they are and what to try, starts a node again some seconds after it has ended, and stops all on Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	nodes      = 3
	peerOffset = 10000           // from the port for clients to the port for other nodes
	restart    = 5 * time.Second // after a node has ended
	readyLimit = 30 * time.Second
)

func main() {
	server := flag.String("server", "bin/quipu", "the `program` to run")
	dir := flag.String("dir", "./quipu-cluster", "data `directory`; each node has a folder and a log in it")
	port := flag.Int("port", 7001, "`port` of the first node; the others have the next ones")
	again := flag.Duration("restart", restart, "how long after its end a node is started again")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *server, *dir, *port, *again); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// node is one process, which is started again and again.
type node struct {
	number, port int
	args         []string
	log          string
}

func run(ctx context.Context, server, dir string, port int, again time.Duration) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var peers []string
	for i := range nodes {
		peers = append(peers, fmt.Sprintf("127.0.0.1:%d", port+i+peerOffset))
	}
	list := make([]node, nodes)
	for i := range list {
		list[i] = node{number: i + 1, port: port + i, log: filepath.Join(dir, fmt.Sprintf("node%d.log", i+1)), args: []string{
			"server", "--port", strconv.Itoa(port + i), "--dir", filepath.Join(dir, fmt.Sprintf("node%d", i+1)),
			"--peer-addr", peers[i], "--join", strings.Join(peers, ","), "--bootstrap-expect", strconv.Itoa(nodes),
		}}
	}
	outer := ctx // ends on Ctrl-C; ctx also when something fails
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for i := range list {
		running.Go(func() {
			if err := list[i].keep(ctx, server, again); err != nil {
				cancel(err)
			}
		})
	}
	if err := awaitReady(ctx, list); err == nil {
		describe(ctx, list)
		<-ctx.Done()
	} else {
		cancel(err)
	}
	running.Wait()
	if failed := context.Cause(ctx); !errors.Is(context.Cause(outer), failed) {
		return failed
	}
	fmt.Println("All nodes have stopped. Their data is in", dir)
	return nil
}

// keep runs the node until ctx ends, then stops it as an operator would.
func (n *node) keep(ctx context.Context, server string, again time.Duration) error {
	for {
		log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		cmd := exec.Command(server, n.args...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which then stops the nodes
		err = cmd.Start()
		log.Close()
		if err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
			<-ended
			return nil
		case err := <-ended:
			fmt.Printf("Node %d has ended (%v). It is started again in %v.\n", n.number, err, again)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
			fmt.Printf("Node %d starts.\n", n.number)
		}
	}
}

// awaitReady waits until all nodes answer reads, for which one has to lead.
func awaitReady(ctx context.Context, list []node) error {
	deadline := time.Now().Add(readyLimit)
	for _, n := range list {
		c := redis.NewClient(&redis.Options{Addr: n.address()})
		defer c.Close()
		for {
			err := c.Exists(ctx, "votes").Err()
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("node %d does not answer (%w); its log is %s", n.number, err, n.log)
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

func (n *node) address() string { return fmt.Sprintf("127.0.0.1:%d", n.port) }

func describe(ctx context.Context, list []node) {
	fmt.Println("Three nodes are one cluster:")
	for _, n := range list {
		c := redis.NewClient(&redis.Options{Addr: n.address()})
		info := c.Info(ctx, "server", "replication").Val()
		c.Close()
		role := "follows"
		if strings.Contains(info, "\nraft_leader:1") {
			role = "leads"
		}
		fmt.Printf("  node %d   %s   %s, process %s\n", n.number, n.address(), role, field(info, "process_id"))
	}
	first := list[0].port
	fmt.Printf(`Try, in another terminal:
  redis-cli -p %d INCR votes      count through any node
  redis-cli -p %d GET votes       and read through any other
  kill -9 the process that leads, and go on counting through the others
Ctrl-C stops all three.
`, first, first+1)
}

// field is the value of a line of INFO.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}
