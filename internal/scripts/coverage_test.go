package scripts

import (
	"testing"

	"quipu/server"
)

// TestEveryCommandHasAScript: each command and subcommand is called by a script at least once, and where Redis has it at
// least once against both servers.
func TestEveryCommandHasAScript(t *testing.T) {
	table := server.Commands()
	called, compared := map[string]string{}, map[string]bool{}
	for _, s := range loadScripts(t) {
		for _, st := range s.order {
			args := make([][]byte, len(st.args))
			for i, arg := range st.args {
				args[i] = []byte(arg)
			}
			if len(args) == 0 {
				continue
			}
			cmd := table.Find(args)
			if cmd == nil {
				continue
			}
			called[cmd.FullName()] = s.path
			if !st.quipuOnly {
				compared[cmd.FullName()] = true
			}
		}
	}
	for _, cmd := range table.All() {
		name := cmd.FullName()
		switch {
		case cmd.IsContainer():
		case called[name] == "":
			t.Errorf("no script calls %s: add a line to testdata", name)
		case !cmd.Own && !compared[name]:
			t.Errorf("%s calls %s only within @quipu, and Redis has it: compare it", called[name], name)
		case cmd.Own && compared[name]:
			t.Errorf("%s is compared with Redis, which does not have it by its entry (Own)", name)
		}
	}
}
