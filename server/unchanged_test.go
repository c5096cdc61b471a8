package server

import (
	"fmt"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// TestUnchangedWritesAreNotLogged: a PFADD that raises no register is answered without an entry, alone and in bursts,
// and waits its turn behind one that has to be written.
func TestUnchangedWritesAreNotLogged(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	say := func(want string, commands ...string) {
		t.Helper()
		var burst []byte
		for _, line := range commands {
			burst = redistest.AppendCommand(burst, strings.Fields(line)...)
		}
		if _, err := c.Conn.Write(burst); err != nil {
			t.Fatal(err)
		}
		got := ""
		for range commands {
			got += strings.TrimSpace(readRaw(t, c)) + " "
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("%q: %s instead of %s", commands, got, want)
		}
	}
	logged := func(want int64, fn func()) {
		t.Helper()
		before := n.srv.entries()
		fn()
		if got := n.srv.entries() - before; got != want {
			t.Errorf("%d entries instead of %d", got, want)
		}
	}
	logged(1, func() { say(":1", "PFADD h a b c") })
	logged(0, func() {
		say(":0", "PFADD h a")
		say(":0", "PFADD h a b c a")
		say(":0", "PFADD h")
		say(":0 :3 :0 +sparse :0", "PFADD h b", "PFCOUNT h", "PFADD h c c", "PFDEBUG ENCODING h", "PFADD h c")
	})
	say(":0 :1 :0 :0 :4 :1 :0", "PFADD h a", "PFADD h d", "PFADD h d", "PFADD h a", "PFCOUNT h", "DEL h", "PFCOUNT h")
	say(":1 :0", "PFADD h a", "PFADD h a")
	say("+OK +QUEUED *1\r\n:0", "MULTI", "PFADD h a", "EXEC")
	say(":0 +OK +OK +OK *0", "PFADD h a", "WATCH h", "UNWATCH", "MULTI", "EXEC")
	other := n.dial()
	say("+OK", "WATCH h")
	if got := call(t, other, "PFADD h a"); got != ":0\r\n" {
		t.Errorf("another client: %q", got)
	}
	say("+OK +QUEUED *1\r\n$4\r\nPONG", "MULTI", "PING PONG", "EXEC")
	say("+OK +OK +QUEUED *1\r\n:1", "WATCH h", "MULTI", "PFCOUNT h", "EXEC") // what it caches is no change by another
	logged(1, func() { say(":1", "PFDEBUG TODENSE h") })
	logged(0, func() { say(":0 +dense :0", "PFDEBUG TODENSE h", "PFDEBUG ENCODING h", "PFADD h a") })

	// What is at the key may be no HyperLogLog, or not one of the server's own yet.
	say("+OK", "SET s text")
	logged(1, func() { say("-WRONGTYPE Key is not a valid HyperLogLog string value.", "PFADD s a") })
	value := call(t, c, "PFADD e") + callArgs(t, c, "GET", "e")
	value = value[strings.Index(value, "HYLL"):]
	say(":2", "DEL e h")
	callArgs(t, c, "SET", "e", strings.TrimSuffix(value, "\r\n"))
	logged(1, func() { say(":0", "PFADD e") })
	logged(0, func() { say(":0", "PFADD e") })
}

// TestUnchangedAtLevelLocal: increments answered ahead for a key come before.
func TestUnchangedAtLevelLocal(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	call(t, c, "CLIENT ACK local")
	for i := range 50 {
		key := fmt.Sprint("k", i)
		if got := call(t, c, "INCR "+key); got != ":1\r\n" {
			t.Fatalf("INCR: %q", got)
		}
		if got := call(t, c, "PFADD "+key); !strings.HasPrefix(got, "-WRONGTYPE") {
			t.Fatalf("PFADD of a counter: %q", got)
		}
	}
}
