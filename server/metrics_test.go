package server

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"quipu/config"
	"quipu/internal/histogram"
	"quipu/internal/redistest"
)

// ask sends GET, with a password if there is one.
func (n *testNode) ask(path string, auth ...string) (status int, body string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+n.srv.http.addr.String()+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if len(auth) == 2 {
		req.SetBasicAuth(auth[0], auth[1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// scraped is a page of /metrics.
type scraped map[string]*dto.MetricFamily

func parsePage(t testing.TB, text string) scraped {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// scrape makes a page now.
func (n *testNode) scrape() scraped {
	n.t.Helper()
	text, err := n.srv.metrics.page(time.Now().Add(metricsKept))
	if err != nil {
		n.t.Fatal(err)
	}
	n.srv.metrics.mu.Lock()
	n.srv.metrics.text = nil
	n.srv.metrics.mu.Unlock()
	return parsePage(n.t, string(text))
}

// value is that of a metric with these labels, as name=value; false: there is none.
func (s scraped) value(name string, labels ...string) (float64, bool) {
	f := s[name]
	if f == nil {
		return 0, false
	}
	for _, m := range f.Metric {
		var have []string
		for _, l := range m.Label {
			have = append(have, l.GetName()+"="+l.GetValue())
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(have, l) }) {
			continue
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue(), true
		case m.Gauge != nil:
			return m.Gauge.GetValue(), true
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount()), true
		}
	}
	return 0, false
}

// sum is that of a histogram's values.
func (s scraped) sum(name string) float64 { return s[name].GetMetric()[0].Histogram.GetSampleSum() }

func (s scraped) want(t testing.TB, value float64, name string, labels ...string) {
	t.Helper()
	if got, there := s.value(name, labels...); !there || got != value {
		t.Errorf("%s %v is %v (%v), want %v", name, labels, got, there, value)
	}
}

// moving are the lines of INFO that are others a moment later: what is sent counts when a client may have it already.
var moving = []string{
	"uptime_in_seconds", "used_memory", "used_memory_rss", "used_memory_peak", "used_memory_overhead", "mem_fragmentation_ratio", "mem_fragmentation_bytes",
	"instantaneous_ops_per_sec", "used_cpu_sys", "used_cpu_user", "disk_free_bytes", "log_time_offset_ms", "total_net_output_bytes",
}

// TestMetricsAreInfo: all that INFO says and a metric is made of has the same figure in both.
func TestMetricsAreInfo(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	c := n.dial()
	expect(t, c, "SET a 1 EX 1000", "+OK\r\n", "GET a", "$1\r\n1\r\n", "GET b", "$-1\r\n", "INCR n", ":1\r\n", "INCR", "-ERR", "HSET a b c", "-ERR",
		"SELECT 3", "+OK\r\n", "SET c 1", "+OK\r\n")
	page := n.scrape()
	info := newInfoFields(n.srv)
	for _, m := range infoMetrics {
		text, there := info.values[m.line]
		got, shown := page.value(m.name)
		want := number(text) * m.scale
		if m.scale == 0 {
			want = float64(boolInt(text == "ok"))
		}
		if !there || !shown || got != want && !slices.Contains(moving, m.line) {
			t.Errorf("%s is %v (%v), and INFO says %q of %s", m.name, got, shown, text, m.line)
		}
	}
	for _, l := range info.lines {
		if name, ok := strings.CutPrefix(l.name, "cmdstat_"); ok {
			page.want(t, number(statField(l.value, "calls")), "redis_commands_total", "cmd="+name)
			page.want(t, number(statField(l.value, "rejected_calls")), "redis_commands_rejected_calls_total", "cmd="+name)
			page.want(t, number(statField(l.value, "failed_calls")), "redis_commands_failed_calls_total", "cmd="+name)
			if _, there := page.value("redis_commands_duration_seconds_total", "cmd="+name); there != (statField(l.value, "usec") != "0") {
				t.Errorf("time of %s: %v", l.value, there)
			}
		}
	}
	page.want(t, 2, "redis_errors_total", "err=ERR")
	page.want(t, 2, "redis_db_keys", "db=db0")
	page.want(t, 1, "redis_db_keys_expiring", "db=db0")
	page.want(t, 1, "redis_db_keys", "db=db3")
	page.want(t, 1, "redis_instance_info", "role=master", "redis_version="+redisVersion)
	page.want(t, 1, "redis_up")
}

// TestMetricsOfLines: what a line of INFO comes to where this node says something else today, or nothing.
func TestMetricsOfLines(t *testing.T) {
	collect := func(lines ...label) string {
		f := infoFields{lines: lines, values: map[string]string{}}
		for _, l := range lines {
			f.values[l.name] = l.value
		}
		var b bytes.Buffer
		for _, m := range collected(func(c collecting) { c.info(f) }) {
			b.WriteString(m + "\n")
		}
		return b.String()
	}
	got := collect(label{"cmdstat_get", "calls=2,usec=5000,usec_per_call=2500.00,rejected_calls=0,failed_calls=1"}, label{"role", "slave"},
		label{"master_host", "h"}, label{"master_port", "7"}, label{"master_link_status", "up"}, label{"master_last_io_seconds_ago", "3"},
		label{"slave_repl_offset", "9"}, label{"slave0", "ip=,port=0,state=online,offset=1,lag=0"}, label{"slave1", "ip=1.2.3.4,port=5,state=online,offset=11,lag=2"},
		label{"rdb_last_bgsave_status", "err"}, label{"log_write_stalled_ms", "1500"}, label{"slave_priority", "100"})
	for _, want := range []string{
		`redis_commands_duration_seconds_total{cmd="get"} 0.005`, `redis_commands_failed_calls_total{cmd="get"} 1`, `redis_master_link_up{master_host="h",master_port="7"} 1`,
		`redis_master_last_io_seconds_ago{master_host="h",master_port="7"} 3`, `redis_slave_repl_offset{master_host="h",master_port="7"} 9`,
		`redis_connected_slave_offset_bytes{slave_ip="1.2.3.4",slave_port="5",slave_state="online"} 11`,
		`redis_connected_slave_lag_seconds{slave_ip="1.2.3.4",slave_port="5",slave_state="online"} 2`,
		`redis_rdb_last_bgsave_status 0`, `quipu_log_stalled_seconds 1.5`, `redis_db_keys{db="db0"} 0`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, `slave_ip=""`) {
		t.Error("a node whose address is not known; two of them would be one metric")
	}
}

// TestMetricsBounds: a bound is written as short as it is, by which whoever asks for a bucket finds it.
func TestMetricsBounds(t *testing.T) {
	h := histogram.New(32_000)
	h.Observe(1_500_000)
	got := collected(func(c collecting) { c.histogram("time_seconds", "", h.Read(), 1e9) })
	for _, want := range []string{
		`time_seconds_bucket{le="3.2e-05"} 0`, `time_seconds_bucket{le="6.4e-05"} 0`, `time_seconds_bucket{le="0.000128"} 0`, `time_seconds_bucket{le="0.001024"} 0`,
		`time_seconds_bucket{le="0.002048"} 1`, `time_seconds_bucket{le="0.065536"} 1`, `time_seconds_bucket{le="1.048576"} 1`, `time_seconds_bucket{le="8.388608"} 1`,
		`time_seconds_bucket{le="+Inf"} 1`, `time_seconds_sum 0.0015`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

// TestMetricsOfNoText: what another node has said and is no text leaves out its own metric alone.
func TestMetricsOfNoText(t *testing.T) {
	got := collected(func(c collecting) {
		c.gauge("before", "", 1, label{"address", "a:1"})
		c.gauge("spoilt", "", 2, label{"address", "\xff:1"})
		c.gauge("behind", "", 3)
	})
	if want := []string{`before{address="a:1"} 1`, "behind 3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// collected is what fn collects, as lines of a page.
func collected(fn func(c collecting)) (lines []string) {
	ch := make(chan prometheus.Metric, 1000)
	fn(collecting{ch, map[string]*prometheus.Desc{}})
	close(ch)
	registry := prometheus.NewRegistry()
	registry.MustRegister(listCollector(ch))
	families, _ := registry.Gather()
	for _, f := range families {
		var b bytes.Buffer
		_, _ = expfmt.MetricFamilyToText(&b, f)
		for line := range strings.Lines(b.String()) {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// listCollector gives metrics that are there already.
type listCollector chan prometheus.Metric

func (l listCollector) Describe(chan<- *prometheus.Desc) {}
func (l listCollector) Collect(ch chan<- prometheus.Metric) {
	for m := range l {
		ch <- m
	}
}

// TestMetricsDoor: /metrics is for those who may run INFO, and whether the node lives and serves is for everybody.
func TestMetricsDoor(t *testing.T) {
	open := startNode(t, withHTTP(nil))
	locked := startNode(t, withHTTP(func(c *config.Config) {
		c.RequirePass = "secret"
		c.Users = []string{"prometheus on >scrape +info", "shop on >buy ~* +incr"}
	}))
	for _, c := range []struct {
		node *testNode
		path string
		auth []string
		want int
	}{
		{open, "/metrics", nil, 200},
		{open, "/healthz", nil, 200},
		{open, "/readyz", nil, 200},
		{locked, "/metrics", nil, 401},
		{locked, "/metrics", []string{"prometheus", "wrong"}, 401},
		{locked, "/metrics", []string{"prometheus", "scrape"}, 200},
		{locked, "/metrics", []string{"default", "secret"}, 200},
		{locked, "/metrics", []string{"shop", "buy"}, 403},
		{locked, "/feed", []string{"prometheus", "scrape"}, 403},
		{locked, "/other", nil, 401},
		{locked, "/healthz", nil, 200},
		{locked, "/readyz", nil, 200},
	} {
		if got, body := c.node.ask(c.path, c.auth...); got != c.want {
			t.Errorf("%s %v: %d, want %d: %.100s", c.path, c.auth, got, c.want, body)
		}
	}
	req, _ := http.NewRequest("GET", "http://"+open.srv.http.addr.String()+"/metrics", nil)
	req.Host = "evil.example"
	if resp, err := http.DefaultClient.Do(req); err != nil || resp.StatusCode != 403 || resp.Body.Close() != nil {
		t.Errorf("a web page's name: %v %v", resp, err)
	}
}

// TestReadyz: why a node does not serve, as it says itself.
func TestReadyz(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	ask := func(want int, text string) {
		t.Helper()
		n.srv.readiness.mu.Lock()
		n.srv.readiness.at = time.Time{}
		n.srv.readiness.mu.Unlock()
		if got, body := n.ask("/readyz"); got != want || !strings.Contains(body, text) {
			t.Errorf("%d %q, want %d %q", got, body, want, text)
		}
		if got, body := n.ask("/healthz"); got != 200 || body != "ok\n" {
			t.Errorf("/healthz: %d %q", got, body)
		}
	}
	ask(200, "ok\n")
	n.srv.loading.Add(1)
	ask(503, "the leader has sent")
	if got, _ := n.ask("/feed"); got != 503 {
		t.Errorf("/feed while the node loads: %d", got)
	}
	n.srv.loading.Add(-1)
	n.srv.readyFlag.Store(false)
	ask(503, "reads its log")
	n.scrape().want(t, 0, "quipu_ready")
	n.srv.readyFlag.Store(true)
	n.srv.draining.Store(true)
	ask(503, "stops")
	n.srv.draining.Store(false)
	ask(200, "ok\n")
	// Who asks again at once gets the same answer.
	n.srv.draining.Store(true)
	if got := n.srv.readiness.look(n.srv.readiness.at.Add(readyKept), n.srv.unready); got != "" {
		t.Errorf("asked again at once: %q", got)
	}
	if got := n.srv.readiness.look(n.srv.readiness.at.Add(readyKept+1), n.srv.unready); got == "" {
		t.Error("asked again later: the old answer")
	}
	n.srv.draining.Store(false)
}

// TestMetricsWhileLoading: a page is made at once although a snapshot takes the place of the keyspace, and does not look at that.
func TestMetricsWhileLoading(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	n.srv.loading.Add(1)
	defer n.srv.loading.Add(-1)
	n.srv.reading.Lock()
	defer n.srv.reading.Unlock()
	status, body := n.ask("/metrics")
	page := parsePage(t, body)
	page.want(t, 1, "redis_up")
	page.want(t, 0, "quipu_ready")
	if _, there := page.value("redis_db_keys"); there || status != 200 {
		t.Errorf("%d, with the keyspace: %v", status, there)
	}
}

// TestMetricsTogether: those who ask at the same time get one page, whoever has it made; later it is another one.
func TestMetricsTogether(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	m := n.srv.metrics
	now := time.Now()
	pages := make([][]byte, 20)
	var busy sync.WaitGroup
	for i := range pages {
		busy.Go(func() { pages[i], _ = m.page(now) })
	}
	busy.Wait()
	for _, p := range pages {
		if len(p) == 0 || &p[0] != &pages[0][0] {
			t.Fatal("two pages")
		}
	}
	if p, err := m.page(now.Add(metricsKept)); err != nil || &p[0] == &pages[0][0] {
		t.Errorf("the old page: %v", err)
	}
}

// TestMetricsCount: histograms, limits, sources.
func TestMetricsCount(t *testing.T) {
	n := startNode(t, withHTTP(nil))
	c := n.dial()
	before := n.scrape()
	send(t, c, "INCR a", "INCR a", "INCR b", "GET a")
	for range 4 {
		readRaw(t, c)
	}
	after := n.scrape()
	for _, name := range []string{"quipu_commit_seconds", "quipu_batch_commands", "quipu_entry_bytes", "quipu_sync_seconds"} {
		a, _ := before.value(name)
		if b, there := after.value(name); !there || b < a+1 {
			t.Errorf("%s: %v, before %v", name, b, a)
		}
	}
	if got := after.sum("quipu_batch_commands") - before.sum("quipu_batch_commands"); got != 4 {
		t.Errorf("%v commands in batches, want 4: the read stands behind writes", got)
	}
	for range 10 {
		expect(t, c, "INCR a", ":")
	}
	if got := n.scrape().sum("quipu_batch_commands") - after.sum("quipu_batch_commands"); got != 10 {
		t.Errorf("%v commands in batches, want 10", got)
	}
	bad := n.dial()
	if err := bad.Send([]byte("*-9\r\n*x\r\n")); err != nil {
		t.Fatal(err)
	}
	readRaw(t, bad)
	page := n.scrape()
	page.want(t, 1, "quipu_limits_met_total", "limit=protocol")
	page.want(t, 0, "quipu_limits_met_total", "limit=memory")
	page.want(t, 0, "quipu_sources")
	callArgs(t, c, "MULTI")
	callArgs(t, c, "INGEST", "topic:0", "1", "", "5")
	callArgs(t, c, "INCR", "n")
	if got := callArgs(t, c, "EXEC"); strings.HasPrefix(got, "-") {
		t.Fatal(got)
	}
	n.scrape().want(t, 1, "quipu_sources")
}

// TestMetricsOfNodes: the node that leads shows how far the others are, those show what they forward, and one without a leader is not
// ready.
func TestMetricsOfNodes(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, withHTTP(nil))
	for _, n := range c.nodes {
		conn := n.dial()
		for range 20 {
			if got := call(t, conn, "INCR a"); !strings.HasPrefix(got, ":") {
				t.Fatal(got)
			}
		}
	}
	at := c.leader()
	for i, n := range c.nodes {
		page := n.scrape()
		page.want(t, 1, "quipu_has_leader")
		page.want(t, 3, "quipu_members")
		page.want(t, float64(boolInt(i == at)), "quipu_leader")
		forwards, _ := page.value("quipu_forward_seconds")
		commits, _ := page.value("quipu_commit_seconds")
		if i == at && (commits < 40 || forwards != 0) || i != at && forwards < 20 {
			t.Errorf("node %d of leader %d: %v commits, %v forwarded", i, at, commits, forwards)
		}
		for j, other := range c.nodes {
			id := "member=" + other.srv.replicas[0].Group.Status().NodeID
			page.want(t, 1, "quipu_member_up", id)
			if _, there := page.value("quipu_follower_lag_entries", id); there != (i == at && j != at) {
				t.Errorf("node %d shows how far node %d is: %v", i, j, there)
			}
		}
	}
	eventually(t, "the others to have everything", func() bool {
		page := c.nodes[at].scrape()
		for _, m := range page["quipu_follower_lag_entries"].GetMetric() {
			if m.Gauge.GetValue() != 0 {
				return false
			}
		}
		return true
	})
	last := (at + 1) % 3
	down := "member=" + c.nodes[(at+2)%3].srv.replicas[0].Group.Status().NodeID
	c.stop((at + 2) % 3)
	eventually(t, "the leader to see that a node is gone", func() bool {
		up, there := c.nodes[at].scrape().value("quipu_member_up", down)
		return there && up == 0
	})
	conn := c.nodes[at].dial()
	for range 20 {
		call(t, conn, "INCR a")
	}
	if lag, _ := c.nodes[at].scrape().value("quipu_follower_lag_entries", down); lag < 20 {
		t.Errorf("a node that is gone lags by %v entries", lag)
	}
	c.stop(at)
	eventually(t, "a node without a leader to say so", func() bool {
		status, body := c.nodes[last].ask("/readyz")
		return status == 503 && strings.Contains(body, "no leader")
	})
	page := c.nodes[last].scrape()
	page.want(t, 0, "quipu_ready")
	page.want(t, 0, "quipu_has_leader")
	_ = c.nodes[last].stop() // it cannot take a snapshot of what it may not apply
	c.nodes[last] = nil
}

// TestMetricsOfRegions: what INFO regions says.
func TestMetricsOfRegions(t *testing.T) {
	euPort, usPort := redistest.FreePort(t), redistest.FreePort(t)
	eu := regionNode(t, "eu", euPort, withHTTP(nil), peerAt("us", usPort))
	us := regionNode(t, "us", usPort, nil, peerAt("eu", euPort))
	a := eu.dial()
	us.dial()
	eventually(t, "links both ways", func() bool {
		info := call(t, a, "INFO regions")
		return strings.Contains(info, "state=connected") && strings.Contains(info, "region_incarnations:2")
	})
	expect(t, a, "INCRBY n 5", ":5\r\n", "REGION WAIT 1 20000", ":1\r\n")
	page := eu.scrape()
	page.want(t, 1, "quipu_region_info", "region=eu")
	page.want(t, 2, "quipu_region_incarnations")
	page.want(t, 1, "quipu_region_link_active", "to=us")
	page.want(t, 1, "quipu_region_link_up", "to=us")
	page.want(t, 0, "quipu_region_link_behind", "to=us")
	if frames, _ := page.value("quipu_region_link_frames_total", "to=us"); frames < 1 {
		t.Errorf("%v frames", frames)
	}
	page.want(t, 0, "quipu_region_tombstones")
	page.want(t, 0, "quipu_region_link_digest_mismatches_total", "to=us")
	if rows, _ := page.value("quipu_region_link_rows_total", "to=us"); rows < 1 {
		t.Errorf("%v rows", rows)
	}
}

// BenchmarkMetrics measures a page of a node that has run all commands there are, with keys in all databases.
func BenchmarkMetrics(b *testing.B) {
	n := startNode(b, withHTTP(nil))
	c := n.dial()
	for i := range n.srv.config().Databases {
		callArgs(b, c, "SELECT", strconv.Itoa(i))
		callArgs(b, c, "SET", "a", "1")
	}
	for i := range n.srv.rejected {
		n.srv.rejected[i].Add(1)
	}
	b.ReportAllocs()
	now := time.Now()
	for b.Loop() {
		now = now.Add(metricsKept)
		if _, err := n.srv.metrics.page(now); err != nil {
			b.Fatal(err)
		}
	}
	text, _ := n.srv.metrics.page(now)
	b.ReportMetric(float64(len(text)), "bytes")
}
