package server

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quipu/acl"
	"quipu/commands"
	"quipu/config"
	"quipu/internal/certs"
	"quipu/internal/redistest"
	"quipu/server/console"
)

// viewer is a browser that looks at the console of a node.
type viewer struct {
	t      *testing.T
	home   string
	cookie *http.Cookie
	header http.Header // of all requests
	host   string      // if it asks for another one
}

func (n *testNode) viewer() *viewer {
	return &viewer{t: n.t.(*testing.T), home: "http://" + n.srv.http.addr.String() + console.Path, header: http.Header{}}
}

// ask returns the status, headers and text of an answer.
func (v *viewer) ask(method, path, body string) (int, http.Header, string) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.home+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Host = v.host
	req.Header = v.header.Clone()
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if v.cookie != nil {
		req.AddCookie(v.cookie)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range resp.Cookies() {
		v.cookie = c
	}
	return resp.StatusCode, resp.Header, string(text)
}

func (v *viewer) status(path string) int {
	v.t.Helper()
	code, _, _ := v.ask("GET", path, "")
	return code
}

func (v *viewer) logIn(user, password string) int {
	v.t.Helper()
	code, _, _ := v.ask("POST", "login", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password))
	return code
}

// consoleSample is a sample as the page gets it.
type consoleSample struct {
	User                              string
	Login                             bool
	Info                              struct{ Data map[string]string }
	HotKeys, Sources, Sinks, Warnings struct {
		Error string
		Data  json.RawMessage
	}
}

func (v *viewer) sample() (s consoleSample) {
	v.t.Helper()
	code, _, text := v.ask("GET", "sample", "")
	if code != 200 || json.Unmarshal([]byte(text), &s) != nil {
		v.t.Fatalf("%d: %s", code, text)
	}
	return s
}

// keyRows is a page of keys as the page gets it.
type keyRows struct {
	Rows []struct {
		Key, Type, Value string
		TTL              *int64
		Cut              int64
	}
	Cursor, Error string
}

func (v *viewer) keys(query string) (p keyRows) {
	v.t.Helper()
	code, text := 429, ""
	for code == 429 { // more than ten in a second
		code, _, text = v.ask("GET", "keys?"+query, "")
	}
	if code != 200 || json.Unmarshal([]byte(text), &p) != nil {
		v.t.Fatalf("%s: %d: %s", query, code, text)
	}
	return p
}

var consoleFiles = []string{"", "index.html", "style.css", "page.js", "panels.js", "keys.js", "plot.js", "table.js", "icon.svg"}

// TestConsoleHeaders: the page is its own files, has nothing that the policy forbids, and asks nobody else.
func TestConsoleHeaders(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	v := n.viewer()
	inline := regexp.MustCompile(`(?i)<script(>| [^>]*>[^<])|<style|\sstyle=|\son\w+=|https?://`)
	for _, file := range append(consoleFiles, "sample", "keys") {
		code, h, text := v.ask("GET", file, "")
		if file == "index.html" { // http.FileServer has one name for it
			code = 200
		}
		if code != 200 {
			t.Errorf("%s: %d %s", file, code, text)
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", file, h)
		}
		if file != "sample" && file != "icon.svg" && inline.MatchString(strings.ReplaceAll(text, "http://www.w3.org/2000/svg", "")) {
			t.Errorf("%s has %q", file, inline.FindString(text))
		}
	}
	if code := v.status("../console"); code != 200 {
		t.Errorf("/console leads nowhere: %d", code)
	}
	if code := v.status("../server.go"); code == 200 {
		t.Error("a file that is not of the page")
	}
}

// TestConsoleOnlyReads: no command that the console can send writes.
func TestConsoleOnlyReads(t *testing.T) {
	byName := map[string]bool{}
	for _, cmd := range Commands().All() {
		byName[cmd.FullName()] = cmd.Write != nil || cmd.Flags&commands.FlagWrite != 0
	}
	for _, name := range console.Commands {
		writes, known := byName[name]
		if writes || !known {
			t.Errorf("%s writes: %v, is known: %v", name, writes, known)
		}
	}
}

// TestConsoleDoor: without a password it is for this machine, by its address, and for its own page.
func TestConsoleDoor(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	c := n.dial()
	v := n.viewer()
	if code := v.status("sample"); code != 200 {
		t.Fatal(code)
	}
	v.host = "evil.example:8379"
	for _, file := range []string{"", "sample", "keys", "page.js"} {
		if code := v.status(file); code != 403 {
			t.Errorf("%s under another name: %d", file, code)
		}
	}
	v.host = ""
	for _, site := range []string{"cross-site", "same-site"} { // the second is another port of this machine
		v.header.Set("Sec-Fetch-Site", site)
		v.header.Set("Sec-Fetch-Mode", "no-cors")
		if code := v.status("sample"); code != 403 {
			t.Errorf("for a page of another place, %s: %d", site, code)
		}
		if code := v.logIn("default", "x"); code != 403 {
			t.Errorf("a login by a page of another place, %s: %d", site, code)
		}
		v.header.Set("Sec-Fetch-Mode", "navigate")
		if code := v.status(""); code != 200 {
			t.Errorf("a link to the page: %d", code)
		}
	}
	v.header = http.Header{}
	stranger := httptest.NewRequest("GET", console.Path, nil)
	stranger.RemoteAddr, stranger.Host = "203.0.113.5:4000", "127.0.0.1"
	w := httptest.NewRecorder()
	n.srv.admitConsole(http.NotFoundHandler()).ServeHTTP(w, stranger)
	if w.Code != 403 {
		t.Errorf("another machine, without a password: %d", w.Code)
	}
	n.srv.http.console.Close() // which ends the connection that is there
	eventually(t, "the end of it", func() bool { return n.srv.clients.count.Load() == 1 })
	expect(t, c, "CONFIG SET console no", "+OK\r\n")
	if code := v.status(""); code != 404 {
		t.Errorf("console no: %d", code)
	}
}

// TestConsoleLogin: where there is a password, nobody sees anything without it, and a login ends with its connection.
func TestConsoleLogin(t *testing.T) {
	n := startNode(t, withHTTP(func(c *config.Config) { c.RequirePass = "secret"; c.AuthFailures = 3 }))
	c := n.dial()
	expect(t, c, "AUTH secret", "+OK\r\n", "ACL SETUSER anna on >pass ~* +@all", "+OK\r\n")
	v := n.viewer()
	if code := v.status(""); code != 200 {
		t.Errorf("the page itself: %d", code)
	}
	for _, path := range []string{"sample", "keys"} {
		if code, _, text := v.ask("GET", path, ""); code != 401 || strings.Contains(text, "{") {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	v.cookie = &http.Cookie{Name: "quipu-console-" + v.home[strings.LastIndex(v.home, ":")+1:len(v.home)-len(console.Path)], Value: strings.Repeat("0", 64)}
	if code := v.status("sample"); code != 401 {
		t.Errorf("with a token that nobody has given: %d", code)
	}
	v.cookie = nil
	for _, body := range []string{"", "user=default", "{", `["a"]`, `{"user":"` + strings.Repeat("x", 5000) + `"}`} {
		if code, _, _ := v.ask("POST", "login", body); code != 400 {
			t.Errorf("%.20q: %d", body, code)
		}
	}
	if code := v.logIn("", "secret"); code != 204 || !v.cookie.HttpOnly || v.cookie.SameSite != http.SameSiteStrictMode || v.cookie.Secure {
		t.Fatalf("%d %v", code, v.cookie)
	}
	if s := v.sample(); s.User != "default" || !s.Login || s.Warnings.Error != "" {
		t.Errorf("%+v", s)
	}
	first := *v.cookie
	if code, _, _ := v.ask("POST", "logout", ""); code != 204 {
		t.Error(code)
	}
	v.cookie = &first
	if code := v.status("sample"); code != 401 {
		t.Errorf("after the end of the login: %d", code)
	}
	for what, line := range map[string]string{"its user is deleted": "ACL DELUSER anna", "it is killed": "CLIENT KILL USER anna"} {
		expect(t, c, "ACL SETUSER anna on >pass ~* +@all", "+OK\r\n")
		if code := v.logIn("anna", "pass"); code != 204 || v.sample().User != "anna" {
			t.Fatal(code)
		}
		if list := callArgs(t, c, "CLIENT", "LIST"); !strings.Contains(list, "name=console") || !strings.Contains(list, "user=anna") {
			t.Error(list)
		}
		expect(t, c, line, ":1\r\n")
		eventually(t, "the end of its connection", func() bool { return n.srv.clients.count.Load() == 1 })
		if code := v.status("sample"); code != 401 {
			t.Errorf("when %s: %d", what, code)
		}
	}
	guess(t, n, c, v)
}

// guess tries passwords, until there were as many wrong ones as may be in a second.
func guess(t *testing.T, n *testNode, c *redistest.Conn, v *viewer) {
	t.Helper()
	before := n.srv.limits.times(limitAuth)
	codes := map[int]int{}
	for end := time.Now().Add(10 * time.Second); codes[429] == 0 && time.Now().Before(end); {
		codes[v.logIn("default", "wrong")]++
	}
	if codes[401] == 0 || codes[429] == 0 || len(codes) != 2 || n.srv.limits.times(limitAuth)-before != int64(codes[401]) {
		t.Errorf("%v, %d were counted", codes, n.srv.limits.times(limitAuth)-before)
	}
	if log := callArgs(t, c, "ACL", "LOG"); !strings.Contains(log, "hello") || !strings.Contains(log, "addr=127.0.0.1:") {
		t.Errorf("ACL LOG has %s", log)
	}
}

// TestConsolePasswordIsSet: once a password is set, who looked without one sees nothing any more.
func TestConsolePasswordIsSet(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	c := n.dial()
	v := n.viewer()
	if s := v.sample(); s.User != "default" || s.Login {
		t.Errorf("%+v", s)
	}
	expect(t, c, "CONFIG SET requirepass secret", "+OK\r\n")
	if code := v.status("sample"); code != 401 {
		t.Errorf("with a password: %d", code)
	}
	eventually(t, "the end of its connection", func() bool { return n.srv.clients.count.Load() == 1 })
}

// TestConsoleUsers: a user sees what its rules allow, else why not, and each refusal is noted once in a while only.
func TestConsoleUsers(t *testing.T) {
	n := startNode(t, withHTTP(func(c *config.Config) { c.RequirePass = "secret" }))
	c := n.dial()
	expect(t, c, "AUTH secret", "+OK\r\n", "SET app:1 5", "+OK\r\n", "SET secret:1 hidden", "+OK\r\n",
		"ACL SETUSER figures on >a -@all +info", "+OK\r\n", "ACL SETUSER app on >b resetkeys ~app:* -@all +scan +type +pttl +getrange +strlen +select", "+OK\r\n")
	n.srv.log.Warn("a line of the log")
	figures, app := n.viewer(), n.viewer()
	figures.logIn("figures", "a")
	s := figures.sample()
	for name, got := range map[string]string{"warnings": s.Warnings.Error, "sources": s.Sources.Error, "sinks": s.Sinks.Error} {
		if !strings.HasPrefix(got, "NOPERM") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if s.Info.Data["used_memory"] == "" || len(s.Warnings.Data) > 0 {
		t.Errorf("%+v", s)
	}
	if p := figures.keys("prefix="); !strings.HasPrefix(p.Error, "NOPERM") || len(p.Rows) > 0 {
		t.Errorf("%+v", p)
	}
	denials := func() int64 {
		return n.srv.stats.denied[acl.DeniedCommand].Load() + n.srv.stats.denied[acl.DeniedKey].Load()
	}
	noted := denials()
	time.Sleep(1100 * time.Millisecond) // until the next sample is due
	figures.sample()
	if again := denials(); again != noted {
		t.Errorf("the next sample was refused something %d times", again-noted)
	}
	app.logIn("app", "b")
	p := app.keys("prefix=")
	if p.Error != "" || len(p.Rows) != 2 {
		t.Fatalf("%+v", p)
	}
	for _, row := range p.Rows {
		switch {
		case row.Key == "app:1" && row.Value == "5":
		case row.Key == "secret:1" && strings.HasPrefix(row.Value, "NOPERM"):
		default:
			t.Errorf("%+v", row)
		}
	}
	if s := app.sample(); s.Info.Data != nil {
		t.Errorf("INFO of a user who may not ask: %v", s.Info.Data)
	}
}

// TestConsoleRules: the user that docs/console.md makes sees every panel, and the keys that it names.
func TestConsoleRules(t *testing.T) {
	text, err := os.ReadFile("../docs/console.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile("(?m)^[$] redis-cli (ACL SETUSER viewer on '>a-long-password' .*)$").FindStringSubmatch(string(text))
	if rule == nil {
		t.Fatal("the page shows no rule")
	}
	n := startNode(t, withHTTP(func(c *config.Config) { c.RequirePass = "secret" }))
	c := n.dial()
	expect(t, c, "AUTH secret", "+OK\r\n", strings.ReplaceAll(rule[1], "'", ""), "+OK\r\n", "SET likes:1 5", "+OK\r\n", "PFADD likes:hll a", ":1\r\n", "UC.ADD likes:uc a", ":1\r\n",
		"CMS.INITBYDIM likes:cms 10 2", "+OK\r\n", "TOPK.RESERVE likes:topk 2", "+OK\r\n", "TOPK.ADD likes:topk a", "*1\r\n$-1\r\n", "INGEST SET a i p", "+OK\r\n",
		`SET connect:a {"end":3}`, "+OK\r\n", `SET connect:sink:s {}`, "+OK\r\n")
	v := n.viewer()
	if code := v.logIn("viewer", "a-long-password"); code != 204 {
		t.Fatal(code)
	}
	s := v.sample()
	all := fmt.Sprint(s.Sources.Error, s.Sinks.Error, s.Warnings.Error)
	if all != "" || s.Info.Data["used_memory"] == "" || !strings.Contains(string(s.Sources.Data), `"lag":3`) || !strings.Contains(string(s.Sinks.Data), `"name":"s"`) {
		t.Errorf("%s %s %s", all, s.Sources.Data, s.Sinks.Data)
	}
	p := v.keys("prefix=likes:")
	if len(p.Rows) != 5 || strings.Contains(fmt.Sprint(p), "NOPERM") {
		t.Errorf("%+v", p)
	}
	// HOTKEYS is for users who may read all keys.
	if denied := callArgs(t, c, "ACL", "LOG"); strings.Count(denied, "\r\nviewer\r\n") > strings.Count(denied, "\r\nhotkeys\r\n") {
		t.Errorf("it was denied %s", denied)
	}
}

// TestConsoleKeys: all keys with a prefix are found, with the beginning of their values.
func TestConsoleKeys(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	c := n.dial()
	for i := range 1200 {
		expect(t, c, fmt.Sprintf("SET key:%d %d", i, i), "+OK\r\n")
	}
	expect(t, c, "SET key* 1", "+OK\r\n", "SET text "+strings.Repeat("x", 500)+" EX 100", "+OK\r\n", "SET HYLL HYLLnot", "+OK\r\n")
	v := n.viewer()
	found := map[string]string{}
	for cursor, pages := "0", 0; pages == 0 || cursor != "0"; pages++ {
		p := v.keys("prefix=key%3A&cursor=" + cursor)
		if len(p.Rows) > 600 || pages > 100 {
			t.Fatalf("page %d has %d rows", pages, len(p.Rows))
		}
		for _, row := range p.Rows {
			found[row.Key] = row.Value
		}
		cursor = p.Cursor
	}
	if len(found) != 1200 || found["key:7"] != "7" {
		t.Errorf("%d keys, key:7 is %q", len(found), found["key:7"])
	}
	if p := v.keys("prefix=key*"); len(p.Rows) != 1 || p.Rows[0].Key != "key*" {
		t.Errorf("%+v", p)
	}
	if p := v.keys("prefix=text"); len(p.Rows) != 1 || len(p.Rows[0].Value) != 200 || p.Rows[0].Cut != 300 || p.Rows[0].TTL == nil || *p.Rows[0].TTL < 90_000 {
		t.Errorf("%+v", p)
	}
	if p := v.keys("prefix=HYLL"); len(p.Rows) != 1 || p.Rows[0].Type != "string" || p.Rows[0].Value != "HYLLnot" {
		t.Errorf("%+v", p)
	}
	if p := v.keys("db=1&prefix=key"); len(p.Rows) != 0 || p.Error != "" {
		t.Errorf("%+v", p)
	}
	if p := v.keys("db=9999"); !strings.Contains(p.Error, "DB index") {
		t.Errorf("%+v", p)
	}
	for _, query := range []string{"db=x", "db=-1", "cursor=x", "cursor=-1", "prefix=" + strings.Repeat("x", 300), "cursor=%0d%0aFLUSHALL"} {
		if code := v.status("keys?" + query); code != 400 {
			t.Errorf("%.30s: %d", query, code)
		}
	}
	if p := v.keys("prefix=%0d%0aFLUSHALL%0d%0a"); len(p.Rows) != 0 || p.Error != "" {
		t.Errorf("%+v", p)
	}
	expect(t, c, "DBSIZE", ":1203\r\n")
}

// TestConsoleTogether: however many browsers look, the node is asked once a second, and there is an end to keys.
func TestConsoleTogether(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	info := func() int64 {
		return n.srv.commandCalls()[n.srv.table.Lookup([]byte("info")).ID()]
	}
	begun, before := time.Now(), info()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			v := n.viewer()
			for range 6 {
				if code := v.status("sample"); code != 200 && code != 429 {
					t.Error(code)
				}
			}
		})
	}
	all.Wait()
	if asked, most := info()-before, int64(time.Since(begun)/(950*time.Millisecond))+1; asked > most || asked == 0 {
		t.Errorf("INFO was asked for %d times, %d are expected", asked, most)
	}
	for _, w := range n.srv.loops.all() {
		if calls := w.calls[n.srv.table.Lookup([]byte("info")).ID()].Load(); calls != 0 {
			t.Errorf("an event loop has carried out INFO %d times", calls)
		}
	}
	if clients := n.srv.clients.count.Load(); clients != 1 {
		t.Errorf("%d clients", clients)
	}
	var codes []int
	v := n.viewer()
	for end := time.Now().Add(5 * time.Second); !slices.Contains(codes, 429) && time.Now().Before(end); {
		codes = append(codes, v.status("keys"))
	}
	if !slices.Contains(codes, 429) || !slices.Contains(codes, 200) {
		t.Errorf("pages of keys: %v", codes)
	}
}

// TestConsoleIsAClient: where there are as many clients as may be, the console is none.
func TestConsoleIsAClient(t *testing.T) {
	n := startNode(t, withHTTP(func(c *config.Config) { c.MaxClients = 1 }))
	c := n.dial()
	expect(t, c, "PING", "+PONG\r\n")
	v := n.viewer()
	if code, _, text := v.ask("GET", "sample", ""); code != 503 || !strings.Contains(text, "max number of clients") {
		t.Errorf("%d %s", code, text)
	}
	expect(t, c, "CONFIG SET maxclients 2", "+OK\r\n")
	if code := v.status("sample"); code != 200 {
		t.Errorf("when there is room: %d", code)
	}
}

// TestConsoleTLS: with http-tls the cookie is for TLS alone.
func TestConsoleTLS(t *testing.T) {
	dir, with := withCertificates(t, withHTTP(func(c *config.Config) { c.TLS.HTTP = true }))
	n := startNode(t, with)
	pool, err := loadAuthorities(filepath.Join(dir, certs.AuthorityCert), "")
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, certs.ClientCert), filepath.Join(dir, certs.ClientKey))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}}
	defer tr.CloseIdleConnections()
	home := "https://" + n.srv.http.addr.String() + console.Path
	resp, err := (&http.Client{Transport: tr}).Post(home+"login", "application/json", strings.NewReader(`{"password":"any, as none is set"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if list := resp.Cookies(); resp.StatusCode != 204 || len(list) != 1 || !list[0].Secure {
		t.Errorf("%s %v", resp.Status, list)
	}
}

// TestConsoleStops: a node with browsers stops like any other.
func TestConsoleStops(t *testing.T) {
	n := startNode(t, withHTTP(func(c *config.Config) { c.RequirePass = "secret" }))
	v := n.viewer()
	if code := v.logIn("default", "secret"); code != 204 {
		t.Fatal(code)
	}
	v.sample()
	begun := time.Now()
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
