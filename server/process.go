package server

import (
	"context"
	"log/slog"
	"os"
	"runtime"
	"syscall"

	"quipu/config"
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

// Main runs a node as a process does: it logs to standard error and stops gracefully on SIGTERM and SIGINT.
func Main(ctx context.Context, cfg config.Config) error {
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	log, level := newLogger(cfg.LogLevel)
	raiseFileLimit(log, cfg.MaxClients)
	srv, err := New(ctx, cfg, log)
	if err != nil {
		return err
	}
	srv.logLevel = level
	return srv.Run(ctx)
}

// raiseFileLimit asks the system for as many file descriptors as maxclients needs.
func raiseFileLimit(log *slog.Logger, maxClients int) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	want := uint64(maxClients + reservedFiles)
	if limit.Cur >= want {
		return
	}
	limit.Cur = min(want, limit.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < want {
		log.Warn("the limit on open files is below maxclients", "limit", limit.Cur, "maxclients", maxClients, "error", err)
	}
}

const reservedFiles = 64 // file descriptors kept for the log, snapshots and listeners

// maxClients is the limit in force: never more than the process has file descriptors for.
func (srv *Server) maxClients(cfg *config.Config) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return cfg.MaxClients
	}
	return min(cfg.MaxClients, max(1, int(min(limit.Cur, 1<<30))-reservedFiles))
}
