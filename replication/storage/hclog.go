package storage

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// hclogger passes what Raft and raft-wal log on to slog. Their Info is our Debug, except elections: an operator who reads
// Info wants to know of those.
type hclogger struct {
	log  *slog.Logger
	name string
}

// NewHCLog is a logger for Raft or raft-wal, whose name becomes the component of each message.
func NewHCLog(log *slog.Logger, name string) hclog.Logger {
	return &hclogger{log: log.With("component", name), name: name}
}

func slogLevel(level hclog.Level, msg string) slog.Level {
	switch level {
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	case hclog.Info:
		if strings.Contains(msg, "leader state") || strings.Contains(msg, "election won") {
			return slog.LevelInfo
		}
	}
	return slog.LevelDebug
}

// Log implements hclog.Logger.
func (h *hclogger) Log(level hclog.Level, msg string, args ...any) {
	lv := slogLevel(level, msg)
	if !h.log.Enabled(context.Background(), lv) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	h.log.Log(context.Background(), lv, msg, args...)
}

func (h *hclogger) Trace(msg string, args ...any) { h.Log(hclog.Trace, msg, args...) }
func (h *hclogger) Debug(msg string, args ...any) { h.Log(hclog.Debug, msg, args...) }
func (h *hclogger) Info(msg string, args ...any)  { h.Log(hclog.Info, msg, args...) }
func (h *hclogger) Warn(msg string, args ...any)  { h.Log(hclog.Warn, msg, args...) }
func (h *hclogger) Error(msg string, args ...any) { h.Log(hclog.Error, msg, args...) }

func (h *hclogger) IsTrace() bool { return false }
func (h *hclogger) IsDebug() bool { return h.log.Enabled(context.Background(), slog.LevelDebug) }
func (h *hclogger) IsInfo() bool  { return h.IsDebug() }
func (h *hclogger) IsWarn() bool  { return h.log.Enabled(context.Background(), slog.LevelWarn) }
func (h *hclogger) IsError() bool { return h.log.Enabled(context.Background(), slog.LevelError) }

func (h *hclogger) ImpliedArgs() []any { return nil }
func (h *hclogger) With(args ...any) hclog.Logger {
	return &hclogger{log: h.log.With(args...), name: h.name}
}
func (h *hclogger) Name() string { return h.name }
func (h *hclogger) Named(name string) hclog.Logger {
	return h.ResetNamed(h.name + "." + name)
}
func (h *hclogger) ResetNamed(name string) hclog.Logger { return &hclogger{log: h.log, name: name} }
func (h *hclogger) SetLevel(hclog.Level)                {}
func (h *hclogger) GetLevel() hclog.Level {
	if h.IsDebug() {
		return hclog.Debug
	}
	return hclog.Warn
}

func (h *hclogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(h.StandardWriter(nil), "", 0)
}

func (h *hclogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return hclogWriter{h} }

type hclogWriter struct{ h *hclogger }

func (w hclogWriter) Write(p []byte) (int, error) {
	w.h.Warn(strings.TrimSpace(string(p)))
	return len(p), nil
}
