package commands

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"quipu/engine"
	"quipu/protocol"
)

// FuzzHandlers runs any sequence of argument vectors. No handler may panic, each writes exactly one well-formed reply, an
// error reply of a write means that nothing changed, replicas that run the same writes agree, and the keyspace stays sound.
//
// Commands are separated by newlines and arguments by spaces; a first byte '3' selects RESP3.
func FuzzHandlers(f *testing.F) {
	for _, table := range [][]step{counterSteps, increxSteps, stringSteps, expireSteps, keySteps, cmsSteps, cmsMergeSteps, topkSteps} {
		var lines []string
		for _, st := range table {
			lines = append(lines, st.line)
		}
		f.Add([]byte(strings.Join(lines, "\n")))
	}
	f.Add([]byte("INCREX a BYINT 5 UBOUND 3 SATURATE EX 10 ENX\nINCREX a BYFLOAT 1e300 LBOUND -inf SATURATE\nCOMMAND DOCS get\nCOMMAND\nCOMMAND GETKEYSANDFLAGS mset a b c d"))
	table := NewTable()
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1<<14 {
			return
		}
		resp := 2
		if len(script) > 0 && script[0] == '3' {
			resp, script = 3, script[1:]
		}
		node := newReplica(t, table, resp)
		other := newReplica(t, table, 5-resp)
		defer node.ks.Close()
		defer other.ks.Close()
		for i, line := range bytes.Split(script, []byte("\n")) {
			if i == 100 {
				break
			}
			args := bytes.Split(line, []byte(" "))
			node.step(args)
			other.step(args)
		}
		if err := node.ks.Check(); err != nil {
			t.Errorf("keyspace broken: %v", err)
		}
		if node.ks.Checksum(node.now) != other.ks.Checksum(other.now) {
			t.Error("two nodes disagree after the same commands")
		}
	})
}

func newReplica(t *testing.T, table *Table, resp int) *shell {
	return &shell{
		tb: t, table: table, now: startOfLogTime, resp: resp,
		ks: engine.New(engine.Config{Databases: 4, Seed: uint64(resp)}),
	}
}

// step runs one command with its promises checked. Log time moves on so that keys expire.
func (s *shell) step(args [][]byte) {
	s.now += 7
	cmd, refusal := s.table.Resolve(args)
	if cmd == nil {
		if refusal == "" {
			s.tb.Fatalf("%q: neither a command nor a refusal", args)
		}
		return
	}
	given := make([][]byte, len(args))
	for i := range args {
		given[i] = bytes.Clone(args[i])
	}
	before := s.ks.Checksum(s.now)
	w := &protocol.Writer{V: s.resp, B: []byte("+before\r\n")}
	s.run(cmd, 4096, args, w)
	r := bufio.NewReader(bytes.NewReader(w.B))
	for range 2 {
		if _, err := readReply(r, nil); err != nil {
			s.tb.Fatalf("%q: %v in %q", args, err, w.B)
		}
	}
	if r.Buffered() != 0 {
		s.tb.Fatalf("%q: more than one reply: %q", args, w.B)
	}
	reply := w.B[len("+before\r\n"):]
	if (reply[0] == '-' || cmd.Write == nil) && s.ks.Checksum(s.now) != before {
		s.tb.Fatalf("%q: replied %q and changed the keyspace", args, reply)
	}
	for i := range args {
		if !bytes.Equal(args[i], given[i]) {
			s.tb.Fatalf("%q: argument %d was changed", given, i)
		}
	}
}
