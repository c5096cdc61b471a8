// Command etcd is one client of an etcd cluster, for `bench -only etcd`: it puts one key after the other through the node that
// leads, and prints the median of the times in nanoseconds. It is a module of its own, so that etcd's client and gRPC are no
// dependencies of Quipu.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() {
	endpoints := flag.String("endpoints", "", "client addresses of the nodes, host:port, with commas")
	duration := flag.Duration("duration", time.Second, "how long to measure")
	keys := flag.Int("keys", 1000, "number of keys")
	flag.Parse()
	times, err := run(strings.Split(*endpoints, ","), *duration, *keys)
	if err != nil {
		log.Fatal(err)
	}
	slices.Sort(times)
	fmt.Println(times[len(times)/2].Nanoseconds())
}

func run(endpoints []string, duration time.Duration, keys int) (times []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), duration+20*time.Second)
	defer cancel()
	leader, err := leaderOf(ctx, endpoints)
	if err != nil {
		return nil, err
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{leader}, DialTimeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for begin := time.Now(); time.Since(begin) < duration; {
		start := time.Now()
		if _, err := c.Put(ctx, fmt.Sprintf("counter:%d", len(times)%keys), fmt.Sprint(len(times))); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}

// leaderOf asks all nodes which of them leads.
func leaderOf(ctx context.Context, endpoints []string) (string, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second})
	if err != nil {
		return "", err
	}
	defer c.Close()
	for _, e := range endpoints {
		if s, err := c.Status(ctx, e); err == nil && s.Leader != 0 && s.Leader == s.Header.MemberId {
			return e, nil
		}
	}
	return "", errors.New("no node of etcd leads")
}
