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
	"syscall"
	"time"
)

// Listen opens the TCP and unix sockets of addresses. What it has opened before an error is closed by StopListening.
func (t *Transport) Listen(a Addresses) error {
	if a.TCP {
		if err := t.listenTCP(a.Hosts, a.Port, false); err != nil {
			return err
		}
	}
	if a.TLS {
		if err := t.listenTCP(a.Hosts, a.TLSPort, true); err != nil {
			return err
		}
	}
	if a.Unix != "" {
		ln, err := listenUnix(a.Unix, a.UnixPerm)
		if err != nil {
			return err
		}
		t.addListener(listener{ln, false})
	}
	if len(t.listeners) == 0 {
		return fmt.Errorf("no address to listen on: this machine has none of %q; correct the setting bind", strings.Join(a.Hosts, " "))
	}
	return nil
}

// listener is one socket to accept from.
type listener struct {
	net.Listener
	tls bool
}

func (t *Transport) addListener(ln listener) {
	t.listeners = append(t.listeners, ln)
	if ln.tls {
		t.log.Info("listening for TLS", "address", ln.Addr().String())
		return
	}
	t.log.Info("listening", "address", ln.Addr().String())
}

// anyPortAttempts is how often a port is sought that is free on all addresses.
const anyPortAttempts = 10

// listenTCP opens the sockets of all addresses that the machine has, or none.
func (t *Transport) listenTCP(hosts []string, port int, tls bool) error {
	addresses := make([]tcpAddress, len(hosts))
	for i, host := range hosts {
		var err error
		if addresses[i], err = parseAddress(host); err != nil {
			return err
		}
	}
	for attempt := 1; ; attempt++ {
		listeners, err := t.openTCP(addresses, port)
		if err == nil {
			for _, ln := range listeners {
				t.addListener(listener{ln, tls})
			}
			return nil
		}
		for _, ln := range listeners {
			ln.Close()
		}
		if port != 0 || attempt == anyPortAttempts || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
}

// openTCP opens the sockets of the addresses, up to the first error. With port 0, the system chooses the port of the
// first socket and the others get the same one, so that a node has one port in every case. That port may be taken on
// another address: the caller then tries again.
func (t *Transport) openTCP(addresses []tcpAddress, port int) ([]net.Listener, error) {
	var listeners []net.Listener
	lc := net.ListenConfig{KeepAlive: -1} // accept sets what Settings.Keepalive says
	for _, a := range addresses {
		ln, err := lc.Listen(context.Background(), a.network, net.JoinHostPort(a.host, strconv.Itoa(port)))
		if err != nil && a.mayLack(err) {
			t.log.Warn("not listening on an address that this machine does not have", "address", a.host, "error", err)
			continue
		}
		if err != nil {
			return listeners, a.explain(port, err)
		}
		port = ln.Addr().(*net.TCPAddr).Port
		listeners = append(listeners, ln)
	}
	return listeners, nil
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
	ln, err := bindUnix(path, perm)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on unix socket: %w", err)
	}
	if err := os.Chmod(path, perm); err != nil {
		ln.Close()
		return nil, fmt.Errorf("unixsocketperm: %w", err)
	}
	return ln, nil
}

// bindUnix listens on a socket file that never has more permissions than perm: set afterwards only, they would leave a moment
// for others to connect. The umask may have taken some away. (Redis mended this as CVE-2023-45145, with the umask of the process;
// here other goroutines may be making files.)
func bindUnix(path string, perm os.FileMode) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { restrictSocket(fd, perm) })
	}}
	return lc.Listen(context.Background(), "unix", path)
}
