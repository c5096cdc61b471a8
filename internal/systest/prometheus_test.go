package systest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// What is in ops/ for Prometheus and Grafana, tried with Debian's Prometheus: a dashboard or an alert that names a metric which does not
// exist shows nothing, and nobody notices.

const opsFolder = "../../ops"

// alertNames are the alerts of alerts.yml, in its order.
func alertNames(t *testing.T) (names []string) {
	text := opsText(t, opsFolder, "prometheus", "alerts.yml")
	for _, m := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	if len(names) < 10 {
		t.Fatalf("alerts.yml has %d alerts", len(names))
	}
	return names
}

// opsText is a file as text.
func opsText(t *testing.T, path ...string) string {
	t.Helper()
	return string(readFile(t, filepath.Join(path...)))
}

// TestAlertsAreExplained: each alert has a paragraph in docs/operations.md that it links to, and a test for when it comes and one for when
// it does not.
func TestAlertsAreExplained(t *testing.T) {
	rules := opsText(t, opsFolder, "prometheus", "alerts.yml")
	tests := opsText(t, opsFolder, "prometheus", "alerts_test.yml")
	page := opsText(t, "../../docs/operations.md")
	names := alertNames(t)
	for _, name := range names {
		if !strings.Contains(rules, "runbook: docs/operations.md#"+strings.ToLower(name)+"\n") || strings.Count(page, "\n### "+name+"\n") != 1 {
			t.Errorf("%s has no paragraph, or no link to it", name)
		}
		if !strings.Contains(tests, "alertname: "+name+"\n        exp_alerts:\n          - exp_labels:") || !strings.Contains(tests, "alertname: "+name+"\n        exp_alerts: []") {
			t.Errorf("%s has no test for when it comes, or none for when it does not", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Quipu\w+)$`).FindAllStringSubmatch(page, -1) {
		if !slices.Contains(names, m[1]) {
			t.Errorf("operations.md explains %s, which is no alert", m[1])
		}
	}
}

// TestAlertRules: promtool takes the rules and the example, and each alert comes when it is to come.
func TestAlertRules(t *testing.T) {
	promtool := redistest.Tool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}, {"check", "config", "--syntax-only", "prometheus.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = filepath.Join(opsFolder, "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// dashboardQueries are the queries of the dashboard, with its variables set.
func dashboardQueries(t *testing.T) (list []string) {
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(opsFolder, "grafana", "quipu.json")), &board); err != nil {
		t.Fatal(err)
	}
	set := strings.NewReplacer("$job", "quipu", "$instance", ".*", "$__rate_interval", "10s")
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			list = append(list, set.Replace(target.Expr))
		}
	}
	if len(list) < 20 {
		t.Fatalf("the dashboard has %d queries", len(list))
	}
	return list
}

// prometheus is one that reads nodes every second.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, targets []string) *prometheus {
	t.Helper()
	path := redistest.Tool(t, "prometheus")
	dir := t.TempDir()
	rules, err := filepath.Abs(filepath.Join(opsFolder, "prometheus", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n- job_name: quipu\n  basic_auth: {username: prometheus, password: scrape}\n  static_configs:\n  - targets: [%s]\n",
		rules, strings.Join(targets, ", "))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + strconv.Itoa(redistest.FreePort(t))
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		out.Close()
		if t.Failed() {
			t.Logf("Prometheus says: %.3000s", readFile(t, out.Name()))
		}
	})
	return &prometheus{t, "http://" + address}
}

// get asks the interface of Prometheus; false: it does not answer yet, or says no.
func (p *prometheus) get(path string, query url.Values, data any) bool {
	resp, err := http.Get(p.url + path + "?" + query.Encode())
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	answer := struct {
		Status string
		Error  string
		Data   any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return false
	}
	if answer.Error != "" {
		p.t.Errorf("%s %v: %s", path, query, answer.Error)
	}
	return answer.Status == "success"
}

// results is how many series a query gives now.
func (p *prometheus) results(query string) int {
	var data struct{ Result []any }
	if !p.get("/api/v1/query", url.Values{"query": {query}}, &data) {
		return 0
	}
	return len(data.Result)
}

// names are the metrics that were read.
func (p *prometheus) names() (list []string) {
	p.get("/api/v1/label/__name__/values", nil, &list)
	return list
}

var metricName = regexp.MustCompile(`\b(?:redis|quipu|process|go)_[a-z0-9_]+\b`)

// TestPrometheus has Prometheus read a cluster of three nodes, which is a region beside another one: it takes the pages, each metric that
// the alerts, the dashboard or docs/operations.md name is there, each query of the dashboard gives something, and no alert comes.
func TestPrometheus(t *testing.T) {
	redistest.Tool(t, "prometheus")
	farPort := redistest.FreePort(t)
	targets := make([]string, 3)
	for i := range targets {
		targets[i] = "127.0.0.1:" + strconv.Itoa(redistest.FreePort(t))
	}
	far := redistest.Quipu{Port: farPort, Flags: []string{"--region", "us"}}.Start(t)
	nodes := redistest.LaunchCluster(t, 3, func(i int) []string {
		return []string{"--http-addr", targets[i], "--user", "prometheus on >scrape +info", "--region", "eu", "--region-peers", "us=" + far.Addr}
	})
	for _, n := range nodes {
		if err := n.WaitServes(20 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	p := startPrometheus(t, targets)
	missing := map[string]bool{}
	for _, q := range dashboardQueries(t) {
		missing[q] = true
	}
	for end := time.Now().Add(90 * time.Second); len(missing) > 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("these queries of the dashboard give nothing: %s", strings.Join(slices.Sorted(maps.Keys(missing)), "\n"))
		}
		for _, n := range nodes {
			work(t, n)
		}
		for q := range missing {
			if p.results(q) > 0 {
				delete(missing, q)
			}
		}
	}
	if n := p.results(`up{job="quipu"} == 1`); n != 3 {
		t.Errorf("Prometheus reads %d nodes", n)
	}
	names := p.names()
	for _, file := range []string{"ops/prometheus/alerts.yml", "ops/grafana/quipu.json", "docs/operations.md"} {
		for _, name := range metricName.FindAllString(opsText(t, "../..", file), -1) {
			if !slices.ContainsFunc(names, func(n string) bool { return n == name || strings.TrimSuffix(n, "_bucket") == name }) && !notShown[name] {
				t.Errorf("%s names %s, which no node shows", file, name)
			}
		}
	}
	var alerts struct {
		Alerts []struct{ Labels map[string]string }
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) { // one that waits for its time may be of before all was well
		if alerts.Alerts = nil; !p.get("/api/v1/alerts", nil, &alerts) {
			t.Error("no answer about alerts")
		}
		if len(alerts.Alerts) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("an alert comes although all is well: %v", alerts.Alerts)
		}
	}
	p.rulesAreRead(alertNames(t))
}

// notShown are metrics that docs/operations.md says are not there, the beginning of some names, and a program.
var notShown = map[string]bool{"redis_exporter": true, "redis_acl_access_denied_": true}

// rulesAreRead waits until Prometheus has evaluated all alerts without an error.
func (p *prometheus) rulesAreRead(names []string) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var groups struct {
			Groups []struct {
				Rules []struct{ Name, Health string }
			}
		}
		good := 0
		if p.get("/api/v1/rules", nil, &groups) {
			for _, g := range groups.Groups {
				for _, r := range g.Rules {
					if r.Health == "ok" && slices.Contains(names, r.Name) {
						good++
					}
				}
			}
		}
		if good == len(names) {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%d of %d alerts are evaluated", good, len(names))
		}
	}
}

// work does something of everything on a node that the dashboard shows.
func work(t *testing.T, n *redistest.Server) {
	t.Helper()
	c, err := redistest.Dial(n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, words := range []string{"INCR a", "SET b 1 PX 50", "GET a", "GET none", "LPUSH x y", "NOSUCH"} {
		if _, err := c.Do(strings.Fields(words)...); err != nil {
			t.Fatal(err)
		}
	}
}
