package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"quipu/internal/admin"
)

const clusterUsage = `quipu cluster looks after a cluster that runs. It asks any of its nodes, as a client does.

  status                       the nodes; exit status 0: healthy, 1: degraded, 2: no quorum, or nobody answers
  wait                         wait until the cluster is healthy
  add PEER-ADDRESS             say how to start a node that joins, and wait until it has caught up
  promote NODE                 make a non-voter that has caught up a voter
  remove NODE                  take a node out for good
  replace NODE PEER-ADDRESS    take out a node whose disk is lost, and add the one in its place
  transfer [NODE]              have another voter lead
  compare                      compare a checksum of all keys on all nodes
  upgrade                      raise the semantics level to what all nodes know, after all have a new version

NODE is the ID, or enough of it from the front.
`

// runCluster is quipu cluster; the exit status is 0, or that of the cluster's health.
func runCluster(args []string) int {
	f := flag.NewFlagSet("quipu cluster", flag.ContinueOnError)
	reach := nodeFlags(f, "`addresses` of nodes, for clients, separated by commas; the first that answers is asked")
	wait := f.Duration("wait", 10*time.Minute, "how long to wait for a node that joins, or for a change")
	voter := f.Bool("voter", false, "of add: make the node a voter although the cluster has as many as it wants")
	f.Usage = func() { fmt.Fprint(f.Output(), clusterUsage, "\n"); f.PrintDefaults() }
	words, err := interspersed(f, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err == nil && len(words) == 0:
		f.Usage()
		return 2
	case err != nil:
		return 2
	}
	verb, words := words[0], words[1:]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *wait)
	defer cancel()
	c, err := reach()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quipu:", err)
		return 2
	}
	if verb == "status" && len(words) == 0 {
		st, err := c.Status(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, "quipu:", err)
			return int(admin.NoQuorum)
		}
		return int(st.Print(os.Stdout))
	}
	work := clusterWork(c, verb, words, *voter)
	if work == nil {
		f.Usage()
		return 2
	}
	return statusOf(work(ctx))
}

// nodeFlags are the flags of who asks nodes that run; those of TLS are called as redis-cli's. reach is called when they are set.
func nodeFlags(f *flag.FlagSet, usage string) (reach func() (*admin.Cluster, error)) {
	addr := f.String("addr", "127.0.0.1:6379", usage)
	user := f.String("user", "", "`name` of a user of the nodes; by default the default user")
	password := f.String("password", os.Getenv("QUIPU_REQUIREPASS"), "of the nodes; by default what QUIPU_REQUIREPASS says")
	secure := f.Bool("tls", false, "connect with TLS; the other flags below are for this")
	authority := f.String("cacert", "", "`file` with the authorities that sign the nodes' certificates; by default those of the system")
	cert := f.String("cert", "", "`file` with a certificate to show to nodes")
	key := f.String("key", "", "`file` with its key")
	return func() (*admin.Cluster, error) {
		c := &admin.Cluster{Addresses: strings.Split(*addr, ","), User: *user, Password: *password, Out: os.Stdout}
		if !*secure {
			return c, nil
		}
		config, err := clientTLS(*authority, *cert, *key)
		c.TLS = config
		return c, err
	}
}

// clusterWork is what to do for a verb and its words; nil: there is no such thing.
func clusterWork(c *admin.Cluster, verb string, words []string, voter bool) func(ctx context.Context) error {
	switch {
	case verb == "add" && len(words) == 1:
		return func(ctx context.Context) error { return c.Add(ctx, words[0], voter) }
	case verb == "promote" && len(words) == 1:
		return func(ctx context.Context) error { return c.Promote(ctx, words[0]) }
	case verb == "remove" && len(words) == 1:
		return func(ctx context.Context) error { return c.Remove(ctx, words[0]) }
	case verb == "replace" && len(words) == 2:
		return func(ctx context.Context) error { return c.Replace(ctx, words[0], words[1]) }
	case verb == "transfer" && len(words) <= 1:
		return func(ctx context.Context) error { return c.Transfer(ctx, strings.Join(words, "")) }
	case verb == "wait" && len(words) == 0:
		return c.Wait
	case verb == "compare" && len(words) == 0:
		return c.Compare
	case verb == "upgrade" && len(words) == 0:
		return c.Upgrade
	}
	return nil
}

// interspersed parses flags wherever they stand among the words.
func interspersed(f *flag.FlagSet, args []string) (words []string, err error) {
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		if args = f.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	return words, nil
}
