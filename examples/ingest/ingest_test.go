// Package ingest tests the connector in docs/events.md.
package ingest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

const posts = 50

// write makes a file of likes, and counts them.
func write(t *testing.T, path string, n int) (likes [posts]int) {
	var b strings.Builder
	rnd := rand.New(rand.NewPCG(9, 1))
	for range n {
		post := rnd.IntN(posts)
		likes[post]++
		fmt.Fprintf(&b, "{\"event\": \"like\", \"post\": %d}\n", post)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return likes
}

// TestConnector: two connectors count the same file at once, are killed again and again, and so is the node that leads, and all
// nodes at once: each line counts once.
func TestConnector(t *testing.T) {
	python := toolbox.Python(t, "redis")
	nodes := redistest.StartCluster(t, 3)
	file := filepath.Join(t.TempDir(), "likes")
	likes := write(t, file, redistest.Size(20_000, 60_000, 300_000))
	args := []string{"ingest.py", file}
	for _, n := range nodes {
		args = append(args, n.Addr)
	}
	starts, ended := 0, make(chan error, 2)
	stop := make(chan struct{})
	kills := make(chan int, 2)
	for id := range 2 {
		go func() {
			n, err := supervise(t, python, args, uint64(id), stop)
			kills <- n
			ended <- err
		}()
	}
	for range 2 {
		time.Sleep(700 * time.Millisecond)
		redistest.KillLeader(t, nodes)
	}
	for _, n := range nodes {
		n.Kill9()
	}
	for _, n := range nodes {
		if err := n.Relaunch(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		starts += <-kills
	}
	if err := nodes[0].WaitReady(time.Minute); err != nil { // the connectors may have come to the end with the others
		t.Fatal(err)
	}
	conn := nodes[0].Dial(t)
	for post, want := range likes {
		reply, err := conn.Do("GET", fmt.Sprintf("likes:%d", post))
		if err != nil || reply.Text != strconv.Itoa(want) {
			t.Errorf("post %d has %v likes, %v, want %d", post, reply, err, want)
		}
	}
	t.Logf("connectors were killed %d times", starts)
}

// supervise starts the connector again and again, and kills it after a while, until stop is closed; then it lets it come to the end.
func supervise(t *testing.T, python toolbox.Interpreter, args []string, id uint64, stop chan struct{}) (kills int, err error) {
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), id))
	for {
		cmd := python.Command(t.Context(), args...)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return kills, err
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done: // it has come to the end of the file
			return kills, err
		case <-stop:
			return kills, <-done
		case <-time.After(time.Duration(200+rnd.IntN(300)) * time.Millisecond):
			kills++
			_ = cmd.Process.Kill()
			<-done
		}
	}
}

// TestPage: the page shows the connector as it is.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("ingest.py")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```python\n"+string(program)+"```\n") {
		t.Error("docs/events.md shows another program than examples/ingest/ingest.py")
	}
}
