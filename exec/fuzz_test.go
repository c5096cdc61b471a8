package exec

import (
	"errors"
	"testing"

	"quipu/commands"
)

// FuzzReplay gives any bytes to Replay: it applies them or says that they are malformed, and the keyspace stays sound.
// What was applied leads to the same state on another node.
func FuzzReplay(f *testing.F) {
	table := commands.NewTable()
	b := NewSubBatch(table)
	for _, list := range [][]action{
		lines("INCR k", "INCR k", "DECRBY k 7", "INCRBY j 9223372036854775807", "INCRBY j 9223372036854775807"),
		lines("SET k abc PX 5", "APPEND k x", "MSET a 1 b 2", "DEL a b", "RENAME k j", "COPY j k DB 1", "FLUSHDB"),
		{txnOf(0, "INCR k", "SET k 1"), txnOf(1, "INCR k"), txnOf(0, "FLUSHALL", "SETRANGE k 5 x")},
		lines("INCREX k BYINT 5 UBOUND 7 SATURATE EX 10 ENX", "GETEX k PX 3", "INCRBYFLOAT k 1e-5", "MSETNX a 1 b 2"),
	} {
		gather(f, b, list...)
		f.Add(append([]byte(nil), b.ops...))
		b.Reset()
	}
	node := newNodeRig(f, table)
	node.answer("k", "{k}2", "j")
	_, counted := node.sealEntry()
	f.Add(counted)
	f.Add(append(counted, counted...))
	f.Add([]byte("\x01\x00\xff\xff\xff\xff\xc9f\xff\xff\xff\xff\x01k")) // 2^32-1 increments that overflow
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > 1<<12 {
			return
		}
		node, other := newRig(t, table), newRig(t, table)
		defer node.close()
		defer other.close()
		for i, g := range []*rig{node, other} {
			g.r.call.MaxBulk = 4096
			if err := g.r.Replay(payload, startOfLogTime); err != nil && !errors.Is(err, errPayload) {
				t.Fatalf("node %d: %v", i, err)
			}
		}
		if node.ks.Checksum(startOfLogTime) != other.ks.Checksum(startOfLogTime) {
			t.Error("two nodes disagree after the same payload")
		}
		d := decoder{table: table, databases: node.ks.Databases(), rest: payload}
		if err := newTouchedKeys(table, 0).add(&d); err != nil && !errors.Is(err, errPayload) {
			t.Fatal(err)
		}
	})
}

// FuzzAbsorb gives any bytes to Absorb, as another node could: what is not refused can be executed, and the keyspace stays
// sound. The node would stop otherwise.
func FuzzAbsorb(f *testing.F) {
	table := commands.NewTable()
	b := NewSubBatch(table)
	for _, list := range [][]action{
		lines("INCR k", "INCR k", "GET k", "INCR k", "SET k abc PX 5", "MGET k j", "KEYS *", "DBSIZE"),
		{txnOf(0, "INCR k", "GET k"), txnOf(0), txnOf(5, "GET k"), {as: silent, line: "INCR k"}, {as: resp3, line: "+PONG\r\n", literal: true}},
	} {
		gather(f, b, list...)
		gather(f, b, list...)
		f.Add(b.AppendForward(nil))
		b.Reset()
	}
	gatherWatch(f, b, Watch{1 << 60, 3})
	f.Add(b.AppendForward(nil))
	f.Fuzz(func(t *testing.T, records []byte) {
		if len(records) > 1<<12 {
			return
		}
		s := NewSubBatch(table)
		s.UseWatches(watchList{})
		if s.Absorb(records, "node", 3, func(*commands.Command, [][]byte) {}) != nil {
			return
		}
		node := newRig(t, table)
		defer node.close()
		node.r.call.MaxBulk = 4096
		if s.ReadsOnly() {
			if err := s.ExecuteReads(node.r, startOfLogTime, 1<<20, "ERR x"); err != nil {
				t.Fatal(err)
			}
		} else {
			b := &Batch{}
			b.Add(s)
			if err := b.Execute(node.r, b.Seal(nil, 0, startOfLogTime), startOfLogTime); err != nil {
				t.Fatal(err)
			}
		}
		if rest, err := s.TakeReplies(s.AppendReplies(nil)); err != nil || len(rest) > 0 {
			t.Fatal(err)
		}
	})
}
