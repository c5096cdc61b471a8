package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"quipu/internal/redistest"
)

// system is three nodes of region eu, of which the page shows the one that leads, and one node of region us.
type system struct {
	nodes []*redistest.Server
	us    *redistest.Server
	pages []string // of the nodes
}

func startSystem(t *testing.T) *system {
	t.Helper()
	s := &system{}
	us, eu := redistest.FreePort(t), []string{}
	var https []int
	for range 3 {
		https = append(https, redistest.FreePort(t))
	}
	s.nodes = redistest.LaunchCluster(t, 3, func(i int) []string {
		return []string{"--http-addr", fmt.Sprint("127.0.0.1:", https[i]), "--node-id", fmt.Sprint("n", i+1), "--region", "eu", "--region-keys", "likes:*", "--region-peers", fmt.Sprint("us=127.0.0.1:", us)}
	})
	for i, n := range s.nodes {
		if err := n.WaitServes(time.Minute); err != nil {
			t.Fatal(err)
		}
		eu = append(eu, n.Addr)
		s.pages = append(s.pages, fmt.Sprintf("http://127.0.0.1:%d/console/", https[i]))
	}
	s.us = redistest.Quipu{Port: us, Flags: []string{"--region", "us", "--region-keys", "likes:*", "--region-peers", "eu=" + strings.Join(eu, ",eu=")}}.Start(t)
	return s
}

// leader waits until a node leads and is linked with the other region, and returns its number.
func (s *system) leader(t *testing.T) int {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for i, n := range s.nodes {
			c := n.Dial(t)
			text := do(t, c, "INFO replication regions").Text
			c.Close()
			if strings.Contains(text, "raft_leader:1\r\n") && strings.Contains(text, "region_link_us:state=connected,") {
				return i
			}
		}
	}
	t.Fatal("no node leads, or none is linked with the other region")
	return 0
}

// load writes and reads until the test ends, some hundred commands a second.
func load(t *testing.T, s *redistest.Server) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	c := s.Dial(t)
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if _, err := c.Do("INCR", fmt.Sprint("likes:", i%40)); err != nil {
				t.Error(err)
				return
			}
			if _, err := c.Do("GET", "likes:7"); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		c.Close()
	})
}

// do runs commands that must not fail, and returns the last reply.
func do(t *testing.T, c *redistest.Conn, lines ...string) (r redistest.Reply) {
	t.Helper()
	for _, line := range lines {
		var err error
		if r, err = c.Do(strings.Fields(line)...); err != nil || r.IsError() {
			t.Fatalf("%s: %v %s", line, err, r.Text)
		}
	}
	return r
}

// tellOfEvents is what quipu-connect would say of a source and a sink.
func tellOfEvents(t *testing.T, c *redistest.Conn) {
	t.Helper()
	do(t, c, "INGEST SET likes/0 k1 5000")
	// A map of names and values.
	info, cursor := do(t, c, "FEED INFO"), ""
	for i := 0; i+1 < len(info.Elems); i += 2 {
		switch info.Elems[i].Text {
		case "incarnation":
			cursor = info.Elems[i+1].Text + cursor
		case "index":
			cursor += ":" + info.Elems[i+1].Text
		}
	}
	tell := func(key string, what map[string]any) {
		text, err := json.Marshal(what)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := c.Do("SET", key, string(text)); err != nil || r.IsError() {
			t.Fatal(err, r.Text)
		}
	}
	tell("connect:likes/0", map[string]any{"owner": "a:1", "state": "counting", "done": 5000, "end": 6234, "rate": 10})
	tell("connect:sink:totals", map[string]any{"owner": "a:1", "state": "writing", "rate": 12, "cursor": cursor})
}

// TestConsole: every panel shows what INFO, or the command it is of, says; by keyboard, in both colour schemes, and nothing comes from elsewhere.
func TestConsole(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; the race detector sees the console in package server")
	}
	redistest.Tool(t, "chromium")
	s := startSystem(t)
	at := s.leader(t)
	shown := s.nodes[at]
	c := shown.Dial(t)
	defer c.Close()
	load(t, shown)
	do(t, c, "SET greeting:en hello", "SET greeting:de hallo EX 3600", "SET bytes:1 \xff\x00<b>x</b>", "PFADD hll:1 a b c", "UC.ADD uc:1 a b",
		"CMS.INITBYDIM cms:1 100 5", "CMS.INCRBY cms:1 a 12", "TOPK.RESERVE topk:1 3", "TOPK.ADD topk:1 a a b", "SELECT 1", "SET one:1 1", "SELECT 0")
	tellOfEvents(t, c)
	if r, err := c.Do("AUTH", "nobody", "wrong"); err != nil || !r.IsError() {
		t.Fatal("a wrong password: ", err, r.Text)
	}
	info := watchInfo(t, shown)
	p := browse(t, s.pages[at])
	p.await("figures", `!document.querySelector("#panels").hidden`)
	checkFigures(p, info)
	checkNodes(p, info)
	checkCommands(p, info)
	checkEvents(p)
	checkKeys(p)
	checkKeyboard(p)
	look(p)
	if said, elsewhere := p.complaints(); len(said) > 0 || len(elsewhere) > 0 {
		t.Errorf("the browser complains: %q; it has asked for %q", said, elsewhere)
	}
}

// checkFigure waits until a figure of the page is what INFO says.
func checkFigure(p *tab, info *infoWatch, selector, name, part string) {
	p.Helper()
	shown, low, high := "", 0.0, 0.0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ok := false
		shown = p.text(selector)
		if ok, low, high = info.agrees(shown, name, part); ok {
			return
		}
	}
	p.Errorf("%s shows %q, INFO has %s %s from %v to %v", selector, shown, name, part, low, high)
}

func checkFigures(p *tab, info *infoWatch) {
	p.await("a second of load", `Number(document.querySelector("#requests-now").innerText.replaceAll(",", "")) > 100`)
	checkFigure(p, info, "#requests-now", "instantaneous_ops_per_sec", "")
	for _, name := range []string{
		"used_memory_human", "used_memory_dataset", "data_index_bytes", "used_memory_peak_human", "used_memory_rss_human", "total_system_memory_human", "mem_clients_normal",
		"connected_clients", "total_commands_processed", "refused_commands", "expired_keys", "disk_free_bytes", "log_bytes_since_snapshot", "local_ack_pending_increments",
	} {
		checkFigure(p, info, fmt.Sprintf(`[data-info="%s"]`, name), name, "")
	}
	for _, db := range []string{"db0", "db1"} {
		checkFigure(p, info, fmt.Sprintf(`[data-info="%s"]`, db), db, "keys")
	}
	p.await("times", `/^[\d.,]+ (µs|ms)$/.test(document.querySelector("#mean-now").innerText) && /^[\d.,]+ (µs|ms)$/.test(document.querySelector("#p99-now").innerText)`)
	for _, plot := range []string{"#requests-plot .first", "#latency-plot .first", "#latency-plot .second"} {
		p.await("a line in "+plot, fmt.Sprintf(`(document.querySelector(%q).getAttribute("d") ?? "").includes("L")`, plot))
	}
}

// row is a selector of a cell, by the first cell's text.
func row(section string, i, column int) string {
	return fmt.Sprintf("%s tbody tr:nth-child(%d) td:nth-child(%d)", section, i+1, column)
}

func checkNodes(p *tab, info *infoWatch) {
	members, _ := strconv.Atoi(info.last("raft_members"))
	if members != 3 {
		p.Fatalf("INFO has %d members", members)
	}
	for i := range members {
		line := fmt.Sprint("raft_member", i)
		checkFigure(p, info, row("#nodes", i, 4), line, "term")
		checkFigure(p, info, row("#nodes", i, 5), line, "applied")
		checkSame(p, row("#nodes", i, 2), func() string {
			switch {
			case field(info.last(line), "leads") == "1":
				return "leader"
			case field(info.last(line), "voter") == "1":
				return "follower"
			}
			return "learner"
		})
		// The others' state is asked for twice a second, so a busy member seems some entries behind.
		if lag := p.text(row("#nodes", i, 6)); lag != "?" {
			if n, ok := figure(lag); !ok || n > 5000 {
				p.Errorf("node %d lags by %q", i, lag)
			}
		}
	}
	checkFigure(p, info, row("#regions", 0, 6), "region_link_us", "rows")
	checkFigure(p, info, row("#regions", 0, 3), "region_link_us", "keys")
	checkFigure(p, info, row("#regions", 0, 4), "region_link_us", "age_ms")
	checkSame(p, row("#regions", 0, 2), func() string { return field(info.last("region_link_us"), "state") })
}

// checkSame waits until an element says what it is to say.
func checkSame(p *tab, selector string, want func() string) {
	p.Helper()
	shown := ""
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if shown = p.text(selector); shown == want() {
			return
		}
	}
	p.Errorf("%s shows %q, INFO says %q", selector, shown, want())
}

func checkCommands(p *tab, info *infoWatch) {
	const index = `[...document.querySelectorAll("#commands tbody tr")].findIndex((row) => row.cells[0].innerText === "incr")`
	p.await("INCR", index+" >= 0")
	i, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](index))
	if err != nil {
		p.Fatal(err)
	}
	// The order of rows may change meanwhile, but not much: INCR and GET are called equally often.
	p.await("calls of INCR", index+fmt.Sprintf(" === %d", i))
	checkFigure(p, info, fmt.Sprintf("#commands tbody tr:nth-child(%d) td:nth-child(2)", i+1), "cmdstat_incr", "calls")
	p.await("percentiles", fmt.Sprintf(`Number(document.querySelector(%q).innerText) > 0`, fmt.Sprintf("#commands tbody tr:nth-child(%d) td:nth-child(5)", i+1)))
}

func checkEvents(p *tab) {
	p.await("the source", `document.querySelector("#sources tbody tr").innerText.split("\t").join(" ") === "likes/0 counting 5000 1,234"`)
	p.await("the sink", `document.querySelector("#sinks tbody tr").innerText.startsWith("totals\twriting\t12")`)
	p.await("its lag", `Number(document.querySelector("#sinks tbody td:nth-child(4)").innerText.replaceAll(",", "")) > 0`)
	p.await("the warning", `document.querySelector("#warnings tbody").innerText.includes("wrong password") && document.querySelector("#warnings tbody").innerText.includes("user=nobody")`)
	// The load reads one key all the time, and writes forty in turn.
	p.await("hot keys", `document.querySelector("#hotkeys tbody td")?.innerText === "likes:7"`)
}

// keysShown is the table of keys, a line each.
const keysShown = `[...document.querySelectorAll("#keys tbody tr")].map((row) => [...row.cells].map((cell) => cell.innerText).join("|")).sort().join("\n")`

// show asks for keys by keyboard.
func show(p *tab, prefix, said string) {
	p.Helper()
	p.set("#prefix", "")
	p.do("ask for "+prefix, chromedp.Focus("#prefix"), chromedp.KeyEvent(prefix+"\r"))
	p.await("keys of "+prefix, fmt.Sprintf("document.querySelector('#keys-said').innerText.startsWith(%q)", said))
}

func checkKeys(p *tab) {
	for _, c := range []struct{ prefix, said, want string }{
		{"greeting:", "2 shown. These are the last", "greeting:de|string|hallo|59 min\ngreeting:en|string|hello|never"},
		{"bytes:", "1 shown", `bytes:1|string|\xff\x00<b>x</b>|never`},
		{"hll:", "1 shown", "hll:1|hyperloglog|≈ 3|never"},
		{"uc:", "1 shown", "uc:1|uc|≈ 2|never"},
		{"cms:", "1 shown", "cms:1|CMSk-TYPE|12 counted|never"},
		{"topk:", "1 shown", "topk:1|TopK-TYPE|a 2, b 1|never"},
		{"nothing*", "0 shown", "None here."},
	} {
		show(p, c.prefix, c.said)
		p.await("what "+c.prefix+" has", fmt.Sprintf("%s === %q", keysShown, c.want))
	}
	show(p, "likes:", "40 shown")
	p.set("#db", "1")
	show(p, "", "1 shown")
	p.await("the key of database 1", keysShown+` === "one:1|string|1|never"`)
	p.set("#db", "0")
}

// checkKeyboard goes through the page with the tab key alone.
func checkKeyboard(p *tab) {
	p.do("load the page again", chromedp.Navigate(p.home))
	p.await("figures", `!document.querySelector("#panels").hidden`)
	const at = `(document.activeElement.id || document.activeElement.className || document.activeElement.tagName || "").toString()`
	var order []string
	for range 40 {
		p.press("\t")
		where := p.eval(at)
		if where == "BODY" {
			break
		}
		style := `getComputedStyle(document.activeElement)`
		if p.eval(fmt.Sprintf(`%s.outlineStyle + " " + %s.outlineWidth`, style, style)) != "solid 2px" {
			p.Errorf("nobody sees that %s has the focus", where)
		}
		order = append(order, where)
		if where == "skip" && len(order) == 1 {
			if p.eval(`String(document.activeElement.getBoundingClientRect().left >= 0)`) != "true" {
				p.Error("the link over the head is not seen")
			}
		}
	}
	got := strings.Join(order, " ")
	if want := "skip pause door "; !strings.HasPrefix(got, want) {
		p.Errorf("the tab key goes to %s", got)
	}
	for _, id := range []string{"prefix", "db", "scroll"} {
		if !strings.Contains(got, id) {
			p.Errorf("the tab key does not go to %s but %s", id, got)
		}
	}
	p.do("pause", chromedp.Focus("#pause"), chromedp.KeyEvent(" "))
	p.await("the pause", `document.querySelector("#pause").getAttribute("aria-pressed") === "true"`)
	p.press(" ")
	p.await("the end of it", `document.querySelector("#pause").getAttribute("aria-pressed") === "false"`)
	if missing := p.eval(`[...document.querySelectorAll("table")].filter((t) => !t.caption).length + [...document.querySelectorAll("input")].filter((i) => !i.labels.length).length + ""`); missing != "0" {
		p.Errorf("%s tables or fields have no name", missing)
	}
}

// look shows the page in both colour schemes, and on a phone.
func look(p *tab) {
	show(p, "greeting:", "2 shown")
	if *screenshots { // lines that show something
		p.await("half a minute", `document.querySelector("#requests-plot .first").getAttribute("d").split("L").length > 40`)
	}
	p.do("leave the field", chromedp.Blur("#prefix"))
	paper := map[string]string{}
	for _, scheme := range []string{"dark", "light"} {
		p.scheme(scheme)
		p.fits(1280)
		paper[scheme] = p.eval(`getComputedStyle(document.body).backgroundColor`)
		p.picture("console-" + scheme)
	}
	if paper["dark"] == paper["light"] {
		p.Errorf("dark and light are %v", paper)
	}
	p.fits(360)
	p.fits(1280)
}

// TestConsoleLogin: where there is a password, nothing is shown without it; a user with few rights sees what it may.
func TestConsoleLogin(t *testing.T) {
	redistest.Tool(t, "chromium")
	port := redistest.FreePort(t)
	node := redistest.Quipu{Flags: []string{"--requirepass", "secret", "--http-addr", fmt.Sprint("127.0.0.1:", port)}}.Start(t)
	c := node.Dial(t)
	defer c.Close()
	do(t, c, "AUTH secret", "SET likes:1 41", "ACL SETUSER viewer on >look -@all +info")
	p := browse(t, fmt.Sprintf("http://127.0.0.1:%d/console/", port))
	p.await("the form", `!document.querySelector("#login").hidden && document.querySelector("#panels").hidden && document.activeElement.id === "user"`)
	p.do("a wrong password", chromedp.Focus("#password"), chromedp.KeyEvent("wrong\r"))
	p.await("that it is wrong", `document.querySelector("#login-error").innerText === "Wrong user or password." && document.querySelector("#panels").hidden`)
	p.set("#password", "")
	p.do("the right one", chromedp.Focus("#password"), chromedp.KeyEvent("secret\r"))
	p.await("the figures", `!document.querySelector("#panels").hidden && document.querySelector("#who").innerText === "default"`)
	show(p, "likes:", "1 shown")
	p.await("the value", keysShown+` === "likes:1|string|41|never"`)
	if cookies := p.eval(`document.cookie`); cookies != "" {
		t.Errorf("scripts see the cookie %q", cookies)
	}

	p.do("log out", chromedp.Click("#door"))
	p.await("the form", `!document.querySelector("#login").hidden`)
	if text := p.eval(`document.querySelector("#keys table").textContent`); strings.Contains(text, "41") {
		t.Errorf("after the end of the login it shows %s", text)
	}
	p.set("#user", "viewer")
	p.do("as a viewer", chromedp.Focus("#password"), chromedp.KeyEvent("look\r"))
	p.await("the figures", `!document.querySelector("#panels").hidden && document.querySelector("#who").innerText === "viewer"`)
	p.await("memory", `/^[\d.]+M$/.test(document.querySelector('[data-info="used_memory_human"]').innerText)`)
	for _, panel := range []string{"hotkeys", "sources", "sinks", "warnings"} {
		p.await(panel+" to be refused", fmt.Sprintf(`/NOPERM|Not available/.test(document.querySelector("#%s .error").innerText) && document.querySelector("#%s table").hidden`, panel, panel))
	}
	p.do("ask for keys", chromedp.Focus("#prefix"), chromedp.KeyEvent("likes:\r"))
	p.await("that it may not", `document.querySelector("#keys > .error").innerText.startsWith("NOPERM")`)

	do(t, c, "ACL DELUSER viewer")
	p.await("the form again, and nothing else", `!document.querySelector("#login").hidden && document.querySelector("#panels").hidden`)
	if said, elsewhere := p.complaints(); len(said) > 0 || len(elsewhere) > 0 {
		t.Errorf("the browser complains: %q; it has asked for %q", said, elsewhere)
	}
}
