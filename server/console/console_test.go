package console

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeNode answers commands by their first word; what it has no answer for is unknown.
type fakeNode struct {
	open bool

	mu      sync.Mutex
	answers map[string]string
	asked   map[string]int
	delay   map[string]time.Duration
	dialled int
	conns   []net.Conn // the node's ends
}

func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func newFakeNode(open bool) *fakeNode {
	return &fakeNode{open: open, answers: map[string]string{
		"hello": "*0\r\n", "client": "+OK\r\n", "info": bulk("# Stats\r\ninstantaneous_ops_per_sec:7\r\n"), "latency": "*0\r\n", "acl": "*0\r\n", "ingest": "*0\r\n", "scan": "*2\r\n$1\r\n0\r\n*0\r\n",
	}, asked: map[string]int{}}
}

func (n *fakeNode) Open() bool   { return n.open }
func (n *fakeNode) Secret() bool { return true }

func (n *fakeNode) Dial(_, _ net.Addr) (net.Conn, error) {
	ours, theirs := net.Pipe()
	n.mu.Lock()
	n.dialled++
	n.conns = append(n.conns, theirs)
	n.mu.Unlock()
	go n.serve(theirs)
	return ours, nil
}

func (n *fakeNode) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r := reader{in, mostBytes}
		words, err := r.read(0)
		if err != nil || len(words.Elems) == 0 {
			return
		}
		name := strings.ToLower(string(words.Elems[0].Text))
		n.mu.Lock()
		n.asked[name]++
		answer, ok := n.answers[name]
		delay := n.delay[name]
		n.mu.Unlock()
		time.Sleep(delay)
		if !ok {
			answer = "-ERR unknown command\r\n"
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}

func (n *fakeNode) count(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[name]
}

// recorder is a ResponseWriter with deadlines.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetWriteDeadline(time.Time) error { return nil }

// ask sends a request, with a cookie's value if it is not empty.
func ask(c *Console, method, path, cookie, body string) *http.Response {
	return askFor(context.Background(), c, method, path, cookie, body)
}

// askFor is ask by a browser that leaves when ctx ends.
func askFor(ctx context.Context, c *Console, method, path, cookie, body string) *http.Response {
	r := httptest.NewRequest(method, Path+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:5000"
	r = r.WithContext(context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8379})))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: "quipu-console-8379", Value: cookie})
	}
	w := recorder{httptest.NewRecorder()}
	c.ServeHTTP(w, r)
	return w.Result()
}

func logIn(t *testing.T, c *Console, user string) (cookie string) {
	t.Helper()
	resp := ask(c, "POST", "login", "", fmt.Sprintf(`{"user":%q,"password":"x"}`, user))
	if resp.StatusCode != http.StatusNoContent || len(resp.Cookies()) != 1 {
		t.Fatal(resp.Status)
	}
	return resp.Cookies()[0].Value
}

// TestLoginEnds: a login ends when nobody has used it for half an hour, and after twelve hours whatever happens.
func TestLoginEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(newFakeNode(false), &Warnings{})
		defer c.Close()
		cookie := logIn(t, c, "a")
		time.Sleep(loginIdle - time.Second)
		if got := ask(c, "GET", "sample", cookie, "").StatusCode; got != 200 {
			t.Errorf("before it is idle for too long: %d", got)
		}
		time.Sleep(loginIdle + time.Second)
		if got := ask(c, "GET", "sample", cookie, "").StatusCode; got != 401 {
			t.Errorf("after it was idle for too long: %d", got)
		}
		cookie = logIn(t, c, "a")
		begun := time.Now()
		for ask(c, "GET", "sample", cookie, "").StatusCode == 200 {
			time.Sleep(10 * time.Minute)
		}
		if took := time.Since(begun); took < loginMost || took > loginMost+10*time.Minute {
			t.Errorf("it ended after %v", took)
		}
	})
}

// TestNobodyLooks: nothing is asked of the node, and no connection is open, while nobody looks.
func TestNobodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(true)
		c := New(n, &Warnings{})
		defer c.Close()
		for range 3 {
			if got := ask(c, "GET", "sample", "", "").StatusCode; got != 200 {
				t.Fatal(got)
			}
			time.Sleep(time.Second)
		}
		if n.dialled != 1 || n.count("info") != 3 {
			t.Errorf("%d connections, %d samples", n.dialled, n.count("info"))
		}
		time.Sleep(anybodyIdle + time.Second)
		c.mu.Lock()
		if c.anybody != nil || len(c.views) != 0 {
			t.Errorf("there is still %v, %d views", c.anybody, len(c.views))
		}
		c.mu.Unlock()
		time.Sleep(time.Hour)
		if n.count("info") != 3 {
			t.Errorf("%d samples", n.count("info"))
		}
	})
}

// TestRefusedIsNotAskedAgain: each refusal is noted by the node, so what was refused is asked for again after a while only.
func TestRefusedIsNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(true)
		n.answers["acl"] = "-NOPERM no\r\n"
		c := New(n, &Warnings{})
		defer c.Close()
		for range int(askAgain / time.Second) {
			if got := ask(c, "GET", "sample", "", "").StatusCode; got != 200 {
				t.Fatal(got)
			}
			time.Sleep(time.Second)
		}
		if n.count("hotkeys") != 1 || n.count("acl") != 1 || n.count("info") != 30 {
			t.Errorf("hotkeys was asked for %d times, acl %d, info %d", n.count("hotkeys"), n.count("acl"), n.count("info"))
		}
		time.Sleep(2 * time.Second)
		ask(c, "GET", "sample", "", "")
		if n.count("hotkeys") != 2 || n.count("acl") != 2 {
			t.Errorf("after a while hotkeys was asked for %d times, acl %d", n.count("hotkeys"), n.count("acl"))
		}
	})
}

// TestNodeStandsStill: a node that does not answer is not waited for for ever, and whoever leaves does not end the login.
func TestNodeStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(true)
		n.answers["info"] = ""
		c := New(n, &Warnings{})
		defer c.Close()
		begun := time.Now()
		if got := ask(c, "GET", "sample", "", "").StatusCode; got != 503 || time.Since(begun) != commandLimit {
			t.Errorf("%d after %v", got, time.Since(begun))
		}
	})
}

// TestWhoLeaves: a browser that leaves does not end the connection for the others of its user.
func TestWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(false)
		n.delay = map[string]time.Duration{"info": 3 * time.Second}
		c := New(n, &Warnings{})
		defer c.Close()
		cookie := logIn(t, c, "a")
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		askFor(ctx, c, "GET", "sample", cookie, "")
		if got := ask(c, "GET", "sample", cookie, "").StatusCode; got != 200 || n.dialled != 1 {
			t.Errorf("%d, by %d connections", got, n.dialled)
		}
	})
}

// TestOneOfTwoEnds: who has lost the connection sees nothing of what another login of the user has had made.
func TestOneOfTwoEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(false)
		c := New(n, &Warnings{})
		defer c.Close()
		first, second := logIn(t, c, "a"), logIn(t, c, "a")
		for range 3 {
			if a, b := ask(c, "GET", "sample", first, "").StatusCode, ask(c, "GET", "sample", second, "").StatusCode; a != 200 || b != 200 {
				t.Fatal(a, b)
			}
			time.Sleep(time.Second)
		}
		n.mu.Lock()
		n.conns[0].Close()
		n.mu.Unlock()
		if a, b := ask(c, "GET", "sample", second, "").StatusCode, ask(c, "GET", "sample", first, "").StatusCode; a != 200 || b != 401 {
			t.Errorf("the one that is there: %d, the other: %d", a, b)
		}
	})
}

// TestStrangersTakeNothing: those who are not logged in are told so, and leave to the others what a node answers.
func TestStrangersTakeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(newFakeNode(false), &Warnings{})
		defer c.Close()
		cookie := logIn(t, c, "a")
		for range 2 * mostSamples {
			if got := ask(c, "GET", "sample", "0", "").StatusCode; got != 401 {
				t.Fatal(got)
			}
		}
		for i := range 2 * mostSamples {
			if got := ask(c, "GET", "sample", cookie, "").StatusCode; (got == 200) != (i < mostSamples) {
				t.Fatalf("answer %d of the second is %d", i, got)
			}
		}
	})
}

// TestPasswordsAtATime: no more than so many passwords are being checked.
func TestPasswordsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(false)
		n.delay = map[string]time.Duration{"hello": time.Second}
		c := New(n, &Warnings{})
		defer c.Close()
		codes := make(chan int, mostTrying+2)
		for range cap(codes) {
			go func() { codes <- ask(c, "POST", "login", "", `{"user":"a","password":"x"}`).StatusCode }()
		}
		count := map[int]int{}
		for range cap(codes) {
			count[<-codes]++
		}
		if count[204] != mostTrying || count[429] != 2 {
			t.Errorf("%v", count)
		}
	})
}

// TestOldestLoginEnds: there are at most so many logins, and the one ends that nobody has used for the longest time.
func TestOldestLoginEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(newFakeNode(false), &Warnings{})
		defer c.Close()
		var cookies []string
		for i := range mostLogins + 1 {
			cookies = append(cookies, logIn(t, c, fmt.Sprint("u", i)))
			time.Sleep(time.Second)
			if i > 0 {
				if got := ask(c, "GET", "sample", cookies[0], "").StatusCode; got != 200 {
					t.Fatalf("the first, which is used, after %d: %d", i, got)
				}
			}
		}
		if got := ask(c, "GET", "sample", cookies[1], "").StatusCode; got != 401 {
			t.Errorf("the second: %d", got)
		}
		if len(c.logins) != mostLogins || len(c.views) != mostLogins {
			t.Errorf("%d logins, %d views", len(c.logins), len(c.views))
		}
	})
}

func TestCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(newFakeNode(false), &Warnings{})
		defer c.Close()
		resp := ask(c, "POST", "login", "", `{"user":"a","password":"x"}`)
		cookie := resp.Cookies()[0]
		if !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != Path || len(cookie.Value) != 64 {
			t.Errorf("%+v", cookie)
		}
		for hash := range c.logins {
			if strings.Contains(cookie.Value, fmt.Sprintf("%x", hash)) {
				t.Error("the token is kept as it is")
			}
		}
	})
}

func TestBudget(t *testing.T) {
	b := budget{most: 3}
	now := time.Unix(100, 0)
	got := ""
	for _, at := range []time.Time{now, now, now, now, now.Add(time.Second), now.Add(time.Second)} {
		got += fmt.Sprint(b.take(at), " ")
	}
	if want := "true true true false true true "; got != want {
		t.Errorf("%s", got)
	}
}

func TestWarnings(t *testing.T) {
	var out bytes.Buffer
	var w Warnings
	log := slog.New(w.Beside(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})))
	log.Info("no")
	log.With("a", 1).WithGroup("g").With("b", "x y").Warn("one", "c", errors.New("bad\nline"))
	log.Error(strings.Repeat("é", 1000))
	list := w.lines()
	if len(list) != 2 || list[1].Text != `one a=1 g.b=x y g.c=bad\x0aline` || list[1].Level != "WARN" || list[0].Level != "ERROR" || len(list[0].Text) > 2*warningBytes {
		t.Errorf("%+v", list)
	}
	if strings.Contains(out.String(), "one") || !strings.Contains(out.String(), "é") {
		t.Errorf("the log has %q", out.String())
	}
	for i := range 3 * keptWarnings {
		log.Warn(fmt.Sprint(i))
	}
	if list := w.lines(); len(list) != keptWarnings || list[0].Text != "299" || list[keptWarnings-1].Text != "200" {
		t.Errorf("%d lines, from %q to %q", len(list), list[0].Text, list[len(list)-1].Text)
	}
}

// TestReplies: what a reply has beyond the bounds is read and dropped, or ends the connection.
func TestReplies(t *testing.T) {
	long := strings.Repeat("x", 2*keptBytes)
	many := strings.Repeat(":1\r\n", 2*keptElements)
	for _, c := range []struct{ name, bytes, want string }{
		{"a text", "+OK\r\n", `{ "OK" false [] 0}`},
		{"an error", "-ERR no\r\n", `{ERR no "" false [] 0}`},
		{"null", "$-1\r\n", `{ "" true [] 0}`},
		{"no kind", "?1\r\n", "that is no reply"},
		{"a length below -1", "$-2\r\n", "that is no reply"},
		{"a length beyond all", "$99999999999\r\n", "that is no reply"},
		{"an array beyond all", "*99999999999\r\n", "that is no reply"},
		{"deep", strings.Repeat("*1\r\n", 20), "that is no reply"},
		{"half", "$5\r\nab", "unexpected EOF"},
	} {
		r := reader{bufio.NewReader(strings.NewReader(c.bytes)), mostBytes}
		got, err := r.read(0)
		text := fmt.Sprintf("{%s %q %v %v %d}", got.Err, got.Text, got.Null, got.Elems, got.Count)
		if err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%s: %s", c.name, text)
		}
	}
	r := reader{bufio.NewReader(strings.NewReader(fmt.Sprintf("*2\r\n$%d\r\n%s\r\n*%d\r\n%s+end\r\n", len(long), long, 2*keptElements, many))), mostBytes}
	got, err := r.read(0)
	if err != nil || len(got.Elems[0].Text) != keptBytes || len(got.Elems[1].Elems) != keptElements || got.Elems[1].Count != 2*keptElements {
		t.Fatal(err)
	}
	if got, err = r.read(0); err != nil || string(got.Text) != "end" {
		t.Error(err)
	}
	small := reader{bufio.NewReader(strings.NewReader("*3\r\n$5\r\naaaaa\r\n$5\r\nbbbbb\r\n")), 20}
	if _, err := small.read(0); err == nil {
		t.Error("a reply larger than all may be is read")
	}
}

func TestOnlyReadsAreSent(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the console sends a write")
		}
	}()
	appendCommand(nil, []string{"CLIENT", "KILL", "ID", "1"})
}

func TestGlobbed(t *testing.T) {
	if got := globbed(`a*[b]?\`); got != `a\*\[b\]\?\\*` {
		t.Error(got)
	}
}

func TestPercentile(t *testing.T) {
	for _, c := range []struct {
		last, next map[int64]int64
		want       int64 // 0: not known
	}{
		{nil, map[int64]int64{8: 99, 16: 1}, 8},
		{nil, map[int64]int64{8: 98, 16: 2}, 16},
		{map[int64]int64{8: 98}, map[int64]int64{8: 98, 16: 1}, 16},
		{map[int64]int64{8: 1}, map[int64]int64{8: 1}, 0},
		{map[int64]int64{8: 5}, map[int64]int64{8: 1}, 0},
	} {
		got := percentile(c.last, c.next)
		if c.want == 0 && got != nil || c.want != 0 && (got == nil || *got != c.want) {
			t.Errorf("%v to %v: %v", c.last, c.next, got)
		}
	}
}

// TestPoints: a point is what was called since the last one, without the console's own commands; a node whose figures were reset has a gap.
func TestPoints(t *testing.T) {
	v := newView()
	list := reply{Elems: []reply{{Text: []byte("incr")}, {Elems: []reply{{}, {}, {}, {Elems: []reply{{Text: []byte("8")}, {Text: []byte("10")}}}}}}}
	at := func(incr, info int) {
		v.addPoint(time.Unix(0, 0), map[string]string{
			"instantaneous_ops_per_sec": "7", "cmdstat_incr": fmt.Sprintf("calls=%d,usec=%d,usec_per_call=5.00", incr, 5*incr), "cmdstat_info": fmt.Sprintf("calls=%d,usec=%d", info, 1000*info),
		}, &list)
	}
	at(10, 1)
	at(20, 2)
	at(1, 3)
	if len(v.points) != 3 || v.points[1].Requests != 7 || v.points[0].Mean != nil || v.points[1].Mean == nil || *v.points[1].Mean != 5 || v.points[2].Mean != nil {
		t.Errorf("%+v", v.points)
	}
	for range 2 * keptPoints {
		at(1, 1)
	}
	if len(v.points) != keptPoints {
		t.Errorf("%d points", len(v.points))
	}
}

func TestHotKeys(t *testing.T) {
	number := func(n int) reply { return reply{Text: fmt.Append(nil, n)} }
	list := reply{Count: 2, Elems: []reply{{Count: 5, Elems: []reply{{Text: []byte("b\x00")}, number(9), number(6), number(3), number(1)}}, {Text: []byte("no row")}}}
	if got := fmt.Sprint(hotKeys(&list)); got != `[{b\x00 9 6 3 1}]` {
		t.Error(got)
	}
}

// TestSinks: a sink is found by the scan, and forgotten when its key has expired.
func TestSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(true)
		n.answers["scan"] = "*2\r\n" + bulk("5") + "*1\r\n" + bulk("connect:sink:x")
		n.answers["get"] = bulk(`{"owner":"a","state":"s","cursor":"c"}`)
		n.answers["feed"] = "*2\r\n$6\r\nbehind\r\n:3\r\n"
		c := New(n, &Warnings{})
		defer c.Close()
		shown := func() string {
			var b bytes.Buffer
			_, _ = b.ReadFrom(ask(c, "GET", "sample", "", "").Body)
			_, sinks, _ := strings.Cut(b.String(), `"sinks":`)
			sinks, _, _ = strings.Cut(sinks, `,"warnings"`)
			time.Sleep(time.Second)
			return sinks
		}
		if got := shown(); !strings.Contains(got, `"name":"x"`) || !strings.Contains(got, `"behind":3`) || !strings.Contains(got, `"searched":false`) {
			t.Error(got)
		}
		n.mu.Lock()
		n.answers["scan"], n.answers["get"] = "*2\r\n$1\r\n0\r\n*0\r\n", "$-1\r\n"
		n.mu.Unlock()
		if got := shown(); got != `{"data":{"rows":[],"searched":true}}` {
			t.Error(got)
		}
	})
}
