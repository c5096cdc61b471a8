package replica

import (
	"bytes"
	"strings"
	"testing"

	"quipu/commands"
	"quipu/engine"
	"quipu/exec"
	"quipu/protocol"
	"quipu/replication"
)

// TestBrokenEntry has the state machine meet an entry it cannot read: nothing is applied after it, nothing captured.
func TestBrokenEntry(t *testing.T) {
	ks := engine.New(engine.Config{Databases: 1, Seed: 1})
	defer ks.Close()
	var fatal error
	m := &machine{keyspace: ks, runner: exec.NewRunner(ks, commands.NewTable()), fatal: func(err error) { fatal = err }, applied: func(uint64) {}}
	m.Apply(replication.Entry{Index: 1, Stamp: 1, Payload: []byte{255, 255}}, nil)
	if fatal == nil || !strings.Contains(fatal.Error(), "log entry 1") {
		t.Errorf("the node ends with %v", fatal)
	}
	m.Apply(replication.Entry{Index: 2, Stamp: 2}, nil)
	if m.entries.Load() != 0 {
		t.Error("an entry behind the broken one was applied")
	}
	if err := (persister{machine: m}).Persist(nil); err == nil {
		t.Error("a broken state was written")
	}
}

// TestRestoredStamp: reads of a node that has loaded a snapshot, and has executed no entry since, judge expiry by the log time
// of what is in the snapshot.
func TestRestoredStamp(t *testing.T) {
	table := commands.NewTable()
	open := func() *machine {
		ks := engine.New(engine.Config{Databases: 1, Seed: 1})
		t.Cleanup(ks.Close)
		return &machine{keyspace: ks, runner: exec.NewRunner(ks, table), fatal: func(err error) { t.Error(err) }, applied: func(uint64) {}}
	}
	from, to := open(), open()
	b := exec.NewSubBatch(table)
	b.Begin(nil, 0)
	args := [][]byte{[]byte("set"), []byte("k"), []byte("v"), []byte("px"), []byte("5")}
	cmd, _ := table.Resolve(args)
	b.Write(cmd, args, exec.As{RESP: 2})
	b.End()
	var batch exec.Batch
	batch.Add(b)
	from.Apply(replication.Entry{Index: 1, Stamp: 1000, Payload: batch.Seal(nil, 0, 1000)}, nil)
	from.Apply(replication.Entry{Index: 2, Stamp: 1005}, nil)
	var state bytes.Buffer
	captured := from.Capture()
	if err := captured.Persist(&state); err != nil {
		t.Fatal(err)
	}
	captured.Release()
	if err := to.Restore(bytes.NewReader(state.Bytes()), int64(state.Len()), 2, 1005); err != nil {
		t.Fatal(err)
	}
	w := protocol.Writer{V: 2}
	args = [][]byte{[]byte("get"), []byte("k")}
	cmd, _ = table.Resolve(args)
	to.runner.Read(cmd, args, 0, to.stamp.Load(), &w)
	if string(w.B) != "$-1\r\n" {
		t.Errorf("a key that has expired: %q", w.B)
	}
}
