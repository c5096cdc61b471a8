package clients

import (
	"testing"

	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

// sketchChecks are what the helpers of a library for sketches are checked for: each command, in both protocols. Debian's
// redis-server has none of these commands, so only Quipu is checked.
var sketchChecks = []string{"count-min", "count-min-resp2", "top-k", "top-k-resp2"}

func TestRedisPySketches(t *testing.T) {
	runOnQuipu(t, toolbox.Python(t, "redis"), "redis-py/sketches.py", sketchChecks)
}

func TestNodeRedisSketches(t *testing.T) {
	runOnQuipu(t, toolbox.Node(t, "redis"), "node-redis/sketches.js", sketchChecks)
}

// runOnQuipu is runProgram for a program that needs a single server, a Quipu.
func runOnQuipu(t *testing.T, with toolbox.Interpreter, script string, want []string) {
	t.Parallel()
	server := redistest.Quipu{}.Start(t)
	runOn(t, &target{name: "quipu", open: server, locked: server}, with, script, want)
}
