package exec

import (
	"errors"
	"testing"

	"quipu/commands"
	"quipu/engine"
)

// FuzzReplay gives any bytes to Replay: it applies them or says that they are malformed, and the keyspace stays sound.
// What was applied leads to the same state on another node.
func FuzzReplay(f *testing.F) {
	table := commands.NewTable()
	b := NewBatch(table, 0)
	for _, list := range [][]action{
		lines("INCR k", "INCR k", "DECRBY k 7", "INCRBY j 9223372036854775807", "INCRBY j 9223372036854775807"),
		lines("SET k abc PX 5", "APPEND k x", "MSET a 1 b 2", "DEL a b", "RENAME k j", "COPY j k DB 1", "FLUSHDB"),
		{txnOf(0, "INCR k", "SET k 1"), txnOf(1, "INCR k"), txnOf(0, "FLUSHALL", "SETRANGE k 5 x")},
		lines("INCREX k BYINT 5 UBOUND 7 SATURATE EX 10 ENX", "GETEX k PX 3", "INCRBYFLOAT k 1e-5", "MSETNX a 1 b 2"),
	} {
		gather(f, b, list...)
		f.Add(append([]byte(nil), b.Entry()...))
		b.Reset()
	}
	origin := newRig(f, table)
	if err := origin.ks.SetOrigin("node", 7); err != nil {
		f.Fatal(err)
	}
	origin.ks.AddPending([]engine.Increment{{Key: []byte("k"), Delta: 5}, {Key: []byte("{k}2"), Delta: -1 << 40}, {Key: []byte("j"), Delta: 1}}, 1)
	for part := range engine.Parts {
		b.Drain(origin.ks, part, 1)
	}
	drains := append([]byte(nil), b.Entry()...)
	f.Add(drains)
	f.Add(append(drains, drains...))
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
		if _, err := d.touches(func(int, []byte) bool { return false }); err != nil && !errors.Is(err, errPayload) {
			t.Fatal(err)
		}
	})
}
