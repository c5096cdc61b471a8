package examples

import (
	"os"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

func TestMain(m *testing.M) {
	code := redistest.Main(m)
	if connectors.dir != "" {
		os.RemoveAll(connectors.dir)
	}
	os.Exit(code)
}

// TestCommandList: docs/compatibility.md names every command there is.
func TestCommandList(t *testing.T) {
	text, err := os.ReadFile("../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	reply, err := redistest.Quipu{}.Start(t).Dial(t).Do("COMMAND", "LIST")
	if err != nil || len(reply.Elems) < 50 {
		t.Fatalf("COMMAND LIST: %v, %v", reply, err)
	}
	for _, e := range reply.Elems {
		name := strings.ToUpper(e.Text[strings.LastIndexByte(e.Text, '|')+1:])
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/compatibility.md does not name %s", strings.ToUpper(e.Text))
		}
	}
}
