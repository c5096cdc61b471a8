package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"quipu/internal/manual"
)

// connectVerbs are what quipu-connect does.
var connectVerbs = []manual.Word{
	{Name: "check", Args: "FILE", Summary: "read the configuration and say what is wrong"},
	{Name: "test", Args: "FILE [SOURCE]", Summary: "print the commands that records come to; nothing is sent"},
	{Name: "run", Args: "FILE", Summary: "count and write, until it is stopped"},
	{Name: "status", Args: "FILE", Summary: "how far partitions are counted and sinks are written"},
	{Name: "accept", Args: "FILE SOURCE[/N]", Summary: "go on behind a gap, or with a topic that was created anew"},
	{Name: "retry", Args: "FILE SOURCE", Summary: "count records that were set aside, once"},
	{Name: "recount", Args: "FILE SOURCE", Summary: "count a source again from its beginning and compare"},
	{Name: "adopt", Args: "FILE SINK", Summary: "begin anew with the data that Quipu has now"},
}

// runConnect becomes the program quipu-connect, which stands beside this one or in the PATH: what reads events from brokers
// stays out of this binary. Sources of Pulsar need quipu-connect-pulsar, which is taken if it is the only one there.
func runConnect(args []string) int {
	path, err := findConnect()
	if err != nil {
		fmt.Fprintf(os.Stderr, "quipu: %v; `make connect` builds it\n", err)
		return 1
	}
	if err := syscall.Exec(path, append([]string{filepath.Base(path)}, args...), os.Environ()); err != nil {
		fmt.Fprintf(os.Stderr, "quipu: %s: %v\n", path, err)
	}
	return 1
}

func findConnect() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	var first error
	for _, name := range []string{"quipu-connect", "quipu-connect-pulsar"} {
		if beside := filepath.Join(filepath.Dir(self), name); isFile(beside) {
			return beside, nil
		}
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}
