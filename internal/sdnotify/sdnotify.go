// Package sdnotify tells the service manager that has started a process how it is doing: systemd, or another that speaks the
// protocol of sd_notify(3), which is a datagram of lines NAME=value to a unix socket.
package sdnotify

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Manager is who wants to be told. A nil one is nobody.
type Manager struct {
	socket   string
	watchdog time.Duration
}

// FromEnviron finds the manager by what it has set in the environment; nil: none asks.
func FromEnviron(getenv func(string) string) *Manager {
	m := &Manager{socket: getenv("NOTIFY_SOCKET")}
	if m.socket == "" {
		return nil
	}
	us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	// Where WATCHDOG_PID is there, the pings of another process than that one do not count.
	if pid := getenv("WATCHDOG_PID"); err == nil && us > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		m.watchdog = time.Duration(us) * time.Microsecond
	}
	return m
}

// Tell sends lines such as READY=1.
func (m *Manager) Tell(lines ...string) error {
	if m == nil {
		return nil
	}
	// A socket whose name begins with @ has no file: package net knows that.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(strings.Join(lines, "\n")))
	return err
}

// Watchdog is within which time the manager wants to be told WATCHDOG=1 again; 0: it does not.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}
