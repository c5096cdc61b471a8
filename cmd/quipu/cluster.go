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
	"quipu/internal/manual"
)

// clusterVerbs are what quipu cluster does.
var clusterVerbs = []manual.Word{
	{Name: "status", Summary: "the nodes; exit status 0: healthy, 1: degraded, 2: no quorum, or nobody answers"},
	{Name: "wait", Summary: "wait until the cluster is healthy"},
	{Name: "add", Args: "PEER-ADDRESS", Summary: "say how to start a node that joins, and wait until it has caught up"},
	{Name: "promote", Args: "NODE", Summary: "make a non-voter that has caught up a voter"},
	{Name: "remove", Args: "NODE", Summary: "take a node out for good"},
	{Name: "replace", Args: "NODE PEER-ADDRESS", Summary: "take out a node whose disk is lost, and add the one in its place"},
	{Name: "transfer", Args: "[NODE]", Summary: "have another voter lead"},
	{Name: "compare", Summary: "compare a checksum of all keys on all nodes"},
	{Name: "upgrade", Summary: "raise the semantics level to what all nodes know, after all have a new version"},
}

func clusterUsage(f *flag.FlagSet) {
	w := f.Output()
	fmt.Fprintln(w, "quipu cluster looks after a cluster that runs. It asks any of its nodes, as a client does.")
	fmt.Fprintln(w)
	for _, v := range clusterVerbs {
		fmt.Fprintf(w, "  %-28s %s\n", strings.TrimSpace(v.Name+" "+v.Args), v.Summary)
	}
	fmt.Fprint(w, "\nNODE is the ID, or enough of it from the front.\n\n")
	f.PrintDefaults()
}

// clusterOptions is what the flags of quipu cluster say.
type clusterOptions struct {
	reach func() (*admin.Cluster, error)
	wait  *time.Duration
	voter *bool
}

func clusterFlags() (*flag.FlagSet, clusterOptions) {
	f := flag.NewFlagSet("quipu cluster", flag.ContinueOnError)
	f.Usage = func() { clusterUsage(f) }
	return f, clusterOptions{
		reach: nodeFlags(f, "`addresses` of nodes, for clients, separated by commas; the first that answers is asked"),
		wait:  f.Duration("wait", 10*time.Minute, "how long to wait for a node that joins, or for a change"),
		voter: f.Bool("voter", false, "of add: make the node a voter although the cluster has as many as it wants"),
	}
}

// runCluster is quipu cluster; the exit status is 0, or that of the cluster's health.
func runCluster(args []string) int {
	f, o := clusterFlags()
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
	ctx, cancel := context.WithTimeout(ctx, *o.wait)
	defer cancel()
	c, err := o.reach()
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
	work := clusterWork(c, verb, words, *o.voter)
	if work == nil {
		f.Usage()
		return 2
	}
	return statusOf(work(ctx))
}

func pingFlags() (*flag.FlagSet, func() (*admin.Cluster, error)) {
	f := flag.NewFlagSet("quipu ping", flag.ContinueOnError)
	return f, nodeFlags(f, "`address` of the node, for clients")
}

// runPing is quipu ping.
func runPing(args []string) int {
	f, reach := pingFlags()
	words, err := interspersed(f, args)
	if status, over := usageStatus(err, len(words) == 0, "quipu ping [--addr HOST:PORT]"); over {
		return status
	}
	c, err := reach()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quipu:", err)
		return 2
	}
	return statusOf(c.Ping(context.Background()))
}

// nodeFlags are the flags of who asks nodes that run; those of TLS are called as redis-cli's. reach is called when they are set.
func nodeFlags(f *flag.FlagSet, usage string) (reach func() (*admin.Cluster, error)) {
	addr := f.String("addr", "127.0.0.1:6379", usage)
	user := f.String("user", "", "`name` of a user of the nodes; by default the default user")
	password := f.String("password", "", "of the nodes; by default what QUIPU_REQUIREPASS says") // as a default of the flag, help would show it
	secure := f.Bool("tls", false, "connect with TLS; the other flags below are for this")
	authority := f.String("cacert", "", "`file` with the authorities that sign the nodes' certificates; by default those of the system")
	cert := f.String("cert", "", "`file` with a certificate to show to nodes")
	key := f.String("key", "", "`file` with its key")
	return func() (*admin.Cluster, error) {
		if *password == "" {
			*password = os.Getenv("QUIPU_REQUIREPASS")
		}
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
