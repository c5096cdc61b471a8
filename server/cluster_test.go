package server

import (
	"strconv"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// TestClientUnblock has one client end another's wait, on a node over both transports and on redis-server.
func TestClientUnblock(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, transport)
		unblockEachOther(t, n.dial(), n.dial(), "WAIT 1 0", "WAIT 1 100000")
		unblockEachOther(t, n.dial(), n.dial(), "WAITAOF 1 1 0")
		if blocked := n.srv.stats.blocked.Load(); blocked != 0 {
			t.Errorf("%d clients count as blocked", blocked)
		}
	})
	t.Run("redis", func(t *testing.T) {
		redis := redistest.StartRedis(t)
		unblockEachOther(t, redis.Dial(t), redis.Dial(t), "WAIT 1 0", "WAIT 1 100000")
	})
}

func unblockEachOther(t *testing.T, a, b *redistest.Conn, waits ...string) {
	t.Helper()
	id := strings.Trim(call(t, a, "CLIENT ID"), ":\r\n")
	own := strings.Trim(call(t, b, "CLIENT ID"), ":\r\n")
	expect(t, b, "CLIENT UNBLOCK "+id, ":0\r\n", "CLIENT UNBLOCK "+own+" ERROR", ":0\r\n")
	for _, wait := range waits {
		timedOut := ":0\r\n"
		if strings.HasPrefix(wait, "WAITAOF") {
			timedOut = "*2\r\n:1\r\n:0\r\n"
		}
		for _, c := range []struct{ how, reply string }{
			{"", timedOut}, {" timeout", timedOut}, {" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"},
		} {
			send(t, a, wait, "ECHO after")
			eventually(t, "a client that waits", func() bool { return strings.Contains(call(t, b, "INFO clients"), "\nblocked_clients:1\r") })
			expect(t, b, "CLIENT UNBLOCK "+id+c.how, ":1\r\n", "CLIENT UNBLOCK "+id+c.how, ":0\r\n")
			checkReply(t, wait+c.how, readRaw(t, a), c.reply)
			checkReply(t, "what follows", readRaw(t, a), "$5\r\nafter\r\n")
		}
	}
	// The wait that is over must not end a later one.
	send(t, a, "WAIT 1 "+strconv.Itoa(1))
	checkReply(t, "a wait that ends by itself", readRaw(t, a), ":0\r\n")
	expect(t, b, "CLIENT UNBLOCK "+id, ":0\r\n")
}
