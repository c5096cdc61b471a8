package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// machine is what the report says about where it ran.
type machine struct {
	cpu    string
	memory string
	system string
	sync   time.Duration // of 4 KiB, below the data directories
	busy   float64       // share of CPU time that others used before the run, 0 to 1; -1: not known
	load   string
	before cpuTimes
}

// busyMax is the share of CPU time used by others above which the report warns.
const busyMax = 0.1

func inspectMachine(work string) machine {
	m := machine{cpu: cpuModel(), system: runtime.GOOS + "/" + runtime.GOARCH, busy: -1}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.system += ", kernel " + strings.TrimSpace(string(kernel))
	}
	var kib float64
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if _, err := fmt.Sscanf(string(text), "MemTotal: %f", &kib); err == nil {
			m.memory = fmt.Sprintf("%.0f GiB", kib/(1<<20))
		}
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.load, _, _ = strings.Cut(string(text), " ")
	}
	if first, err := readCPUTimes(); err == nil {
		time.Sleep(time.Second) // nothing of ours runs: what is used is used by others
		if second, err := readCPUTimes(); err == nil {
			m.busy, m.before = second.busyShare(first), second
		}
	}
	if d, err := syncTime(work); err == nil {
		m.sync = d
	}
	return m
}

// name is the machine in one line.
func (m machine) name() string {
	name := fmt.Sprintf("%s, %d cores", m.cpu, runtime.NumCPU())
	if m.memory != "" {
		name += ", " + m.memory
	}
	return name + ", " + m.system
}

// warnings are reasons to doubt the figures.
func (m machine) warnings() []string {
	var all []string
	if m.busy > busyMax {
		all = append(all, fmt.Sprintf("others used %.0f %% of the processors before the run began", m.busy*100))
	}
	if now, err := readCPUTimes(); err == nil && m.before.total > 0 {
		if share := (now.steal - m.before.steal) / (now.total - m.before.total); share > 0.02 {
			all = append(all, fmt.Sprintf("the host took %.0f %% of the processors' time away during the run", share*100))
		}
	}
	return all
}

// cpuTimes is the first line of /proc/stat, in ticks (proc(5)).
type cpuTimes struct{ total, idle, steal float64 }

func readCPUTimes() (cpuTimes, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuTimes{}, err
	}
	// user nice system idle iowait irq softirq steal; guest time is within user time.
	var v [8]float64
	_, err = fmt.Sscanf(string(text), "cpu %f %f %f %f %f %f %f %f", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7])
	t := cpuTimes{idle: v[3] + v[4], steal: v[7]}
	for _, x := range v {
		t.total += x
	}
	return t, err
}

func (t cpuTimes) busyShare(before cpuTimes) float64 {
	total := t.total - before.total
	if total <= 0 {
		return 0
	}
	return 1 - (t.idle-before.idle)/total
}

// syncTime measures the disk below dir: 4 KiB written over and synced, median of
// a hundred times.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, 4096)
	var times []float64
	for range 100 {
		start := time.Now()
		if _, err := f.WriteAt(block, 0); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times = append(times, float64(time.Since(start)))
	}
	return time.Duration(median(times)), nil
}

// cpuModel is the processor's name where the system tells it.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
