package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// output keeps what the program says.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// TestTour does what the program says to try: count on both sides of a cut, and heal it.
func TestTour(t *testing.T) {
	port := redistest.FreePort(t) // and the next two, as with examples/cluster
	ctx, cancel := context.WithCancel(t.Context())
	typed, type_ := io.Pipe()
	said := &output{}
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, redistest.Binary(t), filepath.Join(t.TempDir(), "regions"), port, typed, said)
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	eu, us := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(port)}), redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(port+1)})
	defer eu.Close()
	defer us.Close()
	until := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no sign of: %s", what)
			}
		}
	}
	until("links", func() bool { return eu.Do(ctx, "REGION", "WAIT", 2, 10).Val() == int64(2) })
	eu.IncrBy(ctx, "likes", 5)
	until("likes in us", func() bool { return us.Get(ctx, "likes").Val() == "5" })
	io.WriteString(type_, "cut eu us\n")
	io.WriteString(type_, "cut eu asia\n")
	until("the cuts", func() bool { return strings.Count(said.String(), "do not hear of each other") == 2 })
	eu.Del(ctx, "likes")
	us.IncrBy(ctx, "likes", 2)
	if eu.Exists(ctx, "likes").Val() != 0 || us.Get(ctx, "likes").Val() != "7" {
		t.Error("a cut is none")
	}
	io.WriteString(type_, "heal\n")
	until("both have 2", func() bool { return eu.Get(ctx, "likes").Val() == "2" && us.Get(ctx, "likes").Val() == "2" })
}
