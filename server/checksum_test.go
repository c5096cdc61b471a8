package server

import (
	"strings"
	"testing"

	"quipu/config"
	"quipu/engine"
)

// TestChecksumFindsDifference: a node whose counts are not those of the others is found, answers no reads from its own state any
// more, and does not lead; once its counts are as they should be, all is well again.
func TestChecksumFindsDifference(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, func(cfg *config.Config) { cfg.ChecksumEvery = 0 })
	conn := c.nodes[c.leader()].dial()
	expect(t, conn, "SET k 5", "+OK\r\n", "CLUSTER COMPARE", "+OK\r\n")
	for _, other := range []int{1, 0} { // one that does not lead, then the one that does
		c.agree()
		lead := c.leader()
		at := (lead + other) % 3
		n := c.nodes[at]
		ks := n.srv.replicas[0].Keyspace
		set := func(v int64) {
			ks.LockPart(engine.Part([]byte("k")))
			ks.Txn(0, 1, false).In(engine.Part([]byte("k"))).SetInt([]byte("k"), v, 0)
			ks.UnlockPart(engine.Part([]byte("k")))
		}
		set(6)
		lying := n.dial()
		expect(t, lying, "READONLY", "+OK\r\n", "GET k", bulk("6"))
		if got := call(t, c.nodes[lead].dial(), "CLUSTER COMPARE"); !strings.HasPrefix(got, "-ERR node ") && !strings.Contains(got, "not the leader") {
			t.Errorf("CLUSTER COMPARE: %q", got)
		}
		eventually(t, "the node to doubt itself", func() bool { return n.srv.replicas[0].Group.Doubtful() })
		eventually(t, "another node to lead", func() bool { return n.srv.replicas[0].Group.Term() == 0 && c.leader() != at })
		eventually(t, "reads to come from elsewhere", func() bool { return call(t, lying, "GET k") == bulk("5") })
		set(5)
		eventually(t, "all to be well again", func() bool {
			return call(t, c.nodes[c.leader()].dial(), "CLUSTER COMPARE") == "+OK\r\n" && !n.srv.replicas[0].Group.Doubtful()
		})
	}
}
