package server

import (
	"net"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// TestDefaultAddresses has clients that connect to 127.0.0.1 and to ::1, both of which are loopback for protected mode.
func TestDefaultAddresses(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, transport)
		_, port, err := net.SplitHostPort(n.srv.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		hosts := []string{"127.0.0.1", "::1"}
		if ln, err := net.Listen("tcp6", "[::1]:0"); err != nil {
			t.Logf("::1 is not tried: %v", err)
			hosts = hosts[:1]
		} else {
			ln.Close()
		}
		for _, host := range hosts {
			c, err := redistest.Dial(net.JoinHostPort(host, port))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			expect(t, c, "PING", "+PONG\r\n", "CONFIG GET bind", "*2\r\n$4\r\nbind\r\n$14\r\n127.0.0.1 -::1\r\n",
				"CONFIG GET protected-mode", "*2\r\n$14\r\nprotected-mode\r\n$3\r\nyes\r\n")
			want := " addr=" + c.LocalAddr().String() + " laddr=" + net.JoinHostPort(host, port) + " "
			if got := call(t, c, "CLIENT INFO"); !strings.Contains(got, want) {
				t.Errorf("CLIENT INFO is %q, want %q", got, want)
			}
		}
	})
}
