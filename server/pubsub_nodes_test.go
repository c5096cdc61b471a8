package server

import (
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// connected waits until each node would tell all others what is published.
func (c *testNodes) connected() {
	c.t.Helper()
	for _, n := range c.nodes {
		eventually(c.t, "nodes to be connected", func() bool {
			_, _, up := n.srv.peers.Told()
			return up == len(c.nodes)-1
		})
	}
}

// TestPublishAcrossNodes: what is published on any node reaches subscribers on all; in a transaction when it is executed. With
// cluster-enabled as well, where no client is sent elsewhere for it: each node has the channels of all shards.
func TestPublishAcrossNodes(t *testing.T) {
	for name, cluster := range map[string]bool{"forwarding": false, "cluster-enabled": true} {
		t.Run(name, func(t *testing.T) {
			c := startNodes(t, 3, func(cfg *config.Config) { cfg.ClusterEnabled = cluster })
			c.connected()
			var subs []*redistest.Conn
			for _, n := range c.nodes {
				s := n.subscriber("ch")
				expect(t, s, "PSUBSCRIBE c*", ">3", "SSUBSCRIBE {a}shard", ">3")
				subs = append(subs, s)
			}
			for i, n := range c.nodes {
				p := n.dial()
				expect(t, p, "PUBLISH ch x"+itoa(int64(i)), ":2\r\n", "PUBLISH other x", ":0\r\n", "SPUBLISH {a}shard y", ":1\r\n",
					"MULTI", "+OK\r\n", "PUBLISH ch z", "+QUEUED\r\n", "SPUBLISH {a}shard z", "+QUEUED\r\n", "EXEC", "*2\r\n:2\r\n:1\r\n")
				for _, s := range subs {
					for _, want := range []string{
						pushed("message", "ch", "x"+itoa(int64(i))), pushed("pmessage", "c*", "ch", "x"+itoa(int64(i))), pushed("smessage", "{a}shard", "y"),
						pushed("message", "ch", "z"), pushed("pmessage", "c*", "ch", "z"), pushed("smessage", "{a}shard", "z"),
					} {
						checkReply(t, "message", readRaw(t, s), want)
					}
				}
				eventually(t, "INFO to tell of it", func() bool {
					info := call(t, p, "INFO stats")
					return strings.Contains(info, "pubsub_peers:2\r\n") && strings.Contains(info, "pubsub_peer_sent:10\r\n") && strings.Contains(info, "pubsub_peer_dropped:0\r\n")
				})
			}
		})
	}
}

// TestPublishedBetweenNodes: what is damaged, or of a later version, is passed over.
func TestPublishedBetweenNodes(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.subscriber("ch")
	for _, body := range []string{"", "\x02\x00\x00", "\x03\x00\x00\x00ch", "\xff\xff\xff\xffch"} {
		n.srv.hearPublished(uint8(onChannel), []byte(body))
	}
	n.srv.hearPublished(uint8(onPattern), []byte("\x02\x00\x00\x00chx"))
	n.srv.hearPublished(77, []byte("\x02\x00\x00\x00chx"))
	expectNothing(t, c)
	n.srv.hearPublished(uint8(onChannel), []byte("\x02\x00\x00\x00chx"))
	checkReply(t, "message", readRaw(t, c), pushed("message", "ch", "x"))
}
