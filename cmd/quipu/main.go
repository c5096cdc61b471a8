// Command quipu is a counter server that speaks the Redis protocol, and the tools around it.
package main

import (
	"fmt"
	"os"
	"strings"
)

// subcommand is one word of the command line and what it does; run returns the exit status.
type subcommand struct {
	name    string
	usage   string
	summary string
	run     func(args []string) int
}

func subcommands() []subcommand {
	return []subcommand{
		{"server", "[config-file] [--flag value …]", "start a node (also the default without a subcommand)", runServer},
		{"cluster", "status|wait|add|promote|remove|replace|transfer|compare|upgrade …", "look after a cluster that runs", runCluster},
		{"backup", "FILE [--addr host:port]", "write a snapshot of a node that runs into a file", runBackup},
		{"restore", "FILE --dir DIRECTORY", "make a data directory of a backup", runRestore},
		{"recover", "--from DIRECTORY [--dir DIRECTORY]", "make a data directory of what one node has left, when a majority is lost", runRecover},
		{"connect", "check|test|run|status|accept|retry|recount …", "count events from Kafka, Pulsar and files (runs quipu-connect)", runConnect},
		{"tls", "init [--dir directory] [--hosts name,address,…]", "make a certificate authority and certificates for nodes and clients", runTLS},
		{"version", "", "print the version", runVersion},
		{"help", "", "print this help and every setting", runHelp},
	}
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) > 0 {
		for _, sub := range subcommands() {
			if args[0] == sub.name || args[0] == "--"+sub.name {
				return sub.run(args[1:])
			}
		}
		if !strings.HasPrefix(args[0], "--") && !isFile(args[0]) {
			fmt.Fprintf(os.Stderr, "quipu: unknown subcommand %q; try quipu help\n", args[0])
			return 2
		}
	}
	return runServer(args)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
