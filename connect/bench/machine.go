package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// machine is what the report says about where it ran.
type machine struct {
	name   string
	load   string        // average of the last minute before the run
	busy   float64       // share of the processors' time that others used before the run
	sync   time.Duration // of 4 KiB, where the data is
	before cpuTimes
}

func inspectMachine(work string) machine {
	m := machine{name: fmt.Sprintf("%s, %d cores, %s/%s", cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.load, _, _ = strings.Cut(string(text), " ")
	}
	m.sync = syncTime(filepath.Join(work, "sync"))
	first := readCPUTimes()
	time.Sleep(time.Second) // nothing of ours runs
	m.before = readCPUTimes()
	if total := m.before.total - first.total; total > 0 {
		m.busy = 1 - (m.before.idle-first.idle)/total
	}
	return m
}

// cpuModel is the processor's name where the system tells it.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// syncTime is the median of a hundred times that 4 KiB are written over and synced; 0: not known.
func syncTime(path string) time.Duration {
	f, err := os.Create(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	block := make([]byte, 4096)
	var times []float64
	for range 100 {
		begin := time.Now()
		if _, err := f.WriteAt(block, 0); err != nil || f.Sync() != nil {
			return 0
		}
		times = append(times, float64(time.Since(begin)))
	}
	return time.Duration(median(times))
}

// cpuTimes is the first line of /proc/stat, in ticks.
type cpuTimes struct{ total, idle, steal float64 }

func readCPUTimes() (t cpuTimes) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t
	}
	var v [8]float64
	if _, err := fmt.Sscanf(string(text), "cpu %f %f %f %f %f %f %f %f", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]); err != nil {
		return t
	}
	for _, x := range v {
		t.total += x
	}
	t.idle, t.steal = v[3]+v[4], v[7]
	return t
}

// stolen is the share of the processors' time that the host took away since the beginning.
func (m *machine) stolen() float64 {
	now := readCPUTimes()
	if now.total <= m.before.total {
		return 0
	}
	return (now.steal - m.before.steal) / (now.total - m.before.total)
}

// inspectPrograms finds out the versions of what takes part.
func (l *lab) inspectPrograms(ctx context.Context) error {
	quipu, err := exec.CommandContext(ctx, l.cfg.quipu, "version").Output()
	if err != nil {
		return fmt.Errorf("%s version: %w", l.cfg.quipu, err)
	}
	l.versions = append(l.versions, strings.TrimSpace(string(quipu)))
	kafka, _ := filepath.Glob(filepath.Join(l.root, ".tools", "kafka", "lib", "kafka_*.jar"))
	for _, jar := range kafka {
		l.versions = append(l.versions, strings.TrimSuffix(filepath.Base(jar), ".jar"))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/twmb/franz-go" {
				l.versions = append(l.versions, "franz-go "+m.Version)
			}
		}
	}
	l.versions = append(l.versions, runtime.Version())
	for _, c := range [][]string{{"kcat", "-V"}, {"redis-benchmark", "--version"}, {"java", "-version"}} {
		out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput()
		if v := versionText.FindString(string(out)); err == nil && v != "" {
			l.versions = append(l.versions, c[0]+" "+v)
		}
	}
	return ctx.Err()
}

var versionText = regexp.MustCompile(`\d+\.\d+[\w.+]*`)
