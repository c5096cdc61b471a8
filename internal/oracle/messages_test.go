package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"quipu/internal/redistest"
)

// Messages stand between replies, and each server chooses where; so they are put aside, and compared when both servers are at rest: what
// CLIENT TRACKING tells a connection of keys that have changed, as a set, because each server chooses how many keys are in one message, and
// what the connection has subscribed to, with the confirmations, in order.

// told are the keys that a connection was told of, and what else it was told.
type told map[string]bool

const toldOfAll = "\x00all keys"

// read reads the next reply from one side, and puts messages before it aside.
func (c *client) read(side int) string {
	for {
		reply := readOne(c.conns[side])
		if reply == "" || reply[0] != '>' && reply[0] != '*' || len(reply) > longestMessage {
			return reply
		}
		message, _, err := redistest.ParseReply([]byte(reply))
		switch {
		case err != nil || len(message.Elems) == 0:
			return reply
		case slices.Contains(published[message.Elems[0].Text], len(message.Elems)):
			c.heard[side] = append(c.heard[side], reply)
		case reply[0] == '>' && len(message.Elems) == 2:
			c.put(side, message)
		default:
			return reply
		}
	}
}

// longestMessage is more bytes than a message of a sequence has.
const longestMessage = 16 << 10

// published are the messages about channels, and how many elements they have.
var published = map[string][]int{
	"message": {3}, "smessage": {3}, "pmessage": {4}, "subscribe": {3}, "psubscribe": {3}, "ssubscribe": {3},
	"unsubscribe": {3}, "punsubscribe": {3}, "sunsubscribe": {3},
}

func (c *client) put(side int, message redistest.Reply) {
	if c.told[side] == nil {
		c.told[side] = told{}
	}
	switch keys := message.Elems[1]; {
	case message.Elems[0].Text != "invalidate":
		c.told[side]["\x00"+message.Elems[0].Text] = true
	case keys.IsNull():
		c.told[side][toldOfAll] = true
	default:
		for _, key := range keys.Elems {
			c.told[side][key.Text] = true
		}
	}
}

// sameMessages waits until both have sent each connection the same messages, unless the values differ, and so the changes of keys.
func (p *player) sameMessages(i int) bool {
	for n, c := range p.clients {
		if c == nil || p.parted {
			continue
		}
		same := func() bool { // a closed connection is found by finish
			return c.hear() != nil || slices.Equal(inOrder(c.heard[redis]), inOrder(c.heard[quipu])) && p.equalTold(n, c)
		}
		if !soon(same) {
			x := &exchange{step: i, conn: n, note: "# messages, and keys told by CLIENT TRACKING", differs: true}
			for side := range c.conns {
				keys := redistest.AppendCommand(nil, slices.Sorted(maps.Keys(c.told[side]))...)
				x.replies[side] = fmt.Sprintf("*%d\r\n%s%s", len(c.heard[side])+1, strings.Join(c.heard[side], ""), keys)
			}
			p.log = append(p.log, x)
			return false
		}
	}
	return true
}

// inOrder sorts what comes in an order that is chance in Redis: the patterns that one PUBLISH matches, and the channels that one UNSUBSCRIBE
// without names ends.
func inOrder(heard []string) []string {
	list, names := make([]string, len(heard)), make([]string, len(heard))
	group, first := "", 0 // of messages in a row whose names may be in any order
	for i, raw := range heard {
		m, _, _ := redistest.ParseReply([]byte(raw))
		of := raw
		list[i] = raw
		switch kind := m.Elems[0].Text; kind {
		case "pmessage":
			of = fmt.Sprintf("%s %q %q", kind, m.Elems[2].Text, m.Elems[3].Text)
			list[i], names[i] = of, m.Elems[1].Text
		case "unsubscribe", "punsubscribe", "sunsubscribe":
			of = kind
			list[i], names[i] = kind+m.Elems[2].Text, string(m.Elems[1].Encode(nil))
		}
		if of != group {
			group, first = of, i
		}
		slices.Sort(names[first : i+1])
	}
	return append(list, names...)
}

// soon asks again and again until ok is content, or too much time has passed.
func soon(ok func() bool) bool {
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// awaitGone waits until both servers have forgotten a client that has hung up, which is no receiver then.
func (p *player) awaitGone(c *client) {
	for side, id := range c.ids {
		soon(func() bool {
			list, err := p.ask(side, "CLIENT", "LIST", "ID", id)
			return err != nil || !strings.Contains(list, "id="+id+" ")
		})
	}
}

// hear reads all messages that were sent to the connection before.
func (c *client) hear() error {
	for side := range c.conns {
		if _, err := c.do(side, "PING"); err != nil {
			return err
		}
	}
	return nil
}

// equalTold: Quipu has told all that Redis has, and more only of keys that may have changed while a read of them was under way. Where keys may
// have died, each server finds that at a time of its own, and a key that died first is not told of when it is written.
func (p *player) equalTold(n int, c *client) bool {
	if p.moved || p.pastDeadlines() {
		return true
	}
	ended := p.endedEarly(n)
	for key := range c.told[redis] {
		if !c.told[quipu][key] && !ended {
			return false
		}
	}
	for key := range c.told[quipu] {
		if !c.told[redis][key] && !p.overlaps(key) {
			return false
		}
	}
	return true
}

// endedEarly reports whether a connection has ended its tracking, or changed it, where Quipu tells a little later than it answers: with
// BCAST, and of increments that are answered ahead.
func (p *player) endedEarly(n int) bool {
	begun, late := false, p.setup.local
	for _, x := range p.log {
		name, tracking := word(x.args, 0), word(x.args, 0) == "client" && word(x.args, 1) == "tracking"
		if x.conn != n {
			continue
		}
		if begun && late && (tracking || name == "reset" || name == "hello") {
			return true
		}
		begun = begun || tracking
		late = late || tracking && slices.ContainsFunc(x.args, func(arg string) bool { return strings.EqualFold(arg, "bcast") })
	}
	return false
}

// overlaps reports whether a key was named by commands that were sent together with others, or any may be under way.
func (p *player) overlaps(key string) bool {
	if p.setup.local {
		return true
	}
	for i, x := range p.log {
		together := i > 0 && p.log[i-1].step == x.step || i+1 < len(p.log) && p.log[i+1].step == x.step
		if together && slices.Contains(x.args, key) {
			return true
		}
	}
	return false
}
