package replica

import (
	"quipu/commands"
	"quipu/engine"
	"quipu/exec"
	"quipu/replication"
)

// Recover is replication.Recover with a state machine that executes commands.
func Recover(cfg replication.Config, table *commands.Table, databases int, to string) (replication.Rescued, error) {
	var broken error
	m := &machine{applied: func(uint64) {}}
	m.fatal = func(err error) {
		if broken == nil {
			broken = err
		}
	}
	begin := func(incarnation string) replication.StateMachine {
		m.keyspace = engine.New(engine.Config{Databases: databases, Seed: replication.HashSeed(incarnation)})
		m.runner = exec.NewRunner(m.keyspace, table)
		return m
	}
	defer func() {
		m.checker.end() // it reads the keyspace
		if m.keyspace != nil {
			m.keyspace.Close()
		}
	}()
	return replication.Recover(cfg, begin, func() error { return broken }, to)
}
