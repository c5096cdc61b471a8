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

// sameHeard waits until both have sent each connection the same messages about channels.
func (p *player) sameHeard(i int) bool {
	for n, c := range p.clients {
		if c == nil || p.parted || !c.listens && len(c.heard[redis])+len(c.heard[quipu]) == 0 {
			continue
		}
		same := func() bool { return c.hear() != nil || slices.Equal(inOrder(c.heard[redis]), inOrder(c.heard[quipu])) }
		if !soon(same) {
			x := &exchange{step: i, conn: n, note: "# messages", differs: true}
			for side := range c.heard {
				x.replies[side] = fmt.Sprintf("*%d\r\n%s", len(c.heard[side]), strings.Join(c.heard[side], ""))
			}
			p.log = append(p.log, x)
			return false
		}
	}
	return true
}

// inOrder sorts the channels that one UNSUBSCRIBE without names has ended, whose order is chance in Redis.
func inOrder(heard []string) []string {
	list := slices.Clone(heard)
	for i := 0; i < len(list); {
		first, names := i, []string{}
		kind, _, _ := strings.Cut(list[i], "unsubscribe")
		for ; i < len(list) && strings.HasPrefix(list[i], kind+"unsubscribe"); i++ {
			m, _, _ := redistest.ParseReply([]byte(list[i]))
			names = append(names, string(m.Elems[1].Encode(nil)))
			list[i] = kind + m.Elems[2].Text
		}
		slices.Sort(names)
		for k, name := range names {
			list[first+k] += name
		}
		if i == first {
			i++
		}
	}
	return list
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

// sameTold waits until Quipu has told each connection all that Redis has. Where keys may have died, each server finds that at a time of its
// own, and a key that died first is not told of when it is written; where the values differ (parted), so do the changes.
func (p *player) sameTold(i int) bool {
	for n, c := range p.clients {
		if c == nil || p.parted || p.moved || p.pastDeadlines() {
			continue
		}
		if !soon(func() bool { return c.hear() != nil || p.equalTold(n, c) }) { // a closed connection is found by finish
			x := &exchange{step: i, conn: n, note: "# told by CLIENT TRACKING", differs: true}
			for side := range c.told {
				x.replies[side] = string(redistest.AppendCommand(nil, slices.Sorted(maps.Keys(c.told[side]))...))
			}
			p.log = append(p.log, x)
			return false
		}
	}
	return true
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

// equalTold: Quipu has told all that Redis has, and more only of keys that may have changed while a read of them was under way.
func (p *player) equalTold(n int, c *client) bool {
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
