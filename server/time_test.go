package server

import (
	"testing"
	"time"

	"quipu/config"
	"quipu/replica"
)

// TestExpiryByLogTime moves log time: what a read sees follows it, reclaiming follows the entries applied, and a tick
// moves those on while nothing is written.
func TestExpiryByLogTime(t *testing.T) {
	tt, clock := newTestTime()
	g := &testGroup{clock: clock}
	n := startGroupNode(t, g, nil)
	c := n.dial()
	expect(t, c, "SET a 1 PX 1000", "+OK\r\n", "INCR a", ":2\r\n", "PTTL a", ":1000\r\n", "DBSIZE", ":1\r\n")
	stamp := n.srv.replicas[0].Stamp()
	tt.advance(999 * time.Millisecond)
	expect(t, c, "PTTL a", ":1\r\n", "GET a", "$1\r\n2\r\n")

	g.hold() // the tick
	tt.advance(time.Millisecond)
	expect(t, c, "GET a", "$-1\r\n", "PTTL a", ":-2\r\n", "EXISTS a", ":0\r\n")
	eventually(t, "a tick", func() bool { return g.heldCount() == 1 })
	if got := n.srv.replicas[0].Stamp(); got != stamp {
		t.Errorf("the stamp moved from %d to %d without an entry", stamp, got)
	}
	time.Sleep(3 * replica.ReclaimEvery)
	if n.srv.replicas[0].Keyspace.Stats(0).Keys != 1 || n.srv.stats.expiredKeys.Load() != 0 {
		t.Error("a key was reclaimed before the log passed its deadline")
	}
	g.release()
	eventually(t, "the key to be reclaimed", func() bool { return n.srv.replicas[0].Keyspace.Stats(0).Keys == 0 })
	if n.srv.stats.expiredKeys.Load() != 1 {
		t.Errorf("expired_keys is %d", n.srv.stats.expiredKeys.Load())
	}
	entries := n.srv.entries()
	time.Sleep(3 * replica.ReclaimEvery)
	if got := n.srv.entries(); got != entries {
		t.Errorf("%d ticks while nothing is due", got-entries)
	}
	expect(t, c, "INCR a", ":1\r\n", "TTL a", ":-1\r\n")
}

// TestReclaimMany lets more keys expire than one round reclaims.
func TestReclaimMany(t *testing.T) {
	tt, clock := newTestTime()
	n := startGroupNode(t, &testGroup{clock: clock}, nil)
	c := n.dial()
	const keys = 5000
	commands := make([][]string, keys)
	for i := range commands {
		commands[i] = []string{"SET", "k" + itoa(int64(i)), "1", "PX", itoa(int64(10 + i%50))}
	}
	if _, err := c.Pipeline(commands...); err != nil {
		t.Fatal(err)
	}
	tt.advance(time.Minute)
	eventually(t, "all keys to be reclaimed", func() bool { return n.srv.stats.expiredKeys.Load() == keys })
	if err := n.srv.replicas[0].Keyspace.Check(); err != nil {
		t.Error(err)
	}
}

func TestDebug(t *testing.T) {
	n := startNode(t, func(c *config.Config) { c.DebugCommand = true })
	c := n.dial()
	expect(t, c, "DEBUG CHECK", "+OK\r\n", "DEBUG CHECKSUM", "+0000000000000000\r\n", "DEBUG NONSENSE", "-ERR unknown subcommand")
	expect(t, c, "SET a 1", "+OK\r\n", "SELECT 3", "+OK\r\n", "SET b two PX 100000", "+OK\r\n")
	sum := call(t, c, "DEBUG CHECKSUM")
	expect(t, c, "DEBUG JUMP-CLOCK", "+OK\r\n", "INCR a", ":1\r\n")
	if sum == call(t, c, "DEBUG CHECKSUM") {
		t.Error("the checksum does not see a change")
	}
	send(t, c, "DEL a", "DEBUG CHECKSUM", "DEBUG CHECK") // it waits for the client's own write
	checkReply(t, "DEL", readRaw(t, c), ":1\r\n")
	checkReply(t, "DEBUG CHECKSUM", readRaw(t, c), sum)
	checkReply(t, "DEBUG CHECK", readRaw(t, c), "+OK\r\n")

	closed := startGroupNode(t, &testGroup{}, nil)
	expect(t, closed.dial(), "DEBUG CHECK", "-ERR DEBUG command not allowed")
}
