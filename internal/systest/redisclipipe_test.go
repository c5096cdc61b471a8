package systest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestRedisCLIPipe loads millions of commands through redis-cli --pipe.
func TestRedisCLIPipe(t *testing.T) {
	n := redistest.Size(100_000, 1_000_000, 5_000_000)
	cli := redistest.Tool(t, "redis-cli")
	s := redistest.Quipu{}.Start(t)
	const keys = 1000
	var one []byte
	for i := range keys {
		one = redistest.AppendCommand(one, "INCR", "key:"+strconv.Itoa(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cli, "-p", port(s), "--pipe")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w := bufio.NewWriterSize(stdin, 1<<20)
		for range n / keys {
			if _, err := w.Write(one); err != nil {
				break
			}
		}
		_ = w.Flush()
		stdin.Close()
	}()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("redis-cli --pipe: %v: %s", err, out.String())
	}
	t.Logf("%d commands in %v", n, time.Since(began).Round(time.Millisecond))
	if want := fmt.Sprintf("errors: 0, replies: %d\n", n); !strings.Contains(out.String(), want) {
		t.Errorf("output %q, expected %q", out.String(), want)
	}
	values, err := readDatabase(s.Dial(t))
	if err != nil || len(values) != keys {
		t.Fatalf("%d keys, %v", len(values), err)
	}
	for key, v := range values {
		if v != strconv.Itoa(n/keys) {
			t.Fatalf("%s is %s, expected %d", key, v, n/keys)
		}
	}
}

// TestRedisCLIPipeErrors sends commands that fail among others: each is reported, and what follows is carried out.
func TestRedisCLIPipeErrors(t *testing.T) {
	cli := redistest.Tool(t, "redis-cli")
	const intro = "All data transferred. Waiting for the last reply...\nLast reply received from server.\n"
	script := []byte("SET s x\r\nINCR s\r\nMULTI\r\nINCR a\r\nNOSUCH\r\nEXEC\r\n")
	for range 100 {
		script = redistest.AppendCommand(script, "INCR", "n")
		script = redistest.AppendCommand(script, "INCRBY", "n", "x")
	}
	wrong := "ERR value is not an integer or out of range\n"
	want := intro + "errors: 103, replies: 206\n"
	eachServer(t, nil, func(t *testing.T, s *redistest.Server) {
		out, status := program{path: cli, args: []string{"-p", port(s), "--pipe"}, stdin: script}.run(t)
		rest := strings.ReplaceAll(out, wrong, "")
		rest = strings.Replace(rest, "ERR unknown command 'NOSUCH', with args beginning with: \n", "", 1)
		rest = strings.Replace(rest, "EXECABORT Transaction discarded because of previous errors.\n", "", 1)
		if status != 1 || rest != want || strings.Count(out, wrong) != 101 {
			t.Errorf("status %d, output %.2000q", status, out)
		}
		if n := do(t, s.Dial(t), "GET", "n"); n.Text != "100" {
			t.Errorf("the counter is %v", n)
		}
		out, status = program{path: cli, args: []string{"-p", port(s), "-n", "3", "--pipe-timeout", "10", "--pipe"}}.run(t)
		if out != intro+"errors: 0, replies: 0\n" || status != 0 {
			t.Errorf("nothing to send: status %d, %q", status, out)
		}
	})
}
