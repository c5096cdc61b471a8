package oracle

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/replication"
	"quipu/server"
)

// password is what servers that have one want.
const password = "secret"

// setup says how a pair of servers runs.
type setup struct {
	password  bool
	disk      bool // Quipu on a Raft group on disk instead of one in memory
	local     bool // Quipu answers increments ahead: no difference to be seen while it lives
	transport string
}

// pair is a redis-server and a Quipu node that share a clock.
type pair struct {
	tb    testing.TB
	setup setup
	clock *clock
	redis *redistest.Server
	addrs [2]string // of Redis, of Quipu
	stop  func()
}

// clock is the time both servers see: it stands still until it is moved.
type clock struct {
	file *os.File
	ms   atomic.Int64
}

// clockStart is when each pair of servers begins, in ms.
const clockStart = 1_700_000_000_000

func newClock(tb testing.TB) *clock {
	tb.Helper()
	file, err := os.Create(filepath.Join(tb.TempDir(), "now"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { file.Close() })
	c := &clock{file: file}
	c.set(clockStart)
	return c
}

func (c *clock) now() int64 { return c.ms.Load() }

func (c *clock) set(ms int64) {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(ms*1000))
	if _, err := c.file.WriteAt(b[:], 0); err != nil {
		panic(err)
	}
	c.ms.Store(ms)
}

// logTime is Quipu's side of the clock.
func (c *clock) logTime() *replication.Clock {
	now := func() int64 { return c.ms.Load() * int64(time.Millisecond) }
	return replication.NewClock(&replication.TimeSource{Mono: now, Wall: now})
}

// shim compiles the library that gives redis-server the test's clock, or skips the test.
func shim(tb testing.TB) string {
	tb.Helper()
	redistest.Tool(tb, "redis-server")
	if runtime.GOOS != "linux" {
		tb.Skip("redis-server's clock can be set only on Linux")
	}
	if _, err := exec.LookPath("gcc"); err != nil && !redistest.Required() {
		tb.Skip("no gcc, which makes the clock that redis-server is given")
	}
	path := filepath.Join(tb.TempDir(), "clock.so")
	if out, err := exec.Command("gcc", "-O1", "-shared", "-fPIC", "-o", path, "testdata/clock.c").CombinedOutput(); err != nil {
		tb.Fatalf("gcc: %v\n%s", err, out)
	}
	return path
}

func startPair(tb testing.TB, lib string, s setup) *pair {
	tb.Helper()
	p := &pair{tb: tb, setup: s, clock: newClock(tb)}
	settings := []string{"--enable-debug-command", "yes", "--proto-max-bulk-len", "8mb", "--hz", "100",
		"--jemalloc-bg-thread", "no"} // it waits for moments of a clock that stands still, and so never sleeps
	if s.password {
		settings = append(settings, "--requirepass", password)
	}
	p.redis = redistest.StartRedisEnv(tb, []string{"LD_PRELOAD=" + lib, "QUIPU_TEST_CLOCK=" + p.clock.file.Name()}, settings...)
	p.addrs = [2]string{p.redis.Addr, p.startQuipu()}
	for side := range p.addrs {
		c := p.dial(side)
		if side == 0 { // dead keys go when they are looked at, not when Redis finds the time
			if r, err := c.Do("DEBUG", "SET-ACTIVE-EXPIRE", "0"); err != nil || r.Text != "OK" {
				tb.Fatalf("DEBUG SET-ACTIVE-EXPIRE: %v, %v", r, err)
			}
		}
		c.Close()
	}
	return p
}

// startQuipu starts a node in this process and returns its address.
func (p *pair) startQuipu() string {
	tb := p.tb
	cfg := config.Default()
	cfg.Port, cfg.AnyPort, cfg.Dir, cfg.MaxBulk = 0, true, tb.TempDir(), 8<<20
	cfg.Transport, cfg.AuthFailures, cfg.SegmentBytes = p.setup.transport, 1<<20, 4<<20
	if p.setup.password {
		cfg.RequirePass = password
	}
	cfg.AckLocal = p.setup.local
	srv, err := server.NewWithGroups(cfg, nil, func(rc replication.Config, sm replication.StateMachine) (replication.Group, error) {
		if !p.setup.disk {
			return replication.NewMemoryGroup(sm, p.clock.logTime()), nil
		}
		rc.Clock = p.clock.logTime()
		return replication.OpenGroup(context.Background(), rc, sm)
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	p.stop = func() {
		p.stop = func() {}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				tb.Errorf("the node stopped: %v", err)
			}
		case <-time.After(time.Minute):
			tb.Error("the node does not stop")
		}
	}
	tb.Cleanup(func() { p.stop() })
	<-srv.Serving()
	addr := srv.Addr().String()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := redistest.Dial(addr)
		if err == nil {
			r, err := c.Do("EXISTS", "a")
			c.Close()
			if err == nil && r.Text != "LOADING Redis is loading the dataset in memory" {
				return addr
			}
		}
		if time.Now().After(end) {
			tb.Fatalf("the node does not get ready: %v", err)
		}
	}
}

// close ends both servers; the test's end does so too.
func (p *pair) close() {
	p.stop()
	p.redis.Kill9()
}

// dial opens a connection to one side, authenticated where there is a password.
func (p *pair) dial(side int) *redistest.Conn {
	c, err := redistest.Dial(p.addrs[side])
	if err == nil && p.setup.password {
		var r redistest.Reply
		if r, err = c.Do("AUTH", password); err == nil && r.IsError() {
			err = fmt.Errorf("AUTH: %s", r.Text)
		}
	}
	if err != nil {
		p.tb.Fatalf("connecting: %v", err)
	}
	c.Timeout = replyTimeout
	return c
}

// replyTimeout is how long a reply may take, on a machine that is busy.
const replyTimeout = 10 * time.Second
