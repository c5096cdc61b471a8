package replica

import (
	"quipu/commands"
	"quipu/engine"
	"quipu/exec"
	"quipu/replication"
)

// Recover is replication.Recover with a state machine that executes commands.
func Recover(cfg replication.Config, table *commands.Table, databases int, to string) (replication.Rescued, error) {
	ks := engine.New(engine.Config{Databases: databases})
	defer ks.Close()
	var broken error
	m := &machine{keyspace: ks, runner: exec.NewRunner(ks, table), applied: func(uint64) {}}
	m.fatal = func(err error) {
		if broken == nil {
			broken = err
		}
	}
	defer m.checker.end() // it reads the keyspace
	return replication.Recover(cfg, m, func() error { return broken }, to)
}
