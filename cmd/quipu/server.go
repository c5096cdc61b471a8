package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"quipu/config"
	"quipu/server"
)

// runServer starts a node and returns when it has stopped: 0 after a graceful stop, 1 after a failure, 2 for a
// configuration that cannot work.
func runServer(args []string) int {
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		program().ServerHelp(os.Stdout)
		return 0
	}
	cfg, err := config.Load(args, os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, "quipu:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := server.Main(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, "quipu:", err)
		return 1
	}
	return 0
}
