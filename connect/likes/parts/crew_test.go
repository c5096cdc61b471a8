package parts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKill: a part that is killed is down at once, and comes back as another process; at the end each is stopped by SIGTERM.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var c *Crew
	// A part serves when each of its processes has said so in the log.
	spec := func(name string) Spec {
		return Spec{Name: name, Path: "/bin/sh", Args: []string{"-c", `trap 'echo stopped; exit 0' TERM; echo up; while :; do sleep 0.02; done`},
			Ready: func(context.Context) error {
				list, _ := c.Status()
				text, err := os.ReadFile(logName(dir, name))
				for _, s := range list {
					if s.Name == name && strings.Count(string(text), "up") < s.Runs {
						err = errors.New("not yet")
					}
				}
				return err
			}}
	}
	c, err := NewCrew(dir, []Spec{spec("node 1"), spec("node 2")})
	if err != nil {
		t.Fatal(err)
	}
	c.again = 10 * time.Millisecond
	if _, err := c.Kill("node 1"); err == nil {
		t.Error("a part that does not run was killed")
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	limit, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.AllUp(limit); err != nil {
		t.Fatal(err)
	}
	pid, err := c.Kill("node 1")
	if err != nil {
		t.Fatal(err)
	}
	if list, _ := c.Status(); list[0].State == Up {
		t.Error("a part that was killed is up")
	}
	if err := c.AllUp(limit); err != nil {
		t.Fatal(err)
	}
	list, _ := c.Status()
	if list[0].PID == pid || list[0].Runs != 2 || list[1].Runs != 1 {
		t.Errorf("process %d was killed: %+v", pid, list)
	}
	if _, err := c.Kill("node 3"); err == nil {
		t.Error("a part that does not exist was killed")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"node1.log": "up\nup\nstopped\n", "node2.log": "up\nstopped\n"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

// TestBroken: a part that cannot run ends all, and its log is in the error.
func TestBroken(t *testing.T) {
	never := func(context.Context) error { return errors.New("not yet") }
	c, err := NewCrew(t.TempDir(), []Spec{
		{Name: "node 1", Path: "/bin/sh", Args: []string{"-c", "echo no room; exit 3"}, Ready: never},
		{Name: "node 2", Path: "/bin/sh", Args: []string{"-c", "sleep 1000"}, Ready: never},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.again = 10 * time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- c.Run(t.Context()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "node 1 has ended 5 times") || !strings.Contains(err.Error(), "no room") {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
}

func TestMissingProgram(t *testing.T) {
	_, err := NewCrew(t.TempDir(), []Spec{{Name: "node 1", Path: "/nowhere/quipu"}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}
