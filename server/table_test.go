package server

import (
	"strings"
	"testing"
)

// TestEveryCommandHasAHandler checks that the session can carry out what the table has and the keyspace does not do.
func TestEveryCommandHasAHandler(t *testing.T) {
	table, handlers := buildTable()
	for _, cmd := range table.All() {
		h := &handlers[cmd.ID()]
		session := h.run != nil || h.flow != nil
		data := cmd.Read != nil || cmd.Write != nil
		switch {
		case session && data:
			t.Errorf("%s is done by the session and by the keyspace", cmd.FullName())
		case !session && !data && len(cmd.Sub) == 0:
			t.Errorf("%s has no handler", cmd.FullName())
		case h.control && h.run == nil && h.flow == nil:
			t.Errorf("%s is a control command without a handler", cmd.FullName())
		}
		if cmd.Summary == "" || cmd.Since == "" || cmd.Group == "" {
			t.Errorf("%s lacks a summary, a version or a group", cmd.FullName())
		}
	}
}

func TestCommandOverTheWire(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	reply, err := c.Do("COMMAND")
	if err != nil {
		t.Fatal(err)
	}
	count, err := c.Do("COMMAND", "COUNT")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := count.Int(); got != int64(len(reply.Elems)) {
		t.Errorf("COMMAND COUNT says %d, COMMAND shows %d", got, len(reply.Elems))
	}
	for _, entry := range reply.Elems {
		name := entry.Elems[0].Text
		if docs := callArgs(t, c, "COMMAND", "DOCS", name); !strings.Contains(docs, "summary") {
			t.Errorf("COMMAND DOCS %s: %.100q", name, docs)
		}
	}
	expect(t, c,
		"CLIENT", "-ERR wrong number of arguments for 'client' command\r\n",
		"CLIENT NOTHING", "-ERR unknown subcommand 'NOTHING'. Try CLIENT HELP.\r\n",
		"NOTHING a", "-ERR unknown command 'NOTHING', with args beginning with: 'a' \r\n",
	)
}
