package server

import (
	"fmt"
	"testing"

	"quipu/config"
)

// TestNoWaitForLaterIncrements runs commands that wait for everything that is answered ahead, while increments of another
// client are answered ahead all the time: one more before each entry is committed. A command that waited for those
// increments as well would never be answered.
func TestNoWaitForLaterIncrements(t *testing.T) {
	const patience = 50 // entries; more than any command needs
	for _, c := range []struct{ command, reply string }{
		{"WATCH z", "+OK\r\n"},
		{"KEYS nothing*", "*0\r\n"},
		{"DBSIZE", ":"},
		{"SCAN 0 MATCH nothing*", "*2\r\n$1\r\n0\r\n*0\r\n"},
		{"RANDOMKEY", "$"},
		{"CLIENT ACK LOCAL", "+OK\r\n"},
		{"GET z", "$-1\r\n"}, // with a key watched
		{"EXEC", "*1\r\n:"},
	} {
		t.Run(c.command, func(t *testing.T) {
			bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
				n, g := localNode(t, transport)
				waiting, counting := n.dial(), n.dial()
				expect(t, waiting, "CLIENT ACK quorum", "+OK\r\n")
				switch c.command {
				case "GET z":
					expect(t, waiting, "WATCH y", "+OK\r\n")
				case "EXEC":
					expect(t, waiting, "WATCH y", "+OK\r\n", "MULTI", "+OK\r\n", "DBSIZE", "+QUEUED\r\n")
				}
				expect(t, counting, "INCR k0", ":1\r\n")
				t.Cleanup(g.release)
				g.hold()
				send(t, waiting, c.command)
				reply := make(chan string, 1)
				go func() {
					raw, err := waiting.ReadRaw()
					if err != nil {
						raw = []byte(err.Error())
					}
					reply <- string(raw)
				}()
				answered := false
				for entries := 0; !answered; {
					eventually(t, "a reply or an entry", func() bool {
						answered = len(reply) > 0
						return answered || g.heldCount() > 0
					})
					if answered {
						break
					}
					if entries++; entries > patience {
						t.Fatalf("%s waits for increments that came after it", c.command)
					}
					expect(t, counting, fmt.Sprintf("INCR k%d", entries), ":1\r\n")
					g.commitHeld()
				}
				checkReply(t, c.command, <-reply, c.reply)
				g.release()
				n.check()
			})
		})
	}
}
