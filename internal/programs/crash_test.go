package programs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// workers is how many threads or processes a program counts with through a crash.
const workers = 4

// TestCrash kills the node under programs that count, and starts it again. Every increment that a program was told of is
// there. More can be: a worker whose connection broke does not know whether the command it had sent took effect, and its
// client may have sent it once more. That is one command for each worker.
func TestCrash(t *testing.T) {
	for _, p := range programs {
		if p.hits == "" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			with := p.find(t)
			s := redistest.Quipu{}.Start(t)
			ctx, cancel := context.WithTimeout(t.Context(), programLimit)
			defer cancel()
			cmd := with.Command(ctx, "testdata/"+p.script, "count")
			cmd.Env = append(cmd.Env, p.env(s, "quipu")...)
			cmd.WaitDelay = 5 * time.Second
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			crashErr := p.crashWhileCounting(ctx, s)
			stdin.Close()
			err = cmd.Wait()
			if err := errors.Join(crashErr, err); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			number, ok := strings.CutPrefix(strings.TrimSpace(out.String()), "acknowledged ")
			acknowledged, err := strconv.ParseInt(number, 10, 64)
			if !ok || err != nil {
				t.Fatalf("output: %s", out.String())
			}
			total, err := p.counted(s)
			if err != nil {
				t.Fatal(err)
			}
			if total < acknowledged || total > acknowledged+workers {
				t.Errorf("%d acknowledged, %d counted", acknowledged, total)
			}
			t.Logf("%d acknowledged, %d counted", acknowledged, total)
		})
	}
}

// crashWhileCounting waits until the program counts, kills the node, starts it again, and waits until it counts on.
func (p program) crashWhileCounting(ctx context.Context, s *redistest.Server) error {
	const enough = 100
	if err := p.reaches(ctx, s, enough); err != nil {
		return err
	}
	if err := s.Restart(time.Minute); err != nil {
		return err
	}
	n, err := p.counted(s)
	if err != nil {
		return err
	}
	return p.reaches(ctx, s, n+enough)
}

// reaches waits until the counter is at least n.
func (p program) reaches(ctx context.Context, s *redistest.Server, n int64) error {
	for {
		v, err := p.counted(s)
		if err != nil || v >= n {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is %d and does not reach %d", p.hits, v, n)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// counted is what the counter holds, 0 if it does not exist.
func (p program) counted(s *redistest.Server) (int64, error) {
	c, err := redistest.Dial(s.Addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	replies, err := c.Pipeline([]string{"SELECT", p.db}, []string{"GET", p.hits})
	if err != nil || replies[1].IsNull() {
		return 0, err
	}
	return replies[1].Int()
}
