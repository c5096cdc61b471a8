package testbed

import (
	"net"
	"testing"
)

// Traffic is what a Relay asks about one connection. Each function may wait; false cuts the connection.
type Traffic struct {
	Request func(sent []byte) bool // before it goes on to the server
	Passed  func(sent []byte)      // when it has
	Answer  func(got []byte) bool  // before it goes on to the client
}

// Relay listens on an address, which it returns, and carries connections to a server until the test ends. each is called with each
// connection, nil functions of what it returns are not asked.
func Relay(tb testing.TB, server string, each func() Traffic) (addr string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go relay(c, server, each())
		}
	}()
	return l.Addr().String()
}

func relay(client net.Conn, addr string, t Traffic) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer client.Close()
		carry(client, server, t.Answer, nil)
	}()
	carry(server, client, t.Request, t.Passed)
}

// carry ends at the first error, or when pass says so.
func carry(to, from net.Conn, pass func([]byte) bool, passed func([]byte)) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || pass != nil && !pass(buf[:n]) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		if passed != nil {
			passed(buf[:n])
		}
	}
}
