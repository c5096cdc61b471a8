// Command kfake is a Kafka broker for where there is no Java: kfake of franz-go as a process. Everything is synced to the
// folder of the data, and a start after kill -9 goes on with it.
//
//	go run ./testbed/kfake -addr 127.0.0.1:19092 -dir kfake-data -topics likes:4,flights:4
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:19092", "`address` to listen on, of the host 127.0.0.1")
	dir := flag.String("dir", "kfake-data", "`folder` of the data")
	topics := flag.String("topics", "", "`topics` to make in an empty folder, as name:partitions, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *dir, *topics); err != nil {
		fmt.Fprintln(os.Stderr, "kfake:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, addr, dir, topics string) error {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || host != "127.0.0.1" {
		return fmt.Errorf("%q is no address of the form 127.0.0.1:port", addr) // kfake listens on no other host
	}
	opts := []kfake.Opt{kfake.Ports(int(port)), kfake.DataDir(dir), kfake.SyncWrites(), kfake.DefaultNumPartitions(4)}
	for topic := range strings.SplitSeq(topics, ",") {
		if topic == "" {
			continue
		}
		name, digits, _ := strings.Cut(topic, ":")
		partitions, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || partitions == 0 || name == "" {
			return fmt.Errorf("%q is no topic of the form name:partitions", topic)
		}
		opts = append(opts, kfake.SeedTopics(int32(partitions), name))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return err
	}
	fmt.Printf("kfake is ready: %s (process %d, data in %s)\n", addr, os.Getpid(), dir)
	<-ctx.Done()
	cluster.Close()
	return nil
}
