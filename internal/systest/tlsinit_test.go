//go:build linux

package systest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/ports"
	"quipu/internal/redistest"
)

// TestTLSInit does what `quipu tls init` says: the lines it prints make a configuration file, and the command it prints
// connects.
func TestTLSInit(t *testing.T) {
	t.Parallel()
	redistest.Tool(t, "redis-cli")
	for _, name := range []string{"tls", "it's a directory"} {
		dir := filepath.Join(t.TempDir(), name)
		printed, err := exec.Command(redistest.Binary(t), "tls", "init", "--dir", dir, "--hosts", "counts.example").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, printed)
		}
		port := strconv.Itoa(redistest.FreePort(t))
		text := strings.ReplaceAll(string(printed), "6380", port)
		lines := regexp.MustCompile(`(?m)^(peer-)?tls-\S+ .*$`).FindAllString(text, -1)
		command := regexp.MustCompile(`(?m)^redis-cli .*$`).FindString(text)
		if len(lines) != 7 || command == "" {
			t.Fatalf("%d lines of configuration, command %q: %s", len(lines), command, printed)
		}
		file := filepath.Join(t.TempDir(), "quipu.conf")
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		node := redistest.Quipu{File: file}
		node.Port = redistest.FreePort(t)
		node.Flags = []string{"--peer-addr", "127.0.0.1:" + strconv.Itoa(node.Port+ports.PeerOffset)}
		s := node.Start(t)
		if out, err := exec.Command("sh", "-c", command+" INCR a").CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
			t.Errorf("%s: %q, %v\n%s", command, out, err, s.Output())
		}
		backup := filepath.Join(t.TempDir(), "backup")
		flags := []string{"--addr", "127.0.0.1:" + port, "--tls", "--cacert", filepath.Join(dir, "ca.crt"), "--cert", filepath.Join(dir, "client.crt"), "--key", filepath.Join(dir, "client.key")}
		if out, err := exec.Command(redistest.Binary(t), append([]string{"backup", backup}, flags...)...).CombinedOutput(); err != nil {
			t.Errorf("backup over TLS: %v: %s", err, out)
		}
		if out, err := exec.Command(redistest.Binary(t), append([]string{"backup", backup}, flags[:5]...)...).CombinedOutput(); err == nil {
			t.Errorf("backup without a certificate: %s", out)
		}
		if out, err := exec.Command("sh", "-c", strings.Split(command, " --cert ")[0]+" PING").CombinedOutput(); err == nil {
			t.Errorf("without a certificate: %q", out)
		}
	}
}
