package server

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quipu/acl"
	"quipu/commands"
	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
	"quipu/replication"
)

const noPerm = "-" + protocol.ErrNoPermKey + "\r\n"

func noPermFor(name string) string { return "-" + protocol.ErrNoPermCommand(name) + "\r\n" }

// as connects and authenticates.
func (n *testNode) as(user, password string) *redistest.Conn {
	n.t.Helper()
	c := n.dial()
	expect(n.t, c, "AUTH "+user+" "+password, "+OK\r\n")
	return c
}

// TestUsersSurvive: users are there after a restart that replays the log, after one that loads a snapshot, and in a backup's data.
func TestUsersSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func() *testNode { return startNode(t, func(c *config.Config) { c.Dir = dir }) }
	n := start()
	c := n.dial()
	expect(t, c, "ACL SETUSER u on >p ~u:* +get +set (+incr ~n)", "+OK\r\n", "ACL SETUSER gone on", "+OK\r\n", "ACL SETUSER default -debug", "+OK\r\n", "ACL DELUSER gone", ":1\r\n")
	lines := callArgs(t, c, "ACL", "LIST")
	for i, end := range []string{"none", "SAVE", "BGSAVE"} {
		if end == "SAVE" {
			expect(t, n.dial(), "SAVE", "+OK\r\n")
		}
		sum := n.srv.replicas[0].Keyspace.Checksum(0)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n = start()
		if again := n.srv.replicas[0].Keyspace.Checksum(0); again != sum {
			t.Errorf("%d: checksum %x became %x", i, sum, again)
		}
		c = n.dial()
		if got := callArgs(t, c, "ACL", "LIST"); got != lines {
			t.Errorf("%d: %s\ninstead of\n%s", i, got, lines)
		}
		u := n.as("u", "p")
		expect(t, u, "SET u:1 x", "+OK\r\n", "SET x 1", noPerm, "GET x", noPerm, "ACL WHOAMI", noPermFor("acl|whoami"), "DEL u:1", noPermFor("del"))
		expect(t, c, "DEBUG CHECK", noPermFor("debug"), "AUTH gone x", "-"+protocol.ErrWrongPass+"\r\n", "FLUSHALL", "+OK\r\n", "DBSIZE", ":0\r\n", "DEL n", ":0\r\n")
		expect(t, u, "INCR n", ":1\r\n")
	}
}

// TestUsersInChecksum: what users may do is part of the state that nodes compare.
func TestUsersInChecksum(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	ks := n.srv.replicas[0].Keyspace
	seen := map[uint64]string{ks.Checksum(0): "nothing"}
	for _, call := range []string{"ACL SETUSER u", "ACL SETUSER u on", "ACL SETUSER u ~a", "ACL SETUSER u resetkeys %R~a", "ACL SETUSER default -get", "ACL DELUSER u"} {
		if reply := call1(t, c, call); strings.HasPrefix(reply, "-") {
			t.Fatal(reply)
		}
		sum := ks.Checksum(0)
		if before, ok := seen[sum]; ok {
			t.Errorf("%s: the checksum is that after %s", call, before)
		}
		seen[sum] = call
		if err := ks.Check(); err != nil {
			t.Error(err)
		}
	}
}

func call1(t *testing.T, c *redistest.Conn, line string) string {
	t.Helper()
	return callArgs(t, c, strings.Fields(line)...)
}

// TestNoPasswordInLog: neither the log nor a snapshot has a password.
func TestNoPasswordInLog(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, func(c *config.Config) { c.Dir, c.RequirePass = dir, "settingsecret" })
	c := n.dial()
	expect(t, c, "AUTH settingsecret", "+OK\r\n", "ACL SETUSER u on >rulesecret >second", "+OK\r\n", "ACL SETUSER u <second", "+OK\r\n",
		"MULTI", "+OK\r\n", "ACL SETUSER u >multisecret", "+QUEUED\r\n", "EXEC", "*1\r\n+OK\r\n", "ACL SETUSER default >defaultsecret", "+OK\r\n")
	n.as("u", "multisecret")
	n.as("default", "settingsecret")
	n.as("default", "defaultsecret")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte("secret")) {
			t.Errorf("%s has a password", path)
		}
		files++
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestOnceNeedsBoth: ONCE needs to be allowed itself, and the command inside, and its keys.
func TestOnceNeedsBoth(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	expect(t, c, "ONCE OPEN p", ":1\r\n", "ACL SETUSER u on >p +incr ~a", "+OK\r\n", "ACL SETUSER o on >p +once ~a", "+OK\r\n", "ACL SETUSER both on >p +once +incr ~a %R~b", "+OK\r\n",
		"ACL SETUSER apart on >p +once (+incr ~a)", "+OK\r\n")
	expect(t, n.as("u", "p"), "ONCE p 1 1 INCR a", noPermFor("once"))
	expect(t, n.as("o", "p"), "ONCE p 1 1 INCR a", noPermFor("incr"), "ONCE p 1 1 NOSUCH a", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n")
	b := n.as("both", "p")
	expect(t, b, "ONCE p 1 1 INCR c", noPerm, "ONCE p 1 1 INCR b", noPerm, "ONCE p 1 1 SET a 1", noPermFor("set"), "ONCE p 1 1 INCR a", ":1\r\n", "ONCE p 1 1 INCR a", ":1\r\n")
	expect(t, n.as("apart", "p"), "ONCE p 1 2 INCR a", ":2\r\n", "INCR a", ":3\r\n")
	expect(t, c, "ACL DRYRUN both once p 1 1 incr c", bulk("This user has no permissions to access the 'c' key"), "ACL DRYRUN both once p 1 1 incr a", "+OK\r\n",
		"ACL DRYRUN both once p 1 1 get a", bulk("This user has no permissions to run the 'get' command"))
}

// TestKeyAccess: what a call does with a key comes from the command's entry, and for some from the arguments.
func TestKeyAccess(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	expect(t, n.dial(), "MSET r 1 w 1 rw 1", "+OK\r\n", "ACL SETUSER u on >p +@all %R~r %W~w ~rw", "+OK\r\n")
	expect(t, n.as("u", "p"), "GET r", bulk("1"), "GET w", noPerm, "GET rw", bulk("1"), "SET r 2", noPerm, "SET w 2", "+OK\r\n", "SET w 2 GET", noPerm, "SET rw 2 GET", bulk("1"),
		"COPY r w REPLACE", ":1\r\n", "COPY w r", noPerm, "INCR w", noPerm, "DEL w", ":1\r\n", "DEL r", noPerm, "EXISTS r w rw", ":2\r\n", "EXISTS x", noPerm,
		"MGET r rw w", noPerm, "WATCH r", "+OK\r\n", "WATCH x", noPerm)
}

// TestQueuedThenForbidden: a command that was queued is judged once more when EXEC runs it, in transactions that write and in those that read.
func TestQueuedThenForbidden(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	admin := n.dial()
	expect(t, admin, "SET k 1", "+OK\r\n", "ACL SETUSER u on >p +@all ~*", "+OK\r\n")
	u := n.as("u", "p")
	expect(t, u, "MULTI", "+OK\r\n", "GET k", "+QUEUED\r\n", "PING", "+QUEUED\r\n")
	expect(t, admin, "ACL SETUSER u -get", "+OK\r\n")
	expect(t, u, "EXEC", "*2\r\n-"+protocol.ErrNoPermExecCommand+"\r\n+PONG\r\n")
	expect(t, u, "MULTI", "+OK\r\n", "INCR k", "+QUEUED\r\n", "INCR x", "+QUEUED\r\n", "CLIENT GETNAME", "+QUEUED\r\n")
	expect(t, admin, "ACL SETUSER u resetkeys ~x -client", "+OK\r\n")
	expect(t, u, "EXEC", "*3\r\n-"+protocol.ErrNoPermExecKey+"\r\n:1\r\n-"+protocol.ErrNoPermExecCommand+"\r\n")
	expect(t, admin, "GET k", bulk("1"))
}

// TestFeedNeedsAllKeys: rows of any key come out of FEED and BACKUP.
func TestFeedNeedsAllKeys(t *testing.T) {
	n := startNode(t, nil)
	expect(t, n.dial(), "SET k 1", "+OK\r\n", "ACL SETUSER some on >p +@all ~k*", "+OK\r\n", "ACL SETUSER writer on >p +@all %W~*", "+OK\r\n", "ACL SETUSER reader on >p +@all %R~*", "+OK\r\n")
	for _, user := range []string{"some", "writer"} {
		expect(t, n.as(user, "p"), "FEED READ $ MATCH k", noPerm, "FEED SNAPSHOT 0 MATCH k", noPerm, "BACKUP BEGIN", noPerm)
		if reply := call1(t, n.as(user, "p"), "FEED INFO"); strings.HasPrefix(reply, "-") {
			t.Errorf("%s: FEED INFO: %s", user, reply)
		}
	}
	r := n.as("reader", "p")
	for _, line := range []string{"FEED SNAPSHOT 0", "FEED READ $ BLOCK 1", "BACKUP BEGIN"} {
		if reply := call1(t, r, line); strings.HasPrefix(reply, "-") {
			t.Errorf("%s: %s", line, reply)
		}
	}
	// A reader that waits loses its right.
	send(t, r, "FEED READ $ BLOCK 60000")
	eventually(t, "the reader to wait", func() bool { return strings.Contains(call1(t, n.dial(), "CLIENT LIST"), "flags=b ") })
	expect(t, n.dial(), "ACL SETUSER reader -feed", "+OK\r\n", "SET k 2", "+OK\r\n")
	checkReply(t, "FEED READ", readRaw(t, r), noPermFor("feed|read"))
}

// TestCategoriesAgree: ACL CAT, COMMAND INFO and what a rule about a category allows are the same.
func TestCategoriesAgree(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	cats, err := c.Do("ACL", "CAT")
	if err != nil || len(cats.Elems) != 21 {
		t.Fatalf("%v, %v", cats, err)
	}
	for _, cat := range cats.Elems {
		list, err := c.Do("ACL", "CAT", strings.ToUpper(cat.Text))
		if err != nil {
			t.Fatal(err)
		}
		in := map[string]bool{}
		for _, name := range list.Elems {
			in[name.Text] = true
		}
		expect(t, c, "ACL SETUSER u reset +@"+cat.Text, "+OK\r\n")
		subject := n.srv.users.Load().Find("u")
		for _, cmd := range n.srv.table.All() {
			info, err := c.Do("COMMAND", "INFO", cmd.FullName())
			if err != nil {
				t.Fatal(err)
			}
			said := false
			for _, word := range info.Elems[0].Elems[6].Elems {
				said = said || word.Text == "@"+cat.Text
			}
			if said != in[cmd.FullName()] {
				t.Errorf("%s: COMMAND INFO says %v of @%s, ACL CAT %v", cmd.FullName(), said, cat.Text, in[cmd.FullName()])
			}
			reason, _ := subject.Check(&acl.Call{ID: cmd.ID()})
			free := cmd.Flags&commands.FlagNoAuth != 0
			container := cmd.Parent != nil && in[cmd.Parent.FullName()]
			if (reason == acl.Allowed) != (said || free || container) {
				t.Errorf("+@%s: %s is allowed: %v", cat.Text, cmd.FullName(), reason == acl.Allowed)
			}
		}
	}
}

// TestClientsOfUsers: CLIENT LIST and CLIENT INFO tell whose a connection is.
func TestClientsOfUsers(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	expect(t, c, "ACL SETUSER u on >p +@all", "+OK\r\n")
	u := n.as("u", "p")
	list := call1(t, c, "CLIENT LIST")
	if strings.Count(list, " user=u ") != 1 || strings.Count(list, " user=default ") != 1 || !strings.Contains(call1(t, u, "CLIENT INFO"), " user=u ") {
		t.Error(list)
	}
	expect(t, c, "CLIENT KILL USER u", ":1\r\n")
	if err := u.ReadEOF(); err != nil {
		t.Error(err)
	}
	if list := call1(t, c, "CLIENT LIST"); strings.Contains(list, "user=u ") {
		t.Error(list)
	}
}

// TestUsersOfSettings: before anything is kept, a node has the users of its settings; the first change takes them over.
func TestUsersOfSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.acl")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("user default off\nuser admin on >p ~* &* +@all\nuser reader on >r %R~* +@read\n")
	dir := t.TempDir()
	start := func() *testNode { return startNode(t, func(c *config.Config) { c.Dir, c.ACLFile = dir, file }) }
	n := start()
	expect(t, n.dial(), "PING", "-"+protocol.ErrNoAuth+"\r\n")
	reader := n.as("reader", "r")
	expect(t, reader, "GET k", "$-1\r\n", "SET k 1", noPermFor("set"))
	restart := func() {
		t.Helper()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		n = start()
	}
	write("user default off\nuser admin on >p ~* &* +@all\nuser reader on >r2 %R~* +@read\n")
	restart() // nothing is kept: the file counts
	reader = n.as("reader", "r2")
	admin := n.as("admin", "p")
	expect(t, admin, "ACL SETUSER new on >n +ping", "+OK\r\n")
	expect(t, reader, "GET k", "$-1\r\n") // who is connected stays who it was
	expect(t, n.as("new", "n"), "PING", "+PONG\r\n")
	write("user default on nopass +@all ~* &*\n")
	restart() // the log counts
	expect(t, n.dial(), "PING", "-"+protocol.ErrNoAuth+"\r\n")
	admin, reader = n.as("admin", "p"), n.as("reader", "r2")
	expect(t, admin, "ACL USERS", "*4\r\n"+bulk("admin")+bulk("default")+bulk("new")+bulk("reader"), "ACL SAVE", "+OK\r\n")
	saved, err := os.ReadFile(file)
	if err != nil || strings.Join(n.srv.users.Load().Lines(), "\n")+"\n" != string(saved) {
		t.Errorf("saved %q, %v", saved, err)
	}
	write("user default on nopass ~* &* +@all\nuser reader on >r2 %R~* +@read\nuser x +nosuch\n")
	expect(t, admin, "ACL LOAD", "-ERR "+protocol.ACLLineOperation(file, 3, "+nosuch", protocol.ACLUnknown)+"WARNING: ACL errors detected, no change to the previously active ACL rules was performed\r\n")
	write("user default on nopass ~* &* +@all\nuser reader on >r2 %R~* +@read\n")
	expect(t, admin, "ACL LOAD", "+OK\r\n")
	for _, c := range []*redistest.Conn{admin, reader} { // as in Redis, also who is in the new file
		if err := c.ReadEOF(); err != nil {
			t.Errorf("a client of a user that was loaded anew: %v", err)
		}
	}
	expect(t, n.dial(), "ACL USERS", "*2\r\n"+bulk("default")+bulk("reader"))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	expect(t, n.dial(), "ACL LOAD", "-"+protocol.ErrACLRead(file, "No such file or directory")+"\r\n")
}

func TestWrongSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(file, []byte("user a +nosuch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*config.Config){
		func(c *config.Config) { c.ACLFile = file },
		func(c *config.Config) { c.ACLFile = file + "x" },
		func(c *config.Config) { c.Users = []string{"a foo"} },
		func(c *config.Config) { c.Users = []string{""} },
		func(c *config.Config) { c.Users = []string{"a on", "a off"} },
		func(c *config.Config) {
			for i := range acl.MaxUsers {
				c.Users = append(c.Users, fmt.Sprintf("u%d on", i))
			}
		},
	} {
		if srv, err := NewWithGroups(testConfig(t, change), nil); err == nil {
			t.Errorf("%d: the node starts", i)
			_ = srv.shutdown(false)
		}
	}
	if _, err := config.Load([]string{"--aclfile", file, "--user", "a on"}, nil); err == nil {
		t.Error("aclfile and user go together")
	}
	cfg, err := config.Load([]string{"--user", "a on >p", "--user", "b", "off"}, nil)
	if err != nil || fmt.Sprintf("%q", cfg.Users) != `["a on >p" "b off"]` {
		t.Errorf("%q, %v", cfg.Users, err)
	}
	n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.Users = cfg.Users })
	expect(t, n.dial(), "ACL LIST", "*3\r\n"+bulk("user a on #"+acl.Hash("p")+" resetchannels -@all")+bulk("user b off resetchannels -@all")+bulk("user default on nopass ~* &* +@all"))
}

// TestRequirePass: requirepass is the password of the default user on this node, until a rule sets one for all nodes.
func TestRequirePass(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.RequirePass = "one" })
	c := n.as("default", "one")
	expect(t, c, "ACL LIST", "*1\r\n"+bulk("user default on #"+acl.Hash("one")+" ~* &* +@all"), "ACL SETUSER default -debug", "+OK\r\n", "CONFIG SET requirepass two", "+OK\r\n",
		"ACL SETUSER u on nopass", "+OK\r\n")
	expect(t, n.dial(), "AUTH one", "-"+protocol.ErrWrongPass+"\r\n", "AUTH two", "+OK\r\n", "DEBUG CHECK", noPermFor("debug"))
	expect(t, c, "ACL SETUSER default >three", "+OK\r\n")
	for _, pass := range []string{"two", "three"} {
		n.as("default", pass)
	}
	expect(t, c, "CONFIG SET requirepass four", "-"+protocol.ErrPassInACL+"\r\n", "CONFIG SET requirepass two maxclients 100", "+OK\r\n", "ACL SETUSER default <two", "+OK\r\n")
	expect(t, n.dial(), "AUTH two", "-"+protocol.ErrWrongPass+"\r\n", "AUTH three", "+OK\r\n")
	expect(t, c, "ACL SETUSER default nopass", "+OK\r\n")
	expect(t, n.dial(), "PING", "+PONG\r\n")
	// A client that connects while a password is needed has none only while none is needed.
	late := n.dial()
	expect(t, late, "PING", "+PONG\r\n", "RESET", "+RESET\r\n")
	expect(t, c, "ACL SETUSER default >five", "+OK\r\n")
	locked := n.dial()
	expect(t, locked, "PING", "-"+protocol.ErrNoAuth+"\r\n")
	expect(t, c, "ACL SETUSER default nopass", "+OK\r\n")
	expect(t, locked, "PING", "+PONG\r\n")
	expect(t, c, "ACL SETUSER default >five", "+OK\r\n")
	expect(t, locked, "PING", "-"+protocol.ErrNoAuth+"\r\n")
	expect(t, late, "PING", "+PONG\r\n")
}

// TestUsersWhileLoading: before the log has been read, nobody is taken for authenticated, nor runs commands of operators. A user that the log
// may have is told to come again; who was let in because of the settings has to come again as well.
func TestUsersWhileLoading(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	expect(t, n.dial(), "ACL SETUSER op on >p ~* &* +@all", "+OK\r\n", "ACL SETUSER default +@all >secret", "+OK\r\n")
	st := &n.srv.userState
	set := func(known bool, list []*acl.User) (before []*acl.User) {
		st.mu.Lock()
		before, st.known, st.kept = st.kept, known, list
		st.mu.Unlock()
		n.srv.publishUsers()
		return before
	}
	// As while the log is being read.
	n.srv.readyFlag.Store(false)
	kept := set(false, nil)
	early := n.dial()
	expect(t, early, "PING", "-"+protocol.ErrLoading+"\r\n", "CONFIG GET port", "-"+protocol.ErrLoading+"\r\n", "ACL LIST", "-"+protocol.ErrLoading+"\r\n",
		"CLIENT KILL TYPE normal", "-"+protocol.ErrLoading+"\r\n", "CLIENT ID", ":2\r\n", "AUTH default x", "+OK\r\n", "ECHO x", bulk("x"))
	named := n.dial()
	for range 2 * n.srv.config().AuthFailures { // it is no failure
		expect(t, named, "AUTH op p", "-"+protocol.ErrLoading+"\r\n", "HELLO 3 AUTH op p", "-"+protocol.ErrLoading+"\r\n")
	}
	set(false, kept)
	n.srv.usersAreKnown()
	n.srv.readyFlag.Store(true)
	if err := early.ReadEOF(); err != nil {
		t.Errorf("who has logged in before: %v", err)
	}
	expect(t, named, "PING", "-"+protocol.ErrNoAuth+"\r\n", "AUTH op p", "+OK\r\n", "PING", "+PONG\r\n")
}

// TestAuthInAbortedTransaction: AUTH in a transaction that turns out to abort, when it has run already, has not been.
func TestAuthInAbortedTransaction(t *testing.T) {
	g := &testGroup{}
	n := startGroupNode(t, g, nil)
	c, writing := n.dial(), n.dial()
	expect(t, c, "ACL SETUSER u on >p +@all ~*", "+OK\r\n", "WATCH w", "+OK\r\n")
	expect(t, writing, "PING", "+PONG\r\n")
	g.hold()
	send(t, writing, "INCR w")
	n.reached(writing, "incr")
	eventually(t, "a proposal", func() bool { return g.heldCount() == 1 })
	send(t, c, "MULTI", "AUTH u p", "INCR x", "EXEC", "ACL WHOAMI")
	for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n"} {
		checkReply(t, "MULTI and on", readRaw(t, c), want)
	}
	n.reached(c, "exec")
	g.release()
	checkReply(t, "EXEC", readRaw(t, c), "*-1\r\n")
	checkReply(t, "ACL WHOAMI", readRaw(t, c), bulk("default"))
	checkReply(t, "INCR w", readRaw(t, writing), ":1\r\n")
	expect(t, c, "MULTI", "+OK\r\n", "AUTH u p", "+QUEUED\r\n", "ACL WHOAMI", "+QUEUED\r\n", "EXEC", "*2\r\n+OK\r\n"+bulk("u"), "ACL WHOAMI", bulk("u"))
}

// TestPipelinedRules: what a client sends behind a change of rules is judged by them, in one packet too.
func TestPipelinedRules(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startNode(t, transport)
		c := n.dial()
		replies, err := c.Pipeline(split("INCR a"), split("ACL SETUSER default -incr"), split("INCR a"), split("INCR b"), split("ACL SETUSER default +incr"), split("INCR a"))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"1", "OK", protocol.ErrNoPermCommand("incr"), protocol.ErrNoPermCommand("incr"), "OK", "2"} {
			if replies[i].Text != want {
				t.Errorf("reply %d is %v, want %s", i, replies[i], want)
			}
		}
	})
}

func split(line string) []string { return strings.Fields(line) }

// TestDeletedInBetween: a user that is deleted and made again is another one, also if nobody looked in between.
func TestDeletedInBetween(t *testing.T) {
	n := startNode(t, nil)
	c := n.dial()
	expect(t, c, "ACL SETUSER u on >p +@all ~*", "+OK\r\n")
	u, idle := n.as("u", "p"), n.as("u", "p")
	expect(t, c, "MULTI", "+OK\r\n", "ACL DELUSER u", "+QUEUED\r\n", "ACL SETUSER u on >p +@all ~*", "+QUEUED\r\n", "EXEC", "*2\r\n:1\r\n+OK\r\n")
	for _, conn := range []*redistest.Conn{u, idle} {
		if err := conn.ReadEOF(); err != nil {
			t.Error(err)
		}
	}
	n.as("u", "p")
}

// TestUserLimits: there are not more users than there may be, and what is refused changes nothing.
func TestUserLimits(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	for i := range acl.MaxUsers - 1 {
		if got := callArgs(t, c, "ACL", "SETUSER", fmt.Sprint("u", i)); got != "+OK\r\n" {
			t.Fatalf("user %d: %s", i, got)
		}
	}
	sum := n.srv.replicas[0].Keyspace.Checksum(0)
	long := []string{"ACL", "SETUSER", "u1"}
	for i := range 60 {
		long = append(long, fmt.Sprint("~", i, strings.Repeat("x", 1000)))
	}
	for _, test := range []struct{ args, want string }{
		{"ACL SETUSER more", protocol.ErrManyUsers(acl.MaxUsers)},
		{strings.Join(long, " "), protocol.ErrUserTooLong},
		{"ACL SETUSER " + strings.Repeat("x", 129), protocol.ErrUserNameLong(128)},
		{"ACL SETUSER u1 ~" + strings.Repeat("x", 1025), protocol.ErrACLRule("~"+strings.Repeat("x", 1025), protocol.ACLTooLong)},
		{"ACL SETUSER u1" + strings.Repeat(" (+get)", acl.MaxSelectors+1), protocol.ErrACLRule("(+get)", protocol.ACLTooMany)},
	} {
		if got := call1(t, c, test.args); got != "-"+test.want+"\r\n" {
			t.Errorf("%.40s: %.200s", test.args, got)
		}
	}
	if again := n.srv.replicas[0].Keyspace.Checksum(0); again != sum {
		t.Error("what was refused has changed something")
	}
	expect(t, c, "ACL DELUSER u5", ":1\r\n", "ACL SETUSER more", "+OK\r\n")
}

// TestUsersNeedLevel: before all nodes know users, there are none in the log.
func TestUsersNeedLevel(t *testing.T) {
	srv, err := NewWithGroups(testConfig(t, nil), nil, func(_ replication.Config, sm replication.StateMachine) (replication.Group, error) {
		return oldLevel{replication.NewMemoryGroup(sm, nil)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c := runNode(t, srv).dial()
	refused := func(name string) string { return "-" + protocol.ErrLevel(name, 2, 1) + "\r\n" }
	expect(t, c, "ACL SETUSER u", refused("acl|setuser"), "ACL DELUSER u", refused("acl|deluser"), "MULTI", "+OK\r\n", "ACL SETUSER u", "+QUEUED\r\n", "EXEC", "*1\r\n"+refused("acl|setuser"),
		"ACL USERS", "*1\r\n"+bulk("default"), "ACL WHOAMI", bulk("default"))
}

type oldLevel struct{ replication.Group }

func (oldLevel) Level() uint16 { return 1 }
