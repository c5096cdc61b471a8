// Package watch reads what became of the likes: counters by the change feed of a node, totals and likes a second from SQL,
// estimates of sketches by commands.
package watch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	lineMax    = 8 << 20 // bytes of one event: more than a page of a snapshot has
	silentMax  = 20 * time.Second
	againPause = 100 * time.Millisecond
)

// Feed keeps the counters whose names begin with a prefix, as the change feed tells them. It reads from one node; when that does not
// answer any more, from the next one, from the place where it has come to.
type Feed struct {
	urls   []string // of /feed, by node
	prefix string
	cursor string // the last one read; Run's

	mu    sync.Mutex
	rows  map[string]row
	total int64
	node  int // that it reads from, -1 when from none
}

type row struct {
	value int64
	index uint64
}

// NewFeed is of nodes whose feeds listen at addrs.
func NewFeed(addrs []string, prefix string) *Feed {
	f := &Feed{prefix: prefix, rows: map[string]row{}, node: -1}
	for _, addr := range addrs {
		f.urls = append(f.urls, "http://"+addr+"/feed?snapshot=1&interval=100&match="+url.QueryEscape(prefix+"*"))
	}
	return f
}

// Total is the sum of all counters.
func (f *Feed) Total() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// Values are the counters by what is behind the prefix, and their sum.
func (f *Feed) Values() (map[string]int64, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	values := make(map[string]int64, len(f.rows))
	for name, r := range f.rows {
		values[name] = r.value
	}
	return values, f.total
}

// Value is one of the counters.
func (f *Feed) Value(name string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rows[name].value
}

// Node is the number of the node that it reads from, from 0 on, -1 while it looks for one.
func (f *Feed) Node() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.node
}

// Run follows the feed until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	for node := 0; ctx.Err() == nil; node = (node + 1) % len(f.urls) {
		_ = f.follow(ctx, node) // whatever it was, another node may do better
		f.mu.Lock()
		f.node = -1
		f.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(againPause):
		}
	}
}

// follow reads the feed of one node until it ends.
func (f *Feed) follow(ctx context.Context, node int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(silentMax, cancel)
	defer silence.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.urls[node], nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if f.cursor != "" {
		req.Header.Set("Last-Event-ID", f.cursor)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("feed: %s", resp.Status)
	}
	f.mu.Lock()
	f.node = node
	f.mu.Unlock()
	return readEvents(resp.Body, func() { silence.Reset(silentMax) }, f.event)
}

// event is one of the feed's. After a gap a snapshot follows by itself; keys that are gone would show by its not having them, but
// the demo deletes none.
func (f *Feed) event(name, id, data string) error {
	if name == "gap" {
		f.cursor = ""
		return nil
	}
	if err := f.apply([]byte(data)); err != nil {
		return err
	}
	if id != "" {
		f.cursor = id
	}
	return nil
}

// apply takes the rows of an event.
func (f *Feed) apply(data []byte) error {
	var event struct {
		Rows []struct {
			Key   string          `json:"key"`
			Kind  string          `json:"kind"`
			Value json.RawMessage `json:"value"`
			Index uint64          `json:"index"`
		} `json:"rows"`
	}
	if err := json.Unmarshal(data, &event); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range event.Rows {
		name, ours := strings.CutPrefix(r.Key, f.prefix)
		if !ours || r.Index < f.rows[name].index {
			continue
		}
		var value int64
		if r.Kind == "counter" {
			if err := json.Unmarshal(r.Value, &value); err != nil {
				return fmt.Errorf("feed: the counter %s: %w", r.Key, err)
			}
		}
		f.total += value - f.rows[name].value
		f.rows[name] = row{value, r.Index}
	}
	return nil
}

var errLong = errors.New("feed: an event is too long")

// readEvents reads server-sent events; heard is told of every line, comments too.
func readEvents(from io.Reader, heard func(), event func(name, id, data string) error) error {
	in := bufio.NewScanner(from)
	in.Buffer(make([]byte, 0, 64<<10), lineMax)
	var name, id string
	var data strings.Builder
	for in.Scan() {
		heard()
		line := in.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if data.Len() > 0 || name != "" {
				if err := event(name, id, data.String()); err != nil {
					return err
				}
			}
			name, id = "", ""
			data.Reset()
		case field == "event":
			name = value
		case field == "id":
			id = value
		case field == "data":
			if data.Len()+len(value) > lineMax {
				return errLong
			}
			if data.Len() > 0 {
				data.WriteByte('\n')
			}
			data.WriteString(value)
		}
	}
	return in.Err()
}
