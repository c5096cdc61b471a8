package browser

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// infoWatch asks INFO twenty times a second. What the page shows was sampled in the last seconds: so it lies between the least and the
// most that INFO has said in them, and where a figure does not change, is the same.
type infoWatch struct {
	mu   sync.Mutex
	list []infoAt
}

type infoAt struct {
	at     time.Time
	fields map[string]string
}

const infoKept = 4 * time.Second

func watchInfo(t *testing.T, s *redistest.Server) *infoWatch {
	t.Helper()
	w := &infoWatch{}
	c := s.Dial(t)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			r, err := c.Do("INFO", "default", "commandstats", "latencystats")
			if err != nil || r.IsError() {
				t.Errorf("INFO: %v %s", err, r.Text)
				return
			}
			w.add(r.Text)
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-ended
		c.Close()
	})
	return w
}

func (w *infoWatch) add(text string) {
	fields := map[string]string{}
	for line := range strings.SplitSeq(text, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = value
		}
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, infoAt{now, fields})
	for now.Sub(w.list[0].at) > infoKept {
		w.list = w.list[1:]
	}
}

// field is a part of a line, "calls" of "calls=1,usec=2", or the line if part is empty.
func field(line, part string) string {
	if part == "" {
		return line
	}
	for word := range strings.SplitSeq(line, ",") {
		if value, ok := strings.CutPrefix(word, part+"="); ok {
			return value
		}
	}
	return ""
}

// last is what INFO has said last.
func (w *infoWatch) last(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.list) == 0 {
		return ""
	}
	return w.list[len(w.list)-1].fields[name]
}

// agrees reports whether a figure of the page is one that INFO has shown.
func (w *infoWatch) agrees(shown, name, part string) (ok bool, low, high float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, isNumber := figure(shown)
	for i, at := range w.list {
		said, isNumberToo := figure(field(at.fields[name], part))
		if !isNumberToo {
			return false, 0, 0
		}
		if i == 0 {
			low, high = said, said
		}
		low, high = min(low, said), max(high, said)
	}
	return isNumber && len(w.list) > 0 && n >= low && n <= high, low, high
}

// figure reads "1,234", "21.92M" and the like.
func figure(text string) (float64, bool) {
	if text == "?" { // INFO has -1 for what is not known
		return -1, true
	}
	text = strings.ReplaceAll(text, ",", "")
	unit := 1.0
	for i, u := range []string{"B", "K", "M", "G", "T"} {
		if rest, ok := strings.CutSuffix(text, u); ok {
			text = rest
			for range i {
				unit *= 1024
			}
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	return n * unit, err == nil
}
