package replica

import (
	"strings"
	"testing"

	"quipu/commands"
	"quipu/engine"
	"quipu/exec"
	"quipu/replication"
)

// TestBrokenEntry has the state machine meet an entry it cannot read: nothing is applied after it, nothing captured.
func TestBrokenEntry(t *testing.T) {
	ks := engine.New(engine.Config{Databases: 1, Seed: 1})
	defer ks.Close()
	var fatal error
	m := &machine{keyspace: ks, runner: exec.NewRunner(ks, commands.NewTable()), fatal: func(err error) { fatal = err }}
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
