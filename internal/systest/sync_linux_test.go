package systest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// TestSyncsBeforeReply watches the node's system calls: between a write and its reply, and the write behind it, the log is
// synced. No other test would notice a sync that is left out, since the kernel keeps what a process that is killed has written.
func TestSyncsBeforeReply(t *testing.T) {
	strace := redistest.Tool(t, "strace")
	if out, err := exec.Command(strace, "-f", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot trace here: %v: %s", err, out)
	}
	calls := filepath.Join(t.TempDir(), "calls")
	port := strconv.Itoa(redistest.FreePort(t))
	cmd := exec.Command(strace, "-f", "-qq", "-e", "trace=fdatasync,fsync", "-o", calls, redistest.Binary(t), "server", "--port", port, "--dir", redistest.FastDir(t))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	defer func() {
		if pid != 0 {
			syscall.Kill(pid, syscall.SIGTERM) // strace ends with the node
		} else {
			cmd.Process.Kill()
		}
		cmd.Wait()
	}()
	var c *redistest.Conn
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var err error
		if c, err = redistest.Dial("127.0.0.1:" + port); err == nil {
			if reply, err := c.Do("EXISTS", "n"); err == nil && !reply.IsError() {
				break
			}
			c.Close()
		}
		if time.Now().After(end) {
			t.Fatalf("the node does not get ready: %v", err)
		}
	}
	defer c.Close()
	info, err := c.Do("INFO", "server")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info.Text, "\nprocess_id:")
	text, _, _ := strings.Cut(rest, "\r")
	if pid, err = strconv.Atoi(text); err != nil {
		t.Fatal(err)
	}
	ended := regexp.MustCompile(`(?m)(fdatasync\(|fdatasync resumed|fsync\(|fsync resumed).*= 0$`)
	syncs := func() int {
		b, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		return len(ended.FindAll(b, -1))
	}
	before := syncs()
	const writes = 50
	for range writes {
		if reply, err := c.Do("INCR", "n"); err != nil || reply.IsError() {
			t.Fatal(reply, err)
		}
	}
	if got := syncs() - before; got < writes {
		t.Errorf("%d writes, one after the other, and %d syncs", writes, got)
	}
}
