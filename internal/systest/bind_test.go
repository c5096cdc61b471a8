package systest

import (
	"net"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// TestBind checks which addresses answer, where 127.0.0.1 does in any case.
func TestBind(t *testing.T) {
	for _, c := range []struct {
		bind string
		ipv6 bool // ::1 answers too
	}{
		{"127.0.0.1 -::1", true},
		{"127.0.0.1", false},
		{"0.0.0.0", false},
		{"*", false},
		{"0.0.0.0 ::", true},
		{"* -::*", true},
		{"localhost -203.0.113.1", false},
	} {
		t.Run(c.bind, func(t *testing.T) {
			if ln, err := net.Listen("tcp6", "[::1]:0"); err == nil {
				ln.Close()
			} else if strings.Contains(c.bind, ":") {
				t.Skipf("this machine has no IPv6: %v", err)
			}
			eachServer(t, []string{"--bind", c.bind}, func(t *testing.T, s *redistest.Server) {
				do(t, s.Dial(t), "PING")
				six, err := redistest.Dial(net.JoinHostPort("::1", port(s)))
				if (err == nil) != c.ipv6 {
					t.Fatalf("::1 answers: %v", err == nil)
				}
				if err != nil {
					return
				}
				defer six.Close()
				want := " addr=" + six.LocalAddr().String() + " laddr=[::1]:" + port(s) + " "
				if list := do(t, six, "CLIENT", "LIST").Text; !strings.Contains(list, want) {
					t.Errorf("no %q in CLIENT LIST: %s", want, list)
				}
				if got := do(t, six, "CONFIG", "GET", "bind"); len(got.Elems) != 2 || got.Elems[1].Text != c.bind {
					t.Errorf("CONFIG GET bind: %v", got)
				}
			})
		})
	}
}
