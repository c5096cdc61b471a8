package server

import (
	"fmt"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// TestMemoryStatsNames compares the shape of MEMORY STATS with Redis's: names in their order and the types of the
// values, in both protocols.
func TestMemoryStatsNames(t *testing.T) {
	redis := redistest.StartRedis(t).Dial(t)
	n := startNode(t, nil)
	quipu := n.dial()
	for _, hello := range []string{"2", "3"} {
		var shapes [2]string
		for i, c := range []*redistest.Conn{redis, quipu} {
			for _, command := range [][]string{{"HELLO", hello}, {"SET", "a", "1"}, {"SELECT", "3"}, {"SET", "b", "1"}} {
				if r, err := c.Do(command...); err != nil || r.IsError() {
					t.Fatal(command, r, err)
				}
			}
			reply, err := c.Do("MEMORY", "STATS")
			if err != nil {
				t.Fatal(err)
			}
			shapes[i] = shape(reply)
		}
		if shapes[0] != shapes[1] {
			t.Errorf("RESP%s: Redis\n%s\nQuipu\n%s", hello, shapes[0], shapes[1])
		}
	}
}

// shape renders the names and types of a map, one pair a line.
func shape(r redistest.Reply) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%c%d\n", r.Type, len(r.Elems))
	for i := 0; i+1 < len(r.Elems); i += 2 {
		name, value := r.Elems[i], r.Elems[i+1]
		if value.Elems != nil {
			fmt.Fprintf(&b, "%s: %s", name.Text, shape(value))
			continue
		}
		fmt.Fprintf(&b, "%s: %c\n", name.Text, value.Type)
	}
	return b.String()
}

// TestMemoryFigures checks that what INFO, MEMORY STATS and MEMORY USAGE say of a filled keyspace agrees.
func TestMemoryFigures(t *testing.T) {
	n := startNode(t, nil)
	c := n.dial()
	const keys = 100_000
	before := n.srv.memoryFigures()
	args := []string{"MSET"}
	for i := range keys {
		if args = append(args, fmt.Sprintf("likes:post:%07d", i), "12345"); len(args) > 10_000 || i == keys-1 {
			if r, err := c.Do(args...); err != nil || r.IsError() {
				t.Fatal(r, err)
			}
			args = args[:1]
		}
	}
	after := n.srv.memoryFigures()
	grown := float64(after.dataset+after.index-before.dataset-before.index) / keys
	usage, err := c.Do("MEMORY", "USAGE", "likes:post:0000007")
	if err != nil {
		t.Fatal(err)
	}
	each, err := usage.Int()
	if err != nil || float64(each) < 0.8*grown || float64(each) > 1.25*grown {
		t.Errorf("MEMORY USAGE says %d (%v), the keyspace grew by %.1f bytes a key", each, err, grown)
	}
	if after.mapped < after.dataset+after.index-int64(keys) || after.resident > 0 && after.resident < after.dataset {
		t.Errorf("%+v", after)
	}
	stats, err := c.Do("MEMORY", "STATS")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(stats.Elems); i += 2 {
		if stats.Elems[i].Text == "keys.count" && stats.Elems[i+1].Text != itoa(keys) {
			t.Errorf("keys.count is %s", stats.Elems[i+1].Text)
		}
	}
}
