package transport

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]tcpAddress{
		"127.0.0.1":     {"tcp4", "127.0.0.1", false},
		"-203.0.113.1":  {"tcp4", "203.0.113.1", true},
		"0.0.0.0":       {"tcp4", "0.0.0.0", false},
		"*":             {"tcp4", "0.0.0.0", false},
		"-*":            {"tcp4", "0.0.0.0", true},
		"localhost":     {"tcp4", "localhost", false},
		"-my-host":      {"tcp4", "my-host", true},
		"::1":           {"tcp6", "::1", false},
		"-::1":          {"tcp6", "::1", true},
		"::":            {"tcp6", "::", false},
		"-::":           {"tcp6", "::", true},
		"::*":           {"tcp6", "::", false},
		"-::*":          {"tcp6", "::", true},
		"fe80::1%eth0":  {"tcp6", "fe80::1%eth0", false},
		"-fe80::1%eth0": {"tcp6", "fe80::1%eth0", true},
		"FD00::2":       {"tcp6", "FD00::2", false},
	} {
		if got, err := parseAddress(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                 "names no address",
		"-":                "names no address",
		"[::1]":            "without brackets",
		"127.0.0.1:6379":   "the port in the setting port",
		"--::1":            "is not an IPv6 address",
		"::1::2":           "is not an IPv6 address",
		"::ffff:127.0.0.1": "write 127.0.0.1",
		"-fe80::1":         "as in fe80::1%eth0",
	} {
		if got, err := parseAddress(text); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), strconv.Quote(text)) {
			t.Errorf("%q: %+v, error %v, want one with %q", text, got, err, want)
		}
	}
}

// TestMissingFamily checks errors that cannot be had from a machine that has IPv6.
func TestMissingFamily(t *testing.T) {
	failed := func(err error) error { return &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", err)} }
	for _, c := range []struct {
		err      error
		plain    bool // the node goes on without the address
		optional bool // … if it has the "-"
	}{
		{syscall.EAFNOSUPPORT, true, true},
		{syscall.EPROTONOSUPPORT, true, true},
		{syscall.EADDRNOTAVAIL, false, true},
		{syscall.EADDRINUSE, false, false},
		{syscall.EACCES, false, false},
		{syscall.EINVAL, false, false},
	} {
		plain, optional := tcpAddress{host: "::1"}.mayLack(failed(c.err)), tcpAddress{host: "::1", optional: true}.mayLack(failed(c.err))
		if plain != c.plain || optional != c.optional {
			t.Errorf("%v: goes on %v, with the - %v", c.err, plain, optional)
		}
	}
}

func TestListenErrors(t *testing.T) {
	failed := func(err error) error { return &net.OpError{Op: "listen", Err: err} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{os.NewSyscallError("bind", syscall.EADDRINUSE), "port 7000: bind: address already in use: another process, or another address of the setting bind, has it"},
		{os.NewSyscallError("bind", syscall.EADDRNOTAVAIL), "or write -db.example where it may be missing"},
		{os.NewSyscallError("bind", syscall.EACCES), "port 7000: bind: permission denied: ports below 1024 need a privilege"},
		{os.NewSyscallError("bind", syscall.EINVAL), "port 7000: bind: invalid argument"},
		{&net.DNSError{Err: "no such host", Name: "db.example"}, "lookup db.example: no such host: the setting bind takes"},
		{&net.AddrError{Err: "no suitable address", Addr: "db.example"}, "names that have an IPv4 address"},
	} {
		err := tcpAddress{host: "db.example"}.explain(7000, failed(c.err))
		if !strings.HasPrefix(err.Error(), "cannot listen on db.example port 7000: ") || !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.err) {
			t.Errorf("%v; want %q", err, c.want)
		}
	}
}

func TestAddressText(t *testing.T) {
	for want, addr := range map[string]net.Addr{
		"127.0.0.1:5":   &net.TCPAddr{IP: net.ParseIP("127.0.0.1"), Port: 5},
		"[::1]:5":       &net.TCPAddr{IP: net.ParseIP("::1"), Port: 5},
		"[fe80::1]:5":   &net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 5, Zone: "eth0"},
		"/tmp/a%socket": &net.UnixAddr{Name: "/tmp/a%socket", Net: "unix"},
	} {
		if got := addressText(addr); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// needIPv6 skips the test on a machine without IPv6.
func needIPv6(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	ln.Close()
}

func quietTransport(t *testing.T) *Transport {
	tr := New(&echoHost{}, Options{Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(tr.StopListening)
	return tr
}

// TestListenFamilies checks over which families of addresses the sockets can be reached, and that they share one port.
func TestListenFamilies(t *testing.T) {
	for _, c := range []struct {
		hosts      string
		ipv4, ipv6 bool
	}{
		{"127.0.0.1", true, false},
		{"localhost", true, false},
		{"0.0.0.0", true, false},
		{"*", true, false},
		{"::1", false, true},
		{"::", false, true},
		{"-::*", false, true},
		{"0.0.0.0 ::", true, true},
		{":: 0.0.0.0", true, true},
		{"* -::*", true, true},
		{"127.0.0.1 -::1", true, true},
		{"127.0.0.1 -203.0.113.1", true, false},
		{"-203.0.113.1 127.0.0.1", true, false},
	} {
		t.Run(c.hosts, func(t *testing.T) {
			if strings.Contains(c.hosts, ":") {
				needIPv6(t)
			}
			tr := quietTransport(t)
			if err := tr.Listen(Addresses{TCP: true, Hosts: strings.Fields(c.hosts)}); err != nil {
				t.Fatal(err)
			}
			accepted := make(chan string, 16)
			for _, ln := range tr.listeners {
				go reportClients(ln, accepted)
			}
			port := strconv.Itoa(tr.Addr().(*net.TCPAddr).Port)
			if got := reaches(t, net.JoinHostPort("127.0.0.1", port), accepted); got != c.ipv4 {
				t.Errorf("answers IPv4: %v", got)
			}
			if got := reaches(t, net.JoinHostPort("::1", port), accepted); got != c.ipv6 {
				t.Errorf("answers IPv6: %v", got)
			}
		})
	}
}

// reportClients accepts clients until the listener is closed.
func reportClients(ln net.Listener, accepted chan<- string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		accepted <- c.RemoteAddr().String()
		c.Close()
	}
}

// reaches reports whether a connection to the address arrives at the listeners: one that is made may have reached another
// process, which uses the same port of another address.
func reaches(t *testing.T, address string, accepted <-chan string) bool {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer c.Close()
	for timeout := time.After(5 * time.Second); ; {
		select {
		case client := <-accepted:
			if client == c.LocalAddr().String() {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// TestAddressInUse checks that a port in use is an error even where the address is optional, and that what was opened
// before an error is closed.
func TestAddressInUse(t *testing.T) {
	const host = "127.83.9.1" // a part of loopback that nothing else uses
	taken, err := net.Listen("tcp4", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("this machine has no other loopback address than 127.0.0.1: %v", err)
	}
	port := taken.Addr().(*net.TCPAddr).Port
	for _, hosts := range [][]string{{host}, {"-" + host}, {"-203.0.113.1", host}} {
		err := quietTransport(t).Listen(Addresses{TCP: true, Hosts: hosts, Port: port})
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "cannot listen on "+host+" port "+strconv.Itoa(port)) {
			t.Errorf("%q: %v", hosts, err)
		}
	}
	taken.Close()
	for _, hosts := range [][]string{{host, host}, {host, "203.0.113.1"}, {host, "[::1]"}} {
		tr := quietTransport(t)
		if err := tr.Listen(Addresses{TCP: true, Hosts: hosts, Port: port}); err == nil || !strings.Contains(err.Error(), hosts[1]) {
			t.Errorf("%q: %v", hosts, err)
		}
		again, err := net.Listen("tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			t.Fatalf("%q: a socket was left open: %v", hosts, err)
		}
		again.Close()
	}
}

// TestNoAddress checks that nothing to listen on is an error, and that a unix socket is enough.
func TestNoAddress(t *testing.T) {
	dir, err := os.MkdirTemp("", "quipu") // t.TempDir is too long for the path of a socket on some systems
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	a := Addresses{TCP: true, Hosts: []string{"-203.0.113.1"}}
	if err := quietTransport(t).Listen(a); err == nil || !strings.Contains(err.Error(), `this machine has none of "-203.0.113.1"`) {
		t.Errorf("error %v", err)
	}
	a.Unix, a.UnixPerm = dir+"/socket", fs.FileMode(0o700)
	tr := quietTransport(t)
	if err := tr.Listen(a); err != nil {
		t.Fatal(err)
	}
	if got := tr.Addr().Network(); got != "unix" {
		t.Errorf("the first listener is of %s", got)
	}
}

// TestAnyPort checks that port 0 gives all addresses one port, and ends where no port can be free on all of them.
func TestAnyPort(t *testing.T) {
	tr := quietTransport(t)
	if err := tr.Listen(Addresses{TCP: true, Hosts: []string{"127.0.0.1", "-::1"}}); err != nil {
		t.Fatal(err)
	}
	ports := []int{}
	for _, ln := range tr.listeners {
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	if len(slices.Compact(ports)) != 1 || ports[0] == 0 {
		t.Errorf("ports %v", ports)
	}
	twice := Addresses{TCP: true, Hosts: []string{"127.0.0.1", "127.0.0.1"}}
	if err := quietTransport(t).Listen(twice); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the same address twice: %v", err)
	}
}
