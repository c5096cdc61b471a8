package server

import (
	"fmt"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// TestMonitorCommands: what pipelines, bursts and increments answered ahead are told as, each once and in order; and a monitor may
// go on to call commands.
func TestMonitorCommands(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, transport)
		m, c := n.dial(), n.dial()
		expect(t, m, "MONITOR", "+OK\r\n", "PING", "+PONG\r\n")
		if line := readRaw(t, m); !strings.HasSuffix(line, `"PING"`+"\r\n") {
			t.Errorf("its own command: %q", line)
		}
		lines := []string{"SET a 1", "GET a", "GET b", "INCR a", "INCR a", "DEL a", "CLIENT ACK LOCAL", "INCR x", "INCR x", "WAIT 0 1", "HELLO 3", "PING"}
		send(t, c, lines...)
		for range lines {
			readRaw(t, c)
		}
		for _, line := range lines {
			got := readRaw(t, m)
			if want := "] \"" + strings.Join(strings.Fields(line), "\" \"") + "\"\r\n"; !strings.HasSuffix(got, want) {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		if s := n.session(m); !strings.Contains(s.flags(), "O") {
			t.Errorf("flags %q", s.flags())
		}
		m.Close()
		eventually(t, "nobody to monitor", func() bool { return n.srv.monitors.count.Load() == 0 })
		expect(t, c, "PING", "+PONG\r\n")
	})
}

// TestSlowMonitor: a client that monitors and does not read is closed, and holds up nobody.
func TestSlowMonitor(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.ClientPush = 1 << 20 })
	m, c := n.dial(), n.dial()
	expect(t, m, "MONITOR", "+OK\r\n")
	payload := strings.Repeat("\x00", 50<<10) // 200 KiB of a line
	for i := range redistest.Size(100, 200, 2000) {
		if got := callArgs(t, c, "SET", fmt.Sprint(i%10), payload); got != "+OK\r\n" {
			t.Fatal(got)
		}
	}
	eventually(t, "the monitor to be closed", func() bool {
		return n.srv.limits.times(limitPush) == 1 && n.srv.monitors.count.Load() == 0 && n.srv.clientMemory.sum.Load() < 2<<20
	})
}
