package console

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	keptWarnings = 100
	warningBytes = 500
)

// Warnings keeps the last lines of the log that are warnings or errors.
type Warnings struct {
	mu   sync.Mutex // a leaf
	ring []warning  // oldest first
}

// warning is a line of the log.
type warning struct {
	At    int64  `json:"at"` // ms since 1970
	Level string `json:"level"`
	Text  string `json:"text"`
}

// Beside is a handler that keeps warnings, and hands everything on.
func (w *Warnings) Beside(next slog.Handler) slog.Handler { return &keeper{next: next, to: w} }

func (w *Warnings) add(line warning) {
	line.Text = printable([]byte(line.Text)[:min(len(line.Text), warningBytes)])
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ring) == keptWarnings {
		w.ring = slices.Delete(w.ring, 0, 1)
	}
	w.ring = append(w.ring, line)
}

// lines are those that are kept, the newest first.
func (w *Warnings) lines() []warning {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := append([]warning{}, w.ring...)
	slices.Reverse(list)
	return list
}

// keeper is the handler. Attributes of a group have its name in front, as in a line of text.
type keeper struct {
	next   slog.Handler
	to     *Warnings
	prefix string // of attributes
	attrs  string // " name=value" of those that all lines have
}

// Enabled implements slog.Handler. A log that shows errors only is no reason not to show warnings here.
func (k *keeper) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || k.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (k *keeper) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		text := r.Message + k.attrs
		r.Attrs(func(a slog.Attr) bool {
			text = k.append(text, a)
			return len(text) < warningBytes
		})
		at := r.Time
		if at.IsZero() {
			at = time.Now()
		}
		k.to.add(warning{at.UnixMilli(), r.Level.String(), text})
	}
	if !k.next.Enabled(ctx, r.Level) {
		return nil
	}
	return k.next.Handle(ctx, r)
}

// append appends an attribute. One that is large is cut; a value is made text once more for it, which a line of the log costs anyway.
func (k *keeper) append(text string, a slog.Attr) string {
	value := a.Value.Resolve().String()
	return text + fmt.Sprintf(" %s%s=%s", k.prefix, a.Key, value[:min(len(value), warningBytes)])
}

// WithAttrs implements slog.Handler.
func (k *keeper) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *k
	more.next = k.next.WithAttrs(attrs)
	for _, a := range attrs {
		more.attrs = k.append(more.attrs, a)
	}
	return &more
}

// WithGroup implements slog.Handler.
func (k *keeper) WithGroup(name string) slog.Handler {
	more := *k
	more.next = k.next.WithGroup(name)
	if name != "" {
		more.prefix += name + "."
	}
	return &more
}
