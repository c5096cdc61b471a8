package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"quipu/config"
)

// eventStream is one client of /feed.
type eventStream struct {
	t      *testing.T
	body   *bufio.Reader
	cancel context.CancelFunc
	id     string
	known  map[string]string
}

func (n *testNode) stream(query, lastID string) *eventStream {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	n.t.Cleanup(cancel)
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+n.srv.http.addr.String()+"/feed?"+query, nil)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		n.t.Fatal(resp.Status)
	}
	return &eventStream{t: n.t.(*testing.T), body: bufio.NewReader(resp.Body), cancel: cancel, known: map[string]string{}}
}

// event reads one event, and returns its name.
func (s *eventStream) event() (name string) {
	s.t.Helper()
	data := ""
	for {
		line, err := s.body.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "":
			if data == "" {
				continue
			}
			var e feedEvent
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				s.t.Fatal(err)
			}
			for _, row := range e.Rows {
				s.known[row.Key] = fmt.Sprint(row.Kind, " ", row.Value)
			}
			return name
		case "id":
			s.id = value
		case "data":
			data = value
		case "event":
			name = value
		}
	}
}

func (s *eventStream) until(key, want string) {
	s.t.Helper()
	for range 1000 {
		if s.known[key] == want {
			return
		}
		s.event()
	}
	s.t.Fatalf("%s is %q, want %q", key, s.known[key], want)
}

func withHTTP(change func(*config.Config)) func(*config.Config) {
	return func(c *config.Config) {
		c.HTTPAddr = "127.0.0.1:0"
		if change != nil {
			change(c)
		}
	}
}

// TestFeedStream: a browser gets everything, then what changes; it goes on where it was after its connection broke, and is told of a gap.
func TestFeedStream(t *testing.T) {
	n := startNode(t, withHTTP(func(c *config.Config) { c.FeedRing = 1 }))
	c := n.dial()
	expect(t, c, "SET likes:1 5", "+OK\r\n", "SET other 1", "+OK\r\n", "SET likes:text abc", "+OK\r\n")
	s := n.stream("match=likes:*&snapshot=1&interval=10", "")
	s.until("likes:1", "counter 5")
	expect(t, c, "INCR likes:1", ":6\r\n", "INCR other", ":2\r\n", "DEL likes:text", ":1\r\n")
	s.until("likes:1", "counter 6")
	s.until("likes:text", "none <nil>")
	if _, there := s.known["other"]; there {
		t.Error("a key that does not match")
	}
	s.cancel()
	expect(t, c, "INCR likes:2", ":1\r\n")
	again := n.stream("match=likes:*&interval=10", s.id)
	again.until("likes:2", "counter 1")
	if len(again.known) != 1 {
		t.Errorf("it had %v before", again.known)
	}
	again.cancel()
	var lines strings.Builder
	for i := range 120_000 {
		fmt.Fprintf(&lines, "SET likes:%d 9\r\n", i)
	}
	c.Send([]byte(lines.String()))
	for range 120_000 {
		readRaw(t, c)
	}
	late := n.stream("match=likes:*&interval=10&snapshot=1", again.id)
	if name := late.event(); name != "gap" {
		t.Errorf("the first event is %q", name)
	}
	for len(late.known) < 120_000 {
		late.event()
	}
}

// TestHTTPDoor: who is let in, and what is answered to others.
func TestHTTPDoor(t *testing.T) {
	get := func(n *testNode, path, host string, auth ...string) int {
		t.Helper()
		req, _ := http.NewRequest("GET", "http://"+n.srv.http.addr.String()+path, nil)
		if host != "" {
			req.Host = host
		}
		if len(auth) == 1 {
			req.Header.Set("Authorization", "Bearer "+auth[0])
		} else if len(auth) == 2 {
			req.SetBasicAuth(auth[0], auth[1])
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		resp, err := http.DefaultClient.Do(req.WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	open := startNode(t, withHTTP(nil))
	locked := startNode(t, withHTTP(func(c *config.Config) { c.RequirePass = "secret"; c.AuthFailures = 3 }))
	none := startNode(t, withHTTP(func(c *config.Config) { c.FeedRing = 0 }))
	for _, c := range []struct {
		node *testNode
		path string
		host string
		auth []string
		want int
	}{
		{open, "/feed", "", nil, 200},
		{open, "/feed", "localhost:99", nil, 200},
		{open, "/feed", "evil.example", nil, 403},
		{open, "/other", "", nil, 404},
		{open, "/feed?interval=1", "", nil, 400},
		{open, "/feed?db=16", "", nil, 400},
		{open, "/feed?snapshot=2", "", nil, 400},
		{open, "/feed?cursor=7", "", nil, 400},
		{open, "/feed?cursor=x:7", "", nil, 400},
		{none, "/feed", "", nil, 404},
		{locked, "/feed", "name.example", []string{"secret"}, 200},
		{locked, "/feed", "", []string{"any", "secret"}, 200},
		{locked, "/feed", "", nil, 401},
		{locked, "/feed", "", []string{"wrong"}, 401},
		{locked, "/feed", "", []string{"any", ""}, 401},
		{locked, "/feed", "", []string{"secret"}, 429}, // too many were wrong
	} {
		if got := get(c.node, c.path, c.host, c.auth...); got != c.want {
			t.Errorf("%s %s %v: %d, want %d", c.path, c.host, c.auth, got, c.want)
		}
	}
}

// TestHTTPStop: a node stops although clients of /feed do not go.
func TestHTTPStop(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	for range 20 {
		n.stream("interval=10", "")
	}
	begin := time.Now()
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
