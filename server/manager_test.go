package server

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"quipu/internal/redistest"
	"quipu/internal/sdnotify"
	"quipu/protocol"
	"quipu/replication"
)

// TestLoopsGoOn: a loop whose turn does not end is noticed, and one that rests is none.
func TestLoopsGoOn(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	expect(t, c, "PING", "+PONG\r\n")
	n.reached(c, "ping")
	if !n.srv.loopsGoOn(time.Minute) {
		t.Error("a loop that rests is said to stand still")
	}
	w := n.session(c).worker
	w.turn.Add(1)
	if n.srv.loopsGoOn(time.Millisecond) {
		t.Error("a turn that does not end is not noticed")
	}
	w.turn.Add(1)
}

// lateGroup has replayed its log when the test says so.
type lateGroup struct {
	replication.Group
	ready chan struct{}
}

func (g lateGroup) Ready() <-chan struct{} { return g.ready }

// TestReadyBehindReplay: READY comes when the log is replayed, and not when clients can connect.
func TestReadyBehindReplay(t *testing.T) {
	replayed := make(chan struct{})
	srv, err := NewWithGroups(testConfig(t, nil), nil, func(_ replication.Config, sm replication.StateMachine) (replication.Group, error) {
		return lateGroup{replication.NewMemoryGroup(sm, nil), replayed}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	defer func() { cancel(); <-done }()
	<-srv.Serving()

	dir, err := os.MkdirTemp("", "quipu-notify-") // t.TempDir may be too long for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	m := sdnotify.FromEnviron(func(name string) string { return map[string]string{"NOTIFY_SOCKET": path}[name] })
	var told []string
	next := func() {
		buf := make([]byte, 200)
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, string(buf[:n]))
	}
	reported, ended := make(chan struct{}), make(chan struct{})
	go func() { srv.reportTo(ctx, m, ended); close(reported) }()
	next()
	c, err := redistest.Dial(srv.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	expect(t, c, "PING", "-"+protocol.ErrLoading+"\r\n")
	if err := m.Tell("the log is replayed"); err != nil {
		t.Fatal(err)
	}
	close(replayed)
	next()
	next()
	eventually(t, "the node to be ready", srv.isReady)
	cancel()
	next()
	close(ended)
	<-reported
	want := []string{"STATUS=replaying the log", "the log is replayed", "READY=1\nSTATUS=serving", "STOPPING=1\nSTATUS=finishing what was read, then a snapshot"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
}
