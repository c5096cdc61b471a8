package packaging

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"quipu/internal/redistest"
)

// unitFile is the unit as make install writes it, with a program that is there.
func unitFile(t *testing.T) (path string) {
	t.Helper()
	text := strings.NewReplacer("@bindir@", filepath.Dir(redistest.Binary(t)), "@sysconfdir@", "/etc").Replace(read(t, filepath.Join(ops, "quipu.service")))
	path = filepath.Join(t.TempDir(), "quipu.service")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnit: systemd has nothing to say against the unit, and rates its exposure, from 0 to 10, at 1.2 at most: docs/install.md says
// what is left. Neither needs a systemd that runs.
func TestUnit(t *testing.T) {
	analyze := redistest.Tool(t, "systemd-analyze")
	unit := unitFile(t)
	out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput()
	if text := strings.TrimSpace(string(out)); err != nil || text != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, text)
	}
	out, err = exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold=12", unit).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Overall exposure level for quipu.service") {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// unitValues are the words that the unit has behind a name, on all lines with it.
func unitValues(t *testing.T, name string) (words []string) {
	t.Helper()
	for line := range strings.Lines(read(t, filepath.Join(ops, "quipu.service"))) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			words = append(words, strings.Fields(value)...)
		}
	}
	return words
}

// TestUnitStartsAgain: systemd starts a node again that has hung, which the watchdog ends by SIGABRT, or that has failed as Go programs
// do, which is the same end; and it leaves one alone whose configuration cannot work.
func TestUnitStartsAgain(t *testing.T) {
	var core syscall.Rlimit // LimitCORE of the unit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &core); err != nil {
		t.Fatal(err)
	}
	core.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &core); err != nil {
		t.Fatal(err)
	}
	env, left := unitValues(t, "Environment"), unitValues(t, "RestartPreventExitStatus")
	aborted := func(env []string) *redistest.Server {
		s := redistest.Quipu{Env: env}.Start(t)
		if err := syscall.Kill(s.Pid(), syscall.SIGABRT); err != nil {
			t.Fatal(err)
		}
		return s
	}
	wrong := redistest.Quipu{Env: env, Flags: []string{"--maxmemory", "much"}}.Launch(t)
	for _, tc := range []struct {
		of   string
		node *redistest.Server
		left bool
	}{
		{"a node that hangs", aborted(env), false},
		{"a node that hangs, without the environment of the unit", aborted([]string{"GOTRACEBACK="}), true},
		{"a node with a wrong setting", wrong, true},
	} {
		status, ok := tc.node.Wait(time.Minute)
		if !ok || status == 0 || slices.Contains(left, strconv.Itoa(status)) != tc.left {
			t.Errorf("%s ends with status %d, %v: systemd does not start it again at 0 and %v\n%s", tc.of, status, ok, left, tc.node.Output())
		}
	}
}

// syscallSets reads the sets of system calls that filters of systemd are made of.
func syscallSets(t *testing.T, analyze string) map[string][]string {
	t.Helper()
	out, err := exec.Command(analyze, "syscall-filter", "--no-pager").Output()
	if err != nil {
		t.Fatal(err)
	}
	sets, name := map[string][]string{}, ""
	for line := range strings.Lines(string(out)) {
		word := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "@"):
			name = word
		case strings.HasPrefix(word, "#") || word == "":
		case strings.HasPrefix(line, " "):
			sets[name] = append(sets[name], word)
		}
	}
	return sets
}

// expand adds the system calls of a set, with those of the sets in it, to all.
func expand(all map[string]bool, sets map[string][]string, name string) {
	for _, word := range sets[name] {
		if strings.HasPrefix(word, "@") {
			expand(all, sets, word)
		} else {
			all[word] = true
		}
	}
}

// TestSystemCalls: a node that starts, counts, writes a snapshot, reads its certificates again and stops makes only calls that the
// unit's filter lets through.
func TestSystemCalls(t *testing.T) {
	strace, analyze := redistest.Tool(t, "strace"), redistest.Tool(t, "systemd-analyze")
	unit := read(t, filepath.Join(ops, "quipu.service"))
	if !strings.Contains(unit, "\nSystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n") {
		t.Fatal("the filter of the unit has changed: this test goes by another")
	}
	sets := syscallSets(t, analyze)
	allowed, denied := map[string]bool{}, map[string]bool{}
	expand(allowed, sets, "@system-service")
	expand(denied, sets, "@privileged")
	expand(denied, sets, "@resources")
	if len(allowed) < 200 || len(denied) < 30 || !allowed["epoll_wait"] || !denied["chroot"] {
		t.Fatalf("%d calls are allowed, %d denied: this test reads systemd-analyze wrongly", len(allowed), len(denied))
	}
	m := listen(t)
	calls := filepath.Join(t.TempDir(), "calls")
	port := redistest.FreePort(t)
	cmd := exec.Command(strace, "-f", "-qq", "-o", calls, "-e", "signal=none", redistest.Binary(t), "server", "--port", strconv.Itoa(port), "--dir", t.TempDir())
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=20000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	m.await("READY=1")
	m.await("WATCHDOG=1")
	c, err := redistest.Dial("127.0.0.1:" + strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, command := range []string{"INCR a", "SET b c EX 1", "SAVE", "CONFIG SET maxclients 20000", "INFO", "ACL SETUSER u on >p", "SHUTDOWN"} {
		if err := c.SendCommand(strings.Fields(command)...); err != nil {
			t.Fatal(err)
		}
	}
	m.await("STOPPING=1")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the node ends with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the node does not end")
	}
	judgeCalls(t, calls, allowed, denied)
}

// judgeCalls reads strace's file: "PID name(…".
func judgeCalls(t *testing.T, path string, allowed, denied map[string]bool) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[1] == "<..." { // the end of a call that is on a line above
			continue
		}
		name, args, isCall := strings.Cut(strings.Join(fields[1:], " "), "(")
		if name == "socket" && !strings.HasPrefix(args, "AF_INET,") && !strings.HasPrefix(args, "AF_INET6,") && !strings.HasPrefix(args, "AF_UNIX,") {
			t.Errorf("RestrictAddressFamilies refuses %s", lines.Text())
		}
		if strings.Contains(args, "PROT_WRITE") && strings.Contains(args, "PROT_EXEC") {
			t.Errorf("MemoryDenyWriteExecute refuses %s", lines.Text())
		}
		if !isCall || seen[name] || name == "" {
			continue
		}
		seen[name] = true
		if !allowed[name] || denied[name] {
			t.Errorf("the unit's filter refuses %s", lines.Text())
		}
	}
	if len(seen) < 20 || !seen["fsync"] && !seen["fdatasync"] {
		t.Errorf("only these calls are seen: %v", seen)
	}
}
