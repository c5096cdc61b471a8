// Command quipu is a counter server that speaks the Redis protocol, and the tools around it.
package main

import (
	"fmt"
	"os"
	"strings"

	"quipu/internal/manual"
)

// subcommand is one word of the command line and what it does; run returns the exit status.
type subcommand struct {
	manual.Command
	run func(args []string) int
}

func subcommands() []subcommand {
	cluster, _ := clusterFlags()
	ping, _ := pingFlags()
	backup, _ := backupFlags()
	restore, _ := restoreFlags()
	recovery, _ := recoverFlags()
	tls, _ := tlsFlags()
	return []subcommand{
		{manual.Command{Name: "server", Usage: "[config-file] [--name value …]", Summary: "start a node (also the default without a subcommand)", Files: true, Server: true}, runServer},
		{manual.Command{Name: "ping", Usage: "[--addr host:port]", Summary: "ask a node whether it serves: exit status 0 if it does", Flags: manual.Flags(ping)}, runPing},
		{manual.Command{Name: "cluster", Usage: verbList(clusterVerbs) + " …", Summary: "look after a cluster that runs", Words: clusterVerbs, Flags: manual.Flags(cluster)}, runCluster},
		{manual.Command{Name: "backup", Usage: "FILE [--addr host:port]", Summary: "write a snapshot of a node that runs into a file", Files: true, Flags: manual.Flags(backup)}, runBackup},
		{manual.Command{Name: "restore", Usage: "FILE --dir DIRECTORY", Summary: "make a data directory of a backup", Files: true, Flags: manual.Flags(restore)}, runRestore},
		{manual.Command{Name: "recover", Usage: "--from DIRECTORY [--dir DIRECTORY]", Summary: "make a data directory of what one node has left, when a majority is lost", Flags: manual.Flags(recovery)}, runRecover},
		{manual.Command{Name: "connect", Usage: verbList(connectVerbs) + " …", Summary: "count events from Kafka, Pulsar and files (runs quipu-connect)", Words: connectVerbs, Files: true}, runConnect},
		{manual.Command{Name: "tls", Usage: "init [--dir directory] [--hosts name,address,…]", Summary: "make a certificate authority and certificates for nodes and clients",
			Words: []manual.Word{{Name: "init", Summary: "write the files"}}, Flags: manual.Flags(tls)}, runTLS},
		{manual.Command{Name: "generate", Usage: "FILE", Summary: "print a file that a package installs", Words: manual.Files}, runGenerate},
		{manual.Command{Name: "version", Summary: "print the version"}, runVersion},
		{manual.Command{Name: "help", Summary: "print this help and every setting"}, runHelp},
	}
}

// program describes the command line, for all that is made of it.
func program() *manual.Program {
	p := &manual.Program{Name: "quipu", Summary: "a counter server that speaks the Redis protocol"}
	for _, sub := range subcommands() {
		p.Commands = append(p.Commands, sub.Command)
	}
	return p
}

func verbList(words []manual.Word) string {
	var names []string
	for _, w := range words {
		names = append(names, w.Name)
	}
	return strings.Join(names, "|")
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) > 0 {
		for _, sub := range subcommands() {
			if args[0] == sub.Name || args[0] == "--"+sub.Name {
				return sub.run(args[1:])
			}
		}
		if !strings.HasPrefix(args[0], "-") && !isFile(args[0]) {
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
