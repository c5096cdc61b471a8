package oracle

import (
	"maps"
	"slices"
	"strings"
	"time"

	"quipu/internal/redistest"
)

// Messages that nobody has asked for: what CLIENT TRACKING tells a connection of keys that have changed. They stand between replies, and
// each server chooses where, and how many keys are in one; so they are put aside, and compared when both servers are at rest.

// told are the keys that a connection was told of, and what else it was told.
type told map[string]bool

const toldOfAll = "\x00all keys"

// read reads the next reply from one side, and puts messages before it aside.
func (c *client) read(side int) string {
	for {
		reply := readOne(c.conns[side])
		if !strings.HasPrefix(reply, ">") {
			return reply
		}
		message, _, err := redistest.ParseReply([]byte(reply))
		if err != nil || len(message.Elems) != 2 {
			return reply
		}
		c.put(side, message)
	}
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

// sameTold waits until Quipu has told each connection all that Redis has. Where keys may have died, each server finds that at a time of its
// own, and a key that died first is not told of when it is written; where the values differ (parted), so do the changes.
func (p *player) sameTold(i int) bool {
	for n, c := range p.clients {
		if c == nil || p.parted || p.moved || p.pastDeadlines() {
			continue
		}
		x := &exchange{step: i, conn: n, note: "# told by CLIENT TRACKING"}
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			if c.hear() != nil || p.equalTold(n, c) { // a closed connection is found by finish
				break
			}
			if time.Now().After(end) {
				x.differs = true
				for side := range c.told {
					x.replies[side] = string(redistest.AppendCommand(nil, slices.Sorted(maps.Keys(c.told[side]))...))
				}
				p.log = append(p.log, x)
				return false
			}
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
