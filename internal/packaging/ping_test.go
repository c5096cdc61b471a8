package packaging

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// TestPing: quipu ping succeeds where a node serves, whether or not it is told the password, and nowhere else.
func TestPing(t *testing.T) {
	s := redistest.Quipu{Flags: []string{"--requirepass", "secret"}}.Start(t)
	nobody := "127.0.0.1:" + strconv.Itoa(redistest.FreePort(t))
	for _, tc := range []struct {
		args   string
		status int
		says   string
	}{
		{"--addr " + s.Addr + " --password secret", 0, "PONG\n"},
		{"--addr " + s.Addr, 0, "PONG (it wants a password)\n"},
		{"--addr " + s.Addr + " --password wrong", 1, "WRONGPASS"},
		{"--addr " + nobody, 1, "connection refused"},
		{"--addr " + s.Addr + " --cacert /does/not/exist --tls", 2, "no such file"},
		{"stray", 2, "try quipu ping"},
	} {
		cmd := exec.Command(redistest.Binary(t), append([]string{"ping"}, strings.Fields(tc.args)...)...)
		out, _ := cmd.CombinedOutput() // the status is looked at
		if status := cmd.ProcessState.ExitCode(); status != tc.status || !strings.Contains(string(out), tc.says) {
			t.Errorf("quipu ping %s: status %d, %s", tc.args, status, out)
		}
	}
}
