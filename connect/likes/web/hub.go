package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Hub tells browsers how things are, by server-sent events. It keeps the newest state of each kind, not a queue of events: a
// browser is sent what is new since it was last sent something, ten times a second at most, and one that takes nothing for
// a while is dropped. So it needs the same memory whatever happens and however slow they are, and no goroutine of its own:
// each browser is its request's.
type Hub struct {
	patience time.Duration // with a browser that takes nothing

	mu       sync.Mutex
	version  int64
	frames   []frame
	browsers map[chan struct{}]bool // each is woken by its channel, which has room for one
}

// frame is the newest state of a kind.
type frame struct {
	kind    string
	data    []byte // JSON
	version int64  // of the hub when it was set
}

const (
	browsersMax = 100
	paceTime    = 100 * time.Millisecond // between two events of a browser
	silentTime  = 15 * time.Second       // then a comment keeps the connection alive
)

// NewHub has nothing to tell yet.
func NewHub() *Hub { return &Hub{patience: 5 * time.Second, browsers: map[chan struct{}]bool{}} }

// Set says how things of a kind are now.
func (h *Hub) Set(kind string, state any) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.frame(kind)
	if bytes.Equal(f.data, data) {
		return nil
	}
	h.version++
	f.data, f.version = data, h.version
	for wake := range h.browsers {
		select {
		case wake <- struct{}{}:
		default: // it is awake, or will be
		}
	}
	return nil
}

func (h *Hub) frame(kind string) *frame {
	for i := range h.frames {
		if h.frames[i].kind == kind {
			return &h.frames[i]
		}
	}
	h.frames = append(h.frames, frame{kind: kind})
	return &h.frames[len(h.frames)-1]
}

// since is what is new after a version, as events, and the version of now.
func (h *Hub) since(version int64) ([]byte, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var events []byte
	for _, f := range h.frames {
		if f.version > version {
			events = fmt.Appendf(events, "event: %s\ndata: %s\n\n", f.kind, f.data)
		}
	}
	return events, h.version
}

// enter is nil if there are too many browsers.
func (h *Hub) enter() chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.browsers) >= browsersMax {
		return nil
	}
	wake := make(chan struct{}, 1)
	h.browsers[wake] = true
	return wake
}

func (h *Hub) leave(wake chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.browsers, wake)
}

// ServeHTTP tells one browser until it goes away.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	wake := h.enter()
	if wake == nil {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer h.leave(wake)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	silence := time.NewTicker(silentTime)
	defer silence.Stop()
	for version := int64(0); ; {
		events, now := h.since(version)
		version = now
		if len(events) == 0 {
			events = []byte(":\n\n")
		}
		if out.SetWriteDeadline(time.Now().Add(h.patience)) != nil {
			return
		}
		if _, err := w.Write(events); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(paceTime):
		}
		select {
		case <-r.Context().Done():
			return
		case <-wake:
		case <-silence.C:
		}
	}
}
