package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/app"
	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/files"
	"quipu/connect/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// play runs one command in this process.
func play(t *testing.T, input string, args ...string) (out, errs string, err error) {
	t.Helper()
	return playUntil(t.Context(), input, args...)
}

// playUntil is play until ctx is done.
func playUntil(ctx context.Context, input string, args ...string) (out, errs string, err error) {
	var stdout, stderr bytes.Buffer
	p := &app.Program{Name: "quipu-connect", Kinds: kinds, In: strings.NewReader(input), Out: &stdout, Err: &stderr}
	err = p.Run(ctx, args)
	return stdout.String(), stderr.String(), err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCheck: mistakes are named with file and line.
func TestCheck(t *testing.T) {
	good := write(t, "good.conf", "source s\n  kafka 127.0.0.1:1\n  topic t\n  group g\n  INCR n:{k}\n")
	if out, _, err := play(t, "", "check", good); err != nil || !strings.Contains(out, "is correct") {
		t.Errorf("%q, %v", out, err)
	}
	for text, want := range map[string]string{
		"source s\n  kafka 127.0.0.1:1\n  topic t\n  group g\n  INCR n:{k\n":        ":5: ",
		"source s\n  kafka 127.0.0.1:1\n  topic t\n  gruop g\n  INCR n\n":           ":4: ",
		"source s\n  kafka 127.0.0.1:1\n  topic t\n  group g\n  GET n\n":            ":5: ",
		"source s\n  pulsar pulsar://127.0.0.1:1\n  topic t\n  INCR n\n":            "quipu-connect-pulsar",
		"source s\n  kafka 127.0.0.1:1\n  topic t\n  group g\n  when (\n  INCR n\n": ":5: ",
		"sink s\n  sql postgres://127.0.0.1:x/d\n":                                  ":2: ",
		"sink s\n  sql \"postgres://127.0.0.1/d?sslmode=some\"\n":                   ":1: ",
	} {
		path := write(t, "bad.conf", text)
		if _, _, err := play(t, "", "check", path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	for _, args := range [][]string{{}, {"check"}, {"check", good, "more"}, {"count"}, {"run", good, "-fast"}} {
		if _, _, err := play(t, "", args...); err != app.ErrUsage { //nolint:errorlint // it is exactly that
			t.Errorf("%q: error %v", args, err)
		}
	}
}

// TestTest: commands are printed as redis-cli reads them, bad records are named, and nothing is sent.
func TestTest(t *testing.T) {
	path := write(t, "t.conf", "source s\n  kafka 127.0.0.1:1\n  topic t\n  group g\n  when ok == true\n  INCRBY n:{k} {w|1}\n  PFADD u {user}\n")
	out, errs, err := play(t, `{"ok":true,"k":"a b","user":"x"}
{"ok":false}
{"ok":true,"k":"c","w":5,"user":"y"}
nonsense
`, "test", path)
	if want := "INCRBY \"n:a b\" 1\nPFADD u x\nINCRBY n:c 5\nPFADD u y\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if !strings.Contains(errs, "record 2: filtered") || !strings.Contains(errs, "record 4: ") || err == nil {
		t.Errorf("told %q, %v", errs, err)
	}
	path = write(t, "c.conf", "source s\n  file t.csv\n  INCR n:{k}\n")
	if out, _, err := play(t, "k,v\na,1\n", "test", path); out != "INCRBY n:a 1\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// TestRetry: records that were set aside count once when they can be read, however often it is run; the others stay.
func TestRetry(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	log := write(t, "log.jsonl", "{\"k\":\"a\"}\n{\"k\":\"a\",\"w\":\"many\"}\n{\"k\":\"a\",\"w\":3}\nbroken\n")
	conf := func(weight string) string {
		return write(t, "t.conf", fmt.Sprintf("quipu %s\nsource s\n  file %s\n  on-bad-record park dead\n  INCRBY n:{k} %s\n", server.Addrs[0], log, weight))
	}
	if _, _, err := play(t, "", "run", "-until-end", conf("{w|1}")); err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		if got := server.Client(0).Get(t.Context(), "n:a").Val(); got != want {
			t.Errorf("n:a is %s, want %s", got, want)
		}
	}
	expect("4")
	out, _, err := play(t, "", "status", "-once", conf("{w|1}"))
	if err != nil || !strings.Contains(out, "2 counted + 2 parked = all") {
		t.Errorf("status says\n%s, %v", out, err)
	}
	for _, want := range []string{"1 counted, 1 still cannot be", "0 counted, 1 still cannot be"} {
		out, _, err := play(t, "", "retry", conf("10"), "s")
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("retry says %q, %v, want %q", out, err, want)
		}
		expect("14")
	}
	if line := server.Client(0).Get(t.Context(), "dead/0").Val(); !strings.HasPrefix(line, "4:") || strings.Count(line, "\n") != 1 {
		t.Errorf("what is left: %q", line)
	}
}

// bed is a broker, a server and a connector as processes.
type bed struct {
	*testing.T
	broker *testbed.Broker
	server *testbed.Quipu
	conf   string
}

func newBed(t *testing.T, lines string) *bed {
	b := &bed{T: t, broker: testbed.StartKfake(t), server: testbed.StartQuipu(t, 1)}
	b.broker.CreateTopic(t, "likes", 4)
	b.conf = filepath.Join(t.TempDir(), "likes.conf")
	b.configure(lines)
	return b
}

func (b *bed) configure(lines string) {
	b.Helper()
	text := fmt.Sprintf("quipu %s\n%s\nsource likes\n  kafka %s\n  topic likes\n  group g\n  INCR n:{k}\n", b.server.Addrs[0], lines, b.broker.Addr)
	if err := os.WriteFile(b.conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) produce(n int) {
	b.Helper()
	client := b.broker.Client(b.T, kgo.DefaultProduceTopic("likes"))
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Value: []byte(`{"k":"a"}`), Key: fmt.Append(nil, i)}
	}
	if err := client.ProduceSync(b.Context(), records...).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) await(key string, want int) {
	b.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, _ := b.server.Client(0).Get(b.Context(), key).Int()
		if got == want {
			return
		}
		if got > want || time.Now().After(end) {
			b.Fatalf("%s is %d, want %d", key, got, want)
		}
	}
}

// TestRun: metrics and status while it runs; SIGHUP takes another configuration, and keeps the old one if the new one is wrong; SIGTERM
// ends it with status 0, and another connector takes over at once.
func TestRun(t *testing.T) {
	port := testbed.FreePort(t)
	b := newBed(t, fmt.Sprintf("http 127.0.0.1:%d", port))
	program := testbed.Program(t, "./cmd/quipu-connect")
	one := testbed.StartProcess(t, program, "run", b.conf)
	b.produce(1000)
	b.await("n:a", 1000)
	metrics := get(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	for _, want := range []string{
		`quipu_connect_records_total{outcome="counted",partition="likes/0"} `, `quipu_connect_identity_off{partition="likes/0"} 0`,
		`quipu_connect_state{partition="likes/0",state="counting"} 1`, "quipu_connect_transaction_seconds_bucket",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics:\n%s", want, metrics)
		}
	}
	b.configure("")
	if err := os.WriteFile(b.conf, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one.Signal(syscall.SIGHUP)
	b.awaitOutput(one, "the old one goes on")
	b.produce(1000)
	b.await("n:a", 2000)
	b.configure("")
	text, err := os.ReadFile(b.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.conf, append(text, "  INCR m:{k}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	one.Signal(syscall.SIGHUP)
	b.awaitOutput(one, "is read again")
	b.produce(1000)
	b.await("n:a", 3000)
	b.await("m:a", 1000)

	two := testbed.StartProcess(t, program, "run", b.conf)
	if status := one.Terminate(); status != 0 {
		t.Errorf("SIGTERM ends it with status %d", status)
	}
	handedOver := time.Now()
	b.produce(1000)
	b.await("n:a", 4000)
	t.Logf("handed over in %v", time.Since(handedOver))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) { // what is told of the first one has expired
		out, _, err := play(t, "", "status", "-once", b.conf)
		if err == nil && strings.Count(out, fmt.Sprintf(":%d ", two.Pid())) == 4 && strings.Count(out, " = all") == 4 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("status says\n%s, %v", out, err)
		}
	}
}

func (b *bed) awaitOutput(p *testbed.Process, text string) {
	b.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(p.Output(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("the connector did not say %q:\n%s", text, p.Output())
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAccept: the command has a partition of a topic that was created anew go on, and says so.
func TestAccept(t *testing.T) {
	b := newBed(t, "")
	connector := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "run", b.conf)
	b.produce(100)
	b.await("n:a", 100)
	b.broker.DeleteTopic(t, "likes")
	b.broker.CreateTopic(t, "likes", 4)
	b.produce(50)
	b.awaitOutput(connector, "new-incarnation")
	if out, _, err := play(t, "", "status", "-once", b.conf); err != nil || !strings.Contains(out, "new-incarnation") {
		t.Errorf("status says\n%s, %v", out, err)
	}
	out, _, err := play(t, "", "accept", b.conf, "likes")
	if err != nil || strings.Count(out, "counts the new one") != 4 {
		t.Errorf("accept says %q, %v", out, err)
	}
	b.await("n:a", 150)
	if out, _, err := play(t, "", "accept", b.conf, "likes"); err != nil || strings.Count(out, "nothing to accept") != 4 {
		t.Errorf("accept says %q, %v", out, err)
	}

	if status := connector.Terminate(); status != 0 {
		t.Errorf("ended with status %d", status)
	}
	if _, _, err := play(t, "", "accept", b.conf, "likes", "-at", "2"); err == nil {
		t.Error("all partitions go on at 2")
	}
	if out, _, err := play(t, "", "accept", b.conf, "likes/0", "-at", "0"); err != nil || !strings.Contains(out, "goes on at 0") {
		t.Errorf("accept says %q, %v", out, err)
	}
	first, err := b.broker.Admin(t).ListEndOffsets(t.Context(), "likes")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := first.Lookup("likes", 0)
	if _, _, err := play(t, "", "run", "-until-end", b.conf); err != nil {
		t.Fatal(err)
	}
	b.await("n:a", 150+int(again.Offset))
	if out, _, err := play(t, "", "status", "-once", b.conf); err != nil || strings.Count(out, " = all") != 4 {
		t.Errorf("status says\n%s, %v", out, err)
	}
}

// TestRetryAtOnce: several who retry at the same time count each record once.
func TestRetryAtOnce(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	log := write(t, "log.jsonl", strings.Repeat("{\"k\":\"a\"}\n", 500))
	conf := func(weight string) string {
		return write(t, "t.conf", fmt.Sprintf("quipu %s\nsource s\n  file %s\n  on-bad-record park dead\n  INCRBY n:{k} %s\n", server.Addrs[0], log, weight))
	}
	if _, _, err := play(t, "", "run", "-until-end", conf("{w}")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	path := conf("2")
	for range 4 {
		all.Go(func() {
			if _, _, err := play(t, "", "retry", path, "s"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n, err := server.Client(0).Get(t.Context(), "n:a").Int(); err != nil || n != 1000 {
		t.Errorf("n:a is %d, %v, want 1000", n, err)
	}
}

// TestAcceptWithoutNumbers: where places are no numbers (Pulsar), -at is refused, and changes nothing.
func TestAcceptWithoutNumbers(t *testing.T) {
	server := testbed.StartQuipu(t, 1)
	conf := write(t, "t.conf", fmt.Sprintf("quipu %s\nsource s\n  file log.jsonl\n  INCR n:{k}\n", server.Addrs[0]))
	if err := server.Client(0).Do(t.Context(), "INGEST", "SET", "s/0", "topic", "7:3").Err(); err != nil {
		t.Fatal(err)
	}
	numberless := files.Kind
	numberless.Start, numberless.Progress = nil, nil
	p := &app.Program{
		Name: "quipu-connect", Kinds: map[config.Kind]count.Kind{config.KindFile: numberless},
		In: strings.NewReader(""), Out: io.Discard, Err: io.Discard,
	}
	if err := p.Run(t.Context(), []string{"accept", conf, "s/0", "-at", "7:9"}); err == nil || !strings.Contains(err.Error(), "INGEST SET") {
		t.Errorf("accept -at: %v", err)
	}
	at, err := server.Client(0).Do(t.Context(), "INGEST", "POSITION", "s/0").StringSlice()
	if err != nil || at[1] != "7:3" {
		t.Errorf("position %q, %v", at, err)
	}
}
