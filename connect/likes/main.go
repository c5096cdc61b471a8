// Command likes is a demonstration that a person can click: `make likes`. It starts three nodes of Quipu, a broker, two connectors
// with a sink into SQLite, and a web page, as processes on this machine; prints the URL of the page; and stops and removes
// everything on Ctrl-C. docs/likes.md draws it.
//
//	parts     runs the processes, and starts them again when they are killed
//	produce   makes likes and brings each into the topic exactly once
//	watch     reads what became of them: change feed, SQL, sketches
//	web       the page and what it talks to
//
// This package puts them together, and judges what a killed part has cost (audit.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// options are the program's command line.
type options struct {
	programs string
	broker   string
	kafka    string
	listen   string
}

func main() {
	var opt options
	flag.StringVar(&opt.programs, "programs", "bin", "`folder` of quipu, quipu-connect and kfake")
	flag.StringVar(&opt.broker, "broker", "kfake", "kfake, or kafka (needs Java)")
	flag.StringVar(&opt.kafka, "kafka", "connect/testbed/kafka/start.sh", "for -broker kafka: the `script` that starts it")
	flag.StringVar(&opt.listen, "listen", "127.0.0.1:8090", "`address` of the page")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Println("Starting three nodes, a broker and two connectors …")
	err := run(ctx, opt, func(_ *demo, url string) {
		fmt.Printf("\n  %s\n\nOpen it and click. Ctrl-C stops everything and removes its data.\n", url)
	})
	if err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "likes:", err)
		os.Exit(1)
	}
	fmt.Println("\nEverything has stopped, and its data is removed.")
}

// run runs the demo in a folder of its own, which it removes at the end.
func run(ctx context.Context, opt options, ready func(d *demo, url string)) (err error) {
	if opt.broker != "kfake" && opt.broker != "kafka" {
		return fmt.Errorf("the broker is kfake or kafka, not %q", opt.broker)
	}
	dir, err := os.MkdirTemp("", "quipu-likes-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := newDemo(dir, opt)
	if err != nil {
		return err
	}
	return d.run(ctx, opt.listen, ready)
}
