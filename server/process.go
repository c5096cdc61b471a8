package server

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"quipu/config"
	"quipu/internal/sdnotify"
)

// newLogger writes to standard error in text form, with times, at a level that CONFIG SET can change.
func newLogger(level slog.Level) (*slog.Logger, *slog.LevelVar) {
	v := new(slog.LevelVar)
	v.Set(level)
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: v})), v
}

func (srv *Server) setLogLevel(level slog.Level) {
	if srv.logLevel != nil {
		srv.logLevel.Set(level)
	}
}

// ballastBytes is memory on the Go heap that is never touched, and so never resident: the collector waits until the heap
// has doubled, and without it that means every few MiB, because the data is not on the heap. At Go's default INCR at
// pipeline 100 lost 5 to 10 %; with it up to 20 MiB more may be resident until the node rests (giveback.go). A higher GOGC would do the same for the small
// heap, but let a large one, of replies to clients that do not read, grow several times over.
const ballastBytes = 16 << 20

// Main runs a node as a process does: it logs to standard error, tells the service manager how it is doing, reads its certificates
// again on SIGHUP, and stops when ctx ends.
func Main(ctx context.Context, cfg config.Config) error {
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	log, level := newLogger(cfg.LogLevel)
	for _, g := range cfg.Ignored {
		log.Warn("ignored in the configuration file", "directives", strings.Join(g.Names, " "), "because", g.Why)
	}
	files := cfg.MaxClients
	if cfg.TLS.Port != 0 {
		files += cfg.TLS.Handshakes
	}
	raiseFileLimit(log, files)
	hangUp := make(chan os.Signal, 1) // one is enough: whoever sends it while certificates are read has them read again
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	manager := sdnotify.FromEnviron(os.Getenv)
	if err := manager.Tell("STATUS=opening the data, or waiting for the nodes that found the cluster"); err != nil {
		log.Warn("the service manager cannot be told how the node is doing", "error", err)
	}
	srv, err := New(ctx, cfg, log)
	if err != nil {
		return err
	}
	srv.logLevel = level
	done := make(chan struct{})
	defer close(done)
	go srv.reloadOn(hangUp, done)
	go srv.reportTo(ctx, manager, done)
	return srv.Run(ctx)
}

// reloadOn reads the certificates again at each signal, until done.
func (srv *Server) reloadOn(signals <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case <-signals:
			srv.log.Info("SIGHUP: loading the certificates again")
			srv.ReloadTLS()
		case <-done:
			return
		}
	}
}

// raiseFileLimit asks the system for as many file descriptors as connections need.
func raiseFileLimit(log *slog.Logger, connections int) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	want := uint64(connections + reservedFiles)
	if limit.Cur >= want {
		return
	}
	limit.Cur = min(want, limit.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < want {
		log.Warn("the limit on open files is below maxclients", "limit", limit.Cur, "needed", want, "error", err)
	}
}

const reservedFiles = 64 // file descriptors kept for the log, snapshots and listeners

// clientFiles is how many file descriptors there are for connections of clients.
func clientFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1 << 30
	}
	return max(1, int(min(limit.Cur, 1<<30))-reservedFiles)
}

// maxClients is the limit in force: never more than the process has file descriptors for, beside handshakes of TLS.
func (srv *Server) maxClients(cfg *config.Config) int {
	return min(cfg.MaxClients, max(1, clientFiles()-srv.maxHandshakes(cfg)))
}

// maxHandshakes is the limit in force for TLS handshakes under way: those are not clients yet, and have at most a quarter of
// the file descriptors.
func (srv *Server) maxHandshakes(cfg *config.Config) int {
	if cfg.TLS.Port == 0 {
		return 0
	}
	return min(cfg.TLS.Handshakes, max(1, clientFiles()/4))
}
