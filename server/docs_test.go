package server

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"quipu/commands"
)

var rewrite = flag.Bool("rewrite", false, "write docs/commands.md and the commands of docs/compatibility.md anew from the command table")

const (
	commandsPage = "../docs/commands.md"
	pageOnwards  = "\n---\n" // stands between a page and the line that leads to the next one
)

// TestCommandsPage keeps docs/commands.md equal to what the entries say.
func TestCommandsPage(t *testing.T) {
	want := renderCommands()
	page, err := os.ReadFile(commandsPage)
	if err != nil {
		t.Fatal(err)
	}
	got, onwards, _ := bytes.Cut(page, []byte(pageOnwards)) // which internal/lint holds
	if *rewrite {
		if err := os.WriteFile(commandsPage, slices.Concat(want, []byte(pageOnwards), onwards), 0o644); err != nil {
			t.Fatal(err)
		}
		got = want
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the command table: run go test ./server -run TestCommandsPage -rewrite", commandsPage)
	}
}

func renderCommands() []byte {
	table, _ := buildTable()
	groups := map[string][]*commands.Command{}
	var order []string
	for _, cmd := range table.All() {
		if cmd.IsContainer() {
			continue
		}
		if groups[cmd.Group] == nil {
			order = append(order, cmd.Group)
		}
		groups[cmd.Group] = append(groups[cmd.Group], cmd)
	}
	var b bytes.Buffer
	b.WriteString("# Commands\n\nWhich commands are there, and what does each do?\n\nThis page is made from the command table " +
		"(`go test ./server -run TestCommandsPage -rewrite`).\nWhat differs from Redis is in [compatibility.md](compatibility.md).\n")
	for _, group := range order {
		fmt.Fprintf(&b, "\n## %s\n\n| Command | What it does | Kind |\n|---|---|---|\n", group)
		for _, cmd := range groups[group] {
			name := strings.ToUpper(strings.ReplaceAll(cmd.FullName(), "|", " "))
			usage := strings.TrimSpace(name + " " + table.Usage(cmd))
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(usage, "|", "\\|"), cmd.Summary, kindOf(cmd))
		}
	}
	return b.Bytes()
}

func kindOf(cmd *commands.Command) string {
	switch {
	case cmd.Write != nil:
		return "write"
	case cmd.Flags&commands.FlagReadonly != 0:
		return "read"
	}
	return "connection or node"
}
