package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"quipu/acl"
	"quipu/config"
	"quipu/engine"
	"quipu/internal/redistest"
	"quipu/protocol"
)

// TestUsersOnAllNodes: what is changed through one node is in force on all, after a restart, a snapshot and a change of the leader too.
func TestUsersOnAllNodes(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, func(cfg *config.Config) { cfg.AuthFailures = 1 << 20 })
	lead := c.leader()
	follower := (lead + 1) % 3
	expect(t, c.nodes[follower].dial(), "ACL SETUSER u on >p ~u:* +incr +get +acl|whoami", "+OK\r\n")
	// The node that was asked has it when it answers, the others soon.
	conns := make([]*redistest.Conn, 3)
	conns[follower] = c.nodes[follower].as("u", "p")
	for i := range conns {
		eventually(t, "the user on every node", func() bool { return c.nodes[i].srv.users.Load().Find("u") != nil })
		if conns[i] == nil {
			conns[i] = c.nodes[i].as("u", "p")
		}
	}
	// A command that is forwarded is judged where its client is.
	for i, conn := range conns {
		expect(t, conn, "INCR u:n", fmt.Sprintf(":%d\r\n", i+1), "INCR x", noPerm, "SET u:n 1", noPermFor("set"), "GET u:n", bulk(fmt.Sprint(i+1)))
	}
	c.agree()
	expect(t, c.nodes[(lead+2)%3].dial(), "ACL SETUSER u -get +set", "+OK\r\n")
	for i, conn := range conns {
		eventually(t, "the rule on every node", func() bool { return call1(t, conn, "GET u:n") == noPermFor("get") })
		expect(t, conn, "SET u:s 1", "+OK\r\n")
		if conn.Close(); i != lead { // a follower that restarts, from its log and then from a snapshot
			for _, save := range []bool{false, true} {
				if save {
					expect(t, c.nodes[i].dial(), "SAVE", "+OK\r\n")
				}
				c.stop(i)
				c.start(i)
				conn := c.nodes[i].as("u", "p")
				expect(t, conn, "SET u:s 1", "+OK\r\n", "GET u:s", noPermFor("get"), "SET x 1", noPerm)
			}
		}
	}
	c.stop(lead)
	c.leader()
	expect(t, c.nodes[follower].as("u", "p"), "SET u:s 2", "+OK\r\n", "GET u:s", noPermFor("get"))
	expect(t, c.nodes[follower].dial(), "ACL SETUSER u +get", "+OK\r\n", "ACL SETUSER v on", "+OK\r\n")
	c.start(lead)
	expect(t, c.nodes[lead].as("u", "p"), "GET u:s", bulk("2"))
	c.agree()
}

// TestDeletedOnAllNodes: the clients of a user that is deleted are closed, on whichever node, also those that send nothing.
func TestDeletedOnAllNodes(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, nil)
	expect(t, c.nodes[0].dial(), "ACL SETUSER u on >p +@all ~*", "+OK\r\n")
	var conns []*redistest.Conn
	for _, n := range c.nodes {
		eventually(t, "the user on every node", func() bool { return n.srv.users.Load().Find("u") != nil })
		conns = append(conns, n.as("u", "p"), n.as("u", "p"))
	}
	expect(t, conns[0], "MULTI", "+OK\r\n", "INCR a", "+QUEUED\r\n")
	expect(t, conns[3], "ACL DELUSER u", ":1\r\n") // it gets its reply
	for _, conn := range conns {
		if err := conn.ReadEOF(); err != nil {
			t.Error(err)
		}
	}
	expect(t, c.nodes[2].dial(), "AUTH u p", "-"+protocol.ErrWrongPass+"\r\n", "GET a", "$-1\r\n")
	c.agree()
}

// TestUsersAgree: changes through all nodes at once leave the same users everywhere.
func TestUsersAgree(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, func(cfg *config.Config) { cfg.Users = []string{"base on nopass +get"} })
	done := make(chan error, 3)
	for i, n := range c.nodes {
		conn := n.dial()
		go func() {
			for k := range 40 {
				call := []string{"ACL", "SETUSER", fmt.Sprint("u", k%7), "on", fmt.Sprint("~", i, ":", k), fmt.Sprint("+@", []string{"read", "write", "hash"}[k%3])}
				if k%5 == 4 {
					call = []string{"ACL", "DELUSER", fmt.Sprint("u", (k+i)%7)}
				}
				if r, err := conn.Do(call...); err != nil || r.IsError() {
					done <- fmt.Errorf("%v: %v, %w", call, r, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range c.nodes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	c.agree()
	first := strings.Join(c.nodes[0].srv.users.Load().Lines(), "\n")
	for i, n := range c.nodes {
		if got := strings.Join(n.srv.users.Load().Lines(), "\n"); got != first {
			t.Errorf("node %d:\n%s\nnode 0:\n%s", i, got, first)
		}
	}
	if !strings.Contains(first, "user base on nopass resetchannels -@all +get") {
		t.Errorf("the user of the settings is gone:\n%s", first)
	}
}

// TestHTTPUsers: /feed is for users that may run FEED READ and read all keys.
func TestHTTPUsers(t *testing.T) {
	n := startNode(t, withHTTP(func(c *config.Config) { c.AuthFailures = 1 << 20 }))
	expect(t, n.dial(), "ACL SETUSER all on >p %R~* +feed|read", "+OK\r\n", "ACL SETUSER keys on >p %R~a* +feed", "+OK\r\n", "ACL SETUSER cmd on >p ~* +@all -feed", "+OK\r\n",
		"ACL SETUSER off off >p ~* +@all", "+OK\r\n")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	get := func(name, password string) (int, *http.Response) {
		t.Helper()
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+n.srv.http.addr.String()+"/feed?interval=10", nil)
		if name == "bearer" {
			req.Header.Set("Authorization", "Bearer "+password)
		} else if name != "" {
			req.SetBasicAuth(name, password)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp.StatusCode, resp
	}
	status := func(name, password string, want int) {
		t.Helper()
		if got, _ := get(name, password); got != want {
			t.Errorf("%s:%s: %d, want %d", name, password, got, want)
		}
	}
	for _, c := range []struct {
		name, password string
		want           int
	}{{"all", "p", 200}, {"all", "q", 401}, {"nobody", "p", 401}, {"off", "p", 401}, {"keys", "p", 403}, {"cmd", "p", 403}, {"", "", 200}, {"default", "x", 200}} {
		status(c.name, c.password, c.want)
	}
	expect(t, n.dial(), "ACL SETUSER default >d", "+OK\r\n")
	status("", "", 401)
	status("bearer", "d", 200)
	status("bearer", "p", 401)
	status("all", "p", 200)
	// A stream ends when its user may not have it any more.
	for _, change := range []string{"ACL SETUSER all resetkeys", "ACL DELUSER all"} {
		admin := n.as("default", "d")
		expect(t, admin, "ACL SETUSER all on >p resetkeys %R~*", "+OK\r\n")
		_, resp := get("all", "p")
		call1(t, admin, change)
		buf := make([]byte, 1<<10)
		for err := error(nil); err == nil; {
			_, err = resp.Body.Read(buf)
		}
	}
	if ctx.Err() != nil {
		t.Error("a stream goes on")
	}
}

// TestRecordsOfUsers: the engine's and the package's limits on names agree.
func TestRecordsOfUsers(t *testing.T) {
	if engine.MaxUserName != acl.MaxName {
		t.Errorf("%d and %d", engine.MaxUserName, acl.MaxName)
	}
}
