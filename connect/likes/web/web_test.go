package web

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// serve runs a server of the page, and returns its address.
func serve(t *testing.T, hub *Hub, demo Demo) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(l.Addr().String(), hub, demo)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-ended
	})
	return l.Addr().String()
}

func get(t *testing.T, addr, path string) *http.Response {
	t.Helper()
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func set(t *testing.T, h *Hub, kind string, state any) {
	t.Helper()
	if err := h.Set(kind, state); err != nil {
		t.Fatal(err)
	}
}

// next reads an event.
func next(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	text := ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\n" {
			return text
		}
		text += line
	}
}

// TestHub: a browser that comes gets all that is known, then what changes, each kind once however often it changed meanwhile.
func TestHub(t *testing.T) {
	h := NewHub()
	set(t, h, "numbers", 1)
	set(t, h, "log", []string{"a"})
	resp := get(t, serve(t, h, nil), "/events")
	in := bufio.NewReader(resp.Body)
	if got := next(t, in) + next(t, in); got != "event: numbers\ndata: 1\nevent: log\ndata: [\"a\"]\n" {
		t.Errorf("at first it is told %q", got)
	}
	for i := range 1000 {
		set(t, h, "numbers", i%7+1) // ends with 6
	}
	events, last := 0, ""
	for last != "event: numbers\ndata: 6\n" {
		last = next(t, in)
		events++
	}
	if events > 5 {
		t.Errorf("it is told of a thousand changes by %d events", events)
	}
	set(t, h, "numbers", 6) // nothing new
	set(t, h, "log", []string{"b"})
	if got := next(t, in); got != "event: log\ndata: [\"b\"]\n" {
		t.Errorf("then it is told %q", got)
	}
	resp.Body.Close()
	awaitBrowsers(t, h, 0)
}

func awaitBrowsers(t *testing.T, h *Hub, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		now := len(h.browsers)
		h.mu.Unlock()
		if now == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("there are %d browsers, want %d", now, n)
		}
	}
}

// TestSlow: a browser that takes nothing is dropped.
func TestSlow(t *testing.T) {
	h := NewHub()
	h.patience = 100 * time.Millisecond
	c, err := net.Dial("tcp", serve(t, h, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /events HTTP/1.1\r\nHost: "+c.RemoteAddr().String()+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	awaitBrowsers(t, h, 1)
	for _, text := range []string{"a", "b", "a", "b", "a", "b"} { // more than all buffers between hold
		set(t, h, "numbers", strings.Repeat(text, 8<<20))
		time.Sleep(paceTime)
	}
	awaitBrowsers(t, h, 0)
}

func TestManyBrowsers(t *testing.T) {
	h := NewHub()
	set(t, h, "numbers", 1)
	addr := serve(t, h, nil)
	for range browsersMax {
		next(t, bufio.NewReader(get(t, addr, "/events").Body))
	}
	if resp := get(t, addr, "/events"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more gets %s", resp.Status)
	}
}

// fake notes what the page asks for.
type fake struct{ asked []string }

func (f *fake) Like(_ context.Context, post string, _ int) (int64, error) {
	f.asked = append(f.asked, "like "+post)
	if post == "p0" {
		return 0, ErrWrong
	}
	return 7, nil
}

func (f *fake) Firehose(bool, int) { f.asked = append(f.asked, "firehose") }

func (f *fake) Kill(what string) error {
	f.asked = append(f.asked, "kill "+what)
	return errors.New("the broker does not run")
}

// TestRequests: what the server answers, and whom it does not let in.
func TestRequests(t *testing.T) {
	demo := &fake{}
	addr := serve(t, NewHub(), demo)
	for _, c := range []struct {
		name, method, path, host, site, body string
		status                               int
		reply                                string
	}{
		{"page", "GET", "/", "", "", "", 200, "<!doctype html>"},
		{"script", "GET", "/cords.js", "", "", "", 200, "// Cords"},
		{"no file", "GET", "/server.go", "", "", "", 404, ""},
		{"like", "POST", "/like", "", "same-origin", `{"post":"p1","visitor":3}`, 200, "7"},
		{"no such post", "POST", "/like", "", "", `{"post":"p0","visitor":3}`, 400, "no such thing"},
		{"more than asked", "POST", "/like", "", "", `{"post":"p1","n":1000}`, 400, "unknown field"},
		{"too long", "POST", "/like", "", "", `{"post":"` + strings.Repeat("p", 2000) + `"}`, 400, "too large"},
		{"firehose", "POST", "/firehose", "", "", `{"on":true,"rate":5}`, 200, "true"},
		{"kill", "POST", "/kill", "", "", `{"what":"broker"}`, 503, "does not run"},
		{"by link", "GET", "/kill", "", "", "", 404, ""},
		{"another page", "POST", "/kill", "", "cross-site", `{"what":"broker"}`, 403, ""},
		{"another name", "GET", "/", "evil.example", "", "", 403, ""},
	} {
		demo.asked = nil
		req, err := http.NewRequest(c.method, "http://"+addr+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.host != "" {
			req.Host = c.host
		}
		if c.site != "" {
			req.Header.Set("Sec-Fetch-Site", c.site)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || !strings.Contains(string(text), c.reply) {
			t.Errorf("%s: %s %.100q", c.name, resp.Status, text)
		}
		if c.status == 403 && len(demo.asked) > 0 {
			t.Errorf("%s: it did %v", c.name, demo.asked)
		}
		if c.status == 200 && resp.Header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: there is no policy", c.name)
		}
	}
}

func TestTitles(t *testing.T) {
	seen := map[string]int{}
	for rank := 1; rank <= 1000; rank++ {
		if other := seen[Title(rank)]; other > 0 {
			t.Fatalf("posts %d and %d are both %q", other, rank, Title(rank))
		}
		seen[Title(rank)] = rank
	}
}
