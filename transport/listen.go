package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Listen opens the TCP and unix sockets of addresses. What it has opened before an error is closed by StopListening.
func (t *Transport) Listen(a Addresses) error {
	if a.TCP {
		for _, host := range a.Hosts {
			host, optional := strings.CutPrefix(host, "-") // redis.conf's mark of an address that may be missing
			lc := net.ListenConfig{KeepAlive: -1}          // accept sets what Settings.Keepalive says
			ln, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(bindHost(host), strconv.Itoa(a.Port)))
			if err != nil && optional {
				t.log.Warn("cannot listen on an optional address", "address", host, "error", err)
				continue
			}
			if err != nil {
				return fmt.Errorf("cannot listen on %s port %d: %w", host, a.Port, err)
			}
			t.addListener(ln)
		}
	}
	if a.Unix != "" {
		ln, err := listenUnix(a.Unix, a.UnixPerm)
		if err != nil {
			return err
		}
		t.addListener(ln)
	}
	if len(t.listeners) == 0 {
		return errors.New("no address to listen on")
	}
	return nil
}

func (t *Transport) addListener(ln net.Listener) {
	t.listeners = append(t.listeners, ln)
	t.log.Info("listening", "address", ln.Addr().String())
}

// bindHost turns redis.conf's notation of an address into Go's: "*" is every IPv4 address, "::*" every one.
func bindHost(host string) string {
	switch host {
	case "*":
		return "0.0.0.0"
	case "::*":
		return "::"
	}
	return host
}

// listenUnix replaces a socket file that a dead process left behind, but never one that is in use or another file.
func listenUnix(path string, perm os.FileMode) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("unixsocket %s exists and is no socket", path)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("unixsocket %s is in use by another process", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("unixsocket: %w", err)
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on unix socket: %w", err)
	}
	if err := os.Chmod(path, perm); err != nil {
		ln.Close()
		return nil, fmt.Errorf("unixsocketperm: %w", err)
	}
	return ln, nil
}
