package main

import (
	"fmt"
	"os"
	"runtime"

	"quipu/config"
	"quipu/server"
)

func runVersion([]string) int {
	fmt.Printf("quipu %s (%s %s/%s)\n", server.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return 0
}

func runHelp([]string) int {
	fmt.Println("quipu is a counter server that speaks the Redis protocol.")
	fmt.Println()
	for _, sub := range subcommands() {
		fmt.Printf("  quipu %-8s %-32s %s\n", sub.name, sub.usage, sub.summary)
	}
	fmt.Println("\nSettings, as --name value, as a line \"name value\" of the configuration file, or as QUIPU_NAME in the environment:")
	config.Describe(os.Stdout)
	return 0
}
