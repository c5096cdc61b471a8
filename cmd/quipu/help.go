package main

import (
	"fmt"
	"os"
	"runtime"

	"quipu/internal/manual"
	"quipu/server"
)

func runVersion([]string) int {
	fmt.Printf("quipu %s (%s %s/%s)\n", server.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return 0
}

func runHelp([]string) int {
	program().Help(os.Stdout)
	return 0
}

// runGenerate is quipu generate FILE.
func runGenerate(args []string) int {
	if len(args) == 1 {
		if text, ok := program().Generate(args[0]); ok {
			fmt.Print(text)
			return 0
		}
	}
	fmt.Fprintf(os.Stderr, "quipu: try quipu generate %s\n", verbList(manual.Files))
	return 2
}
