package watch

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestFeed: rows are absolute and newer ones win; when a node goes away the next one is asked to go on from the last cursor;
// after a gap it begins with a snapshot.
func TestFeed(t *testing.T) {
	var asked atomic.Int64
	ids := make(chan string, 10)
	serve := func(text string, stay bool) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if r.URL.Query().Get("match") != "likes:p*" || r.URL.Query().Get("snapshot") != "1" {
				t.Errorf("asked for %s", r.URL)
			}
			select {
			case ids <- r.Header.Get("Last-Event-ID"):
			default:
			}
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, text)
			w.(http.Flusher).Flush()
			if stay {
				<-r.Context().Done()
			}
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	event := func(cursor, rows string) string {
		return "id: " + cursor + "\ndata: {\"rows\":[" + rows + "],\"stamp\":1}\n\n"
	}
	first := serve(":\n\n"+event("7:10", `{"key":"likes:p1","kind":"counter","value":5,"deadline":0,"index":9},{"key":"likes:p2","kind":"counter","value":1,"deadline":0,"index":3}`), false)
	gap := serve("event: gap\ndata: {}\n\n", false)
	last := serve(event("7:30", `{"key":"likes:p1","kind":"counter","value":4,"deadline":0,"index":8},{"key":"likes:p2","kind":"counter","value":11,"deadline":0,"index":30}`), true)
	f := NewFeed([]string{first, gap, last}, "likes:p")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { f.Run(ctx); close(ended) }()
	for end := time.Now().Add(20 * time.Second); f.Total() != 16; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the sum is %d, want 16 = 5 + 11", f.Total())
		}
	}
	if values, total := f.Values(); values["p1"] != 0 || values["1"] != 5 || values["2"] != 11 || total != 16 {
		t.Errorf("values %v, sum %d", values, total)
	}
	if node := f.Node(); node != 2 {
		t.Errorf("it reads from node %d", node)
	}
	for i, want := range []string{"", "7:10", ""} {
		if got := <-ids; got != want {
			t.Errorf("request %d asked to go on after %q, want %q", i, got, want)
		}
	}
	stop()
	<-ended
}

func TestReadEvents(t *testing.T) {
	var got []string
	text := ": hello\n\nid: 1\ndata: a\ndata: b\n\nevent: gap\n\nid:2\ndata:c\n\ndata: never ended"
	if err := readEvents(strings.NewReader(text), func() {}, func(name, id, data string) error {
		got = append(got, name+"/"+id+"/"+data)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(got, " "); all != "/1/a\nb gap// /2/c" {
		t.Errorf("%q", all)
	}
}
