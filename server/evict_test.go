package server

import (
	"fmt"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// limitClientMemory starts a node whose clients may make it keep so many bytes together.
func limitClientMemory(t *testing.T, transport func(*config.Config), bytes int64, change func(*config.Config)) *testNode {
	return startGroupNode(t, &testGroup{}, func(c *config.Config) {
		transport(c)
		c.MaxClientMemory = bytes
		if change != nil {
			change(c)
		}
	})
}

// TestClientMemory has many clients that each stay below the limits of one and together are above the limit of all: those
// that hold most are closed, the others are served.
func TestClientMemory(t *testing.T) {
	big := strings.Repeat("x", 500<<10)
	ways := map[string]func(c *redistest.Conn, i int) error{
		"half a command": func(c *redistest.Conn, i int) error {
			return c.Send([]byte(fmt.Sprintf("*2\r\n$4\r\nECHO\r\n$%d\r\n%s", 512<<10, big[:(300+5*i)<<10])))
		},
		"transactions": func(c *redistest.Conn, i int) error {
			return c.Send([]byte(fmt.Sprintf("MULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s\r\n", (300+5*i)<<10, big[:(300+5*i)<<10])))
		},
		"replies": func(c *redistest.Conn, _ int) error { return c.Send([]byte(strings.Repeat("GET big\r\n", 50))) },
	}
	for name, attack := range ways {
		t.Run(name, func(t *testing.T) {
			bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
				n := limitClientMemory(t, transport, 4<<20, nil)
				honest, keeps := n.dial(), n.dial()
				expect(t, keeps, "CLIENT NO-EVICT ON", "+OK\r\n")
				callArgs(t, honest, "SET", "big", big)
				if err := attack(keeps, 20); err != nil {
					t.Fatal(err)
				}
				var conns []*redistest.Conn
				for i := range 40 {
					c := n.dial()
					conns = append(conns, c)
					if err := attack(c, i); err != nil && !redistest.IsClosed(err) {
						t.Fatal(err)
					}
				}
				eventually(t, "clients to be closed", func() bool { return n.srv.limits.times(limitMemory) >= 20 })
				eventually(t, "their memory to be given back", func() bool { return n.srv.clientMemory.sum.Load() <= 4<<20 })
				for range 10 {
					expect(t, honest, "INCR a", ":")
				}
				n.session(keeps) // is still there
				for _, c := range conns {
					c.Close()
				}
				keeps.Close()
				eventually(t, "all to leave", func() bool { return n.srv.clients.count.Load() == 1 })
				if sum, going := n.srv.clientMemory.sum.Load(), n.srv.clientMemory.going.Load(); sum != 0 || going != 0 {
					t.Errorf("%d bytes are counted for clients that are gone, and %d as going", sum, going)
				}
			})
		})
	}
}

// TestStrangersGoFirst has a client that knows the password hold more than each of those who do not.
func TestStrangersGoFirst(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := limitClientMemory(t, transport, 1<<20, func(c *config.Config) { c.RequirePass = "secret" })
		known := n.dial()
		expect(t, known, "AUTH secret", "+OK\r\n", "MULTI", "+OK\r\n", "SET a "+strings.Repeat("x", 500<<10), "+QUEUED\r\n")
		for range 30 {
			c := n.dial()
			half := "*9\r\n$4\r\nAUTH\r\n" + strings.Repeat("$16000\r\n"+strings.Repeat("x", 16000)+"\r\n", 5)
			if err := c.Send([]byte(half)); err != nil && !redistest.IsClosed(err) {
				t.Fatal(err)
			}
		}
		eventually(t, "strangers to be closed", func() bool { return n.srv.limits.times(limitMemory) >= 10 })
		expect(t, known, "EXEC", "*1\r\n+OK\r\n", "STRLEN a", fmt.Sprintf(":%d\r\n", 500<<10))
	})
}

// TestClientNameLength: CLIENT LIST shows the names of all clients.
func TestClientNameLength(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	name := strings.Repeat("n", nameLimit)
	long := "-" + protocol.ErrClientNameLong + "\r\n"
	expect(t, c, "CLIENT SETNAME "+name, "+OK\r\n", "CLIENT SETNAME "+name+"n", long, "CLIENT SETINFO lib-name "+name+"n", long,
		"HELLO 2 SETNAME "+name+"n", long, "CLIENT GETNAME", bulk(name))
}

// TestEvictAgain: whoever went above the limit was told that somebody is at it, and nobody's memory grows any more.
func TestEvictAgain(t *testing.T) {
	n := limitClientMemory(t, func(*config.Config) {}, 1<<20, nil)
	n.srv.clientMemory.mu.Lock()
	c := n.dial()
	expect(t, c, "MULTI", "+OK\r\n", "SET a "+strings.Repeat("x", 900<<10), "+QUEUED\r\n", "SET b "+strings.Repeat("x", 900<<10), "+QUEUED\r\n")
	n.srv.clientMemory.mu.Unlock()
	expectClosed(t, c, "")
}
