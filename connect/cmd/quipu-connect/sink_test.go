package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quipu/connect/internal/testbed"
)

// sinkBed is a server, and a configuration that counts lines of a file and keeps the counts in SQLite.
type sinkBed struct {
	*testing.T
	server *testbed.Quipu
	conf   string
}

func newSinkBed(t *testing.T, more string) *sinkBed {
	dir := t.TempDir()
	b := &sinkBed{T: t, server: testbed.StartQuipu(t, 1), conf: filepath.Join(dir, "likes.conf")}
	log := filepath.Join(dir, "log.jsonl")
	if err := os.WriteFile(log, []byte(strings.Repeat("{\"k\":\"a\"}\n{\"k\":\"b\"}\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("quipu %s\n%ssource s\n  file %s\n  INCR n:{k}\nsink totals\n  match n:*\n  sql sqlite:%s\n  every 50ms\n",
		b.server.Addrs[0], more, log, filepath.Join(dir, "likes.db"))
	if err := os.WriteFile(b.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// awaitStatus waits until status says everything of want.
func (b *sinkBed) awaitStatus(want ...string) {
	b.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, _, err := play(b.T, "", "status", "-once", b.conf)
		missing := ""
		for _, w := range want {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), w) {
				missing = w
			}
		}
		if err == nil && missing == "" {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("no %q in the status:\n%s, %v", missing, out, err)
		}
	}
}

// TestSinkUntilEnd: -until-end ends when what the sources had is in the database.
func TestSinkUntilEnd(t *testing.T) {
	b := newSinkBed(t, "")
	if out, _, err := play(t, "", "check", b.conf); err != nil || !strings.Contains(out, "1 sinks") {
		t.Errorf("check says %q, %v", out, err)
	}
	b.awaitStatus("totals - 0 all 0.0 0 no-connector")
	if _, _, err := play(t, "", "run", "-until-end", b.conf); err != nil {
		t.Fatal(err)
	}
	b.awaitStatus(" 0 0.0 ")
	if err := b.server.Client(0).Incr(t.Context(), "n:c").Err(); err != nil {
		t.Fatal(err)
	}
	b.awaitStatus(" 1 0.")
}

// TestSinkRuns: status and metrics while it runs; adopt; SIGTERM ends it with status 0.
func TestSinkRuns(t *testing.T) {
	port := testbed.FreePort(t)
	b := newSinkBed(t, fmt.Sprintf("http 127.0.0.1:%d\n", port))
	p := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "run", b.conf)
	b.awaitStatus(fmt.Sprintf(":%d ", p.Pid()), "writing", "1000 counted = all")
	metrics := get(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	for _, want := range []string{
		`quipu_connect_sink_state{sink="totals",state="writing"} 1`, `quipu_connect_sink_owned{sink="totals"} 1`,
		`quipu_connect_sink_rows_total{sink="totals"} `, `quipu_connect_sink_seconds_behind{sink="totals"} `,
		`quipu_connect_sink_index{sink="totals"} `, "quipu_connect_sink_transaction_seconds_bucket",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics:\n%s", want, metrics)
		}
	}
	if out, _, err := play(t, "", "adopt", b.conf, "totals"); err != nil || !strings.Contains(out, "begins anew") {
		t.Errorf("adopt says %q, %v", out, err)
	}
	if _, _, err := play(t, "", "adopt", b.conf, "none"); err == nil || !strings.Contains(err.Error(), `no sink "none"`) {
		t.Errorf("adopt of no sink: %v", err)
	}
	for end := time.Now().Add(20 * time.Second); strings.Count(p.Output(), "msg=sweeping") < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not begin anew:\n%s", p.Output())
		}
	}
	b.awaitStatus("writing")
	if status := p.Terminate(); status != 0 {
		t.Errorf("SIGTERM ends it with status %d", status)
	}
}
