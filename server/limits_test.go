package server

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quipu/acl"
	"quipu/config"
	"quipu/internal/redistest"
	"quipu/protocol"
	"quipu/transport"
)

func TestSizeLimits(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, func(c *config.Config) {
			transport(c)
			c.MaxKey, c.MaxCommand, c.MaxBulk, c.MaxInline = 100, 64<<10, 32<<10, 1024
		})
		c := n.dial()
		long := strings.Repeat("k", 101)
		for _, command := range []string{"GET " + long, "SET " + long + " 1", "MGET a " + long, "DEL a b " + long, "WATCH " + long} {
			expect(t, c, command, "-ERR key is too long (max-key-bytes is 100)\r\n")
		}
		expect(t, c, "CONFIG SET max-key-bytes 50", "+OK\r\n", "GET "+long[:51], "-ERR key is too long (max-key-bytes is 50)\r\n",
			"CONFIG SET max-key-bytes 100", "+OK\r\n")
		expect(t, c, "SET "+long[1:]+" "+long, "+OK\r\n", "STRLEN "+long[1:], ":101\r\n", "ECHO "+long, bulk(long))

		// A transaction that grows too large is refused while it is queued, and the client goes on.
		value := strings.Repeat("v", 20<<10)
		expect(t, c, "MULTI", "+OK\r\n", "SET a "+value, "+QUEUED\r\n", "SET b "+value, "+QUEUED\r\n", "SET c "+value, "+QUEUED\r\n",
			"SET d "+value, "-"+protocol.ErrCommandTooBig+"\r\n", "EXEC", "-"+protocol.ErrExecAbort+"\r\n", "EXISTS a", ":0\r\n")

		expect(t, c, "ECHO "+strings.Repeat("x", 32<<10), "$32768")
		checkReply(t, "argument", call(t, c, "ECHO "+strings.Repeat("x", 32<<10+1)), "-ERR Protocol error: invalid bulk length\r\n")
		expectClosed(t, c, "")
		inline := n.dial()
		if err := inline.Send([]byte(strings.Repeat("x", 2000))); err != nil {
			t.Fatal(err)
		}
		expectClosed(t, inline, "ERR Protocol error: too big inline request")
	})
}

// TestTransactionReplies fills a transaction with commands whose replies are far larger than they are.
func TestTransactionReplies(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	commands := []string{"MULTI", "INCR a"}
	for range 800 {
		commands = append(commands, "INFO")
	}
	send(t, c, append(commands, "EXEC")...)
	for range commands {
		readRaw(t, c)
	}
	r, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Elems) != 801 || r.Elems[0].Text != "1" || r.Elems[800].Text != protocol.ErrCommandTooBig {
		t.Errorf("EXEC replied %v", r)
	}
}

// TestUnreadReplies has a client that pipelines large reads and takes none of the replies: reading from it pauses, and
// it is closed in the end, while others are served.
func TestUnreadReplies(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		t.Parallel()
		n := startGroupNode(t, &testGroup{}, func(c *config.Config) {
			transport(c)
			c.OutputTimeout = 500 * time.Millisecond
		})
		c, other := n.dial(), n.dial()
		callArgs(t, c, "SET", "big", strings.Repeat("x", 1<<20))
		commands := make([]string, 200)
		for i := range commands {
			commands[i] = "GET big"
		}
		send(t, c, commands...)
		eventually(t, "the client to be closed", func() bool { return n.srv.clients.count.Load() == 1 })
		if got := n.srv.commandCalls()[n.srv.table.Lookup([]byte("get")).ID()]; got > 100 {
			t.Errorf("%d replies of 1 MiB were prepared for a client that reads none", got)
		}
		expect(t, other, "PING", "+PONG\r\n")
	})
}

func TestTimeouts(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		t.Parallel()
		n := startGroupNode(t, &testGroup{}, func(c *config.Config) {
			transport(c)
			c.Timeout, c.CommandTimeout = 1500*time.Millisecond, 300*time.Millisecond
		})
		idle, half, waits, busy := n.dial(), n.dial(), n.dial(), n.dial()
		expect(t, idle, "PING", "+PONG\r\n")
		if err := half.Send([]byte("*2\r\n$4\r\nECHO\r\n$1")); err != nil {
			t.Fatal(err)
		}
		send(t, waits, "WAIT 1 2500")
		expectClosed(t, half, protocol.ErrCommandTimeout)
		for range 10 {
			expect(t, busy, "PING", "+PONG\r\n")
			time.Sleep(100 * time.Millisecond)
		}
		expectClosed(t, idle, "")
		checkReply(t, "WAIT", readRaw(t, waits), ":0\r\n")
	})
}

func TestAuthentication(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		t.Parallel()
		n := startGroupNode(t, &testGroup{}, func(c *config.Config) {
			transport(c)
			c.RequirePass, c.AuthTimeout, c.AuthFailures = "secret", 400*time.Millisecond, 3
		})
		mute, c := n.dial(), n.dial()
		expect(t, c, "GET a", "-NOAUTH", "HELLO 3", "-NOAUTH", "AUTH wrong", "-WRONGPASS", "PING", "-NOAUTH", "AUTH default secret", "+OK\r\n", "INCR a", ":1\r\n")
		expectClosed(t, mute, protocol.ErrAuthTimeout)

		// RESET takes the authentication back, and gives as much time again as a new client has.
		send(t, c, "CLIENT REPLY OFF", "RESET")
		checkReply(t, "RESET", readRaw(t, c), "+RESET\r\n")
		time.Sleep(200 * time.Millisecond)
		expect(t, c, "GET a", "-NOAUTH", "AUTH secret", "+OK\r\n", "GET a", "$1\r\n1\r\n")

		// The limits before authentication.
		big := n.dial()
		expect(t, big, "A 2 3 4 5 6 7 8 9 10 11", "-ERR Protocol error: unauthenticated multibulk length\r\n")
		expectClosed(t, big, "")
		big = n.dial()
		expect(t, big, "AUTH "+strings.Repeat("x", 16<<10+1), "-ERR Protocol error: unauthenticated bulk length\r\n")
		expectClosed(t, big, "")
		flood := n.dial()
		if err := flood.Send([]byte(strings.Repeat("a\r\n", 20000))); err != nil {
			t.Fatal(err)
		}
		checkFlood(t, flood)

		guess := n.dial()
		eventually(t, "the guesses to be too many", func() bool { return strings.HasPrefix(call(t, guess, "AUTH guess"), "-"+protocol.ErrAuthRate) })
		expectClosed(t, guess, "")

		// Without a password, whoever is connected may go on.
		newcomer := n.dial()
		expect(t, c, "CONFIG SET auth-timeout 1m", "+OK\r\n")
		expect(t, newcomer, "GET a", "-NOAUTH")
		if got := callArgs(t, c, "CONFIG", "SET", "requirepass", ""); got != "+OK\r\n" {
			t.Fatal(got)
		}
		expect(t, newcomer, "GET a", "$1\r\n1\r\n")
	})
}

// checkFlood reads what a client that is not authenticated gets for 20,000 commands.
func checkFlood(t *testing.T, c *redistest.Conn) {
	t.Helper()
	total, last := 0, ""
	for {
		raw, err := c.ReadRaw()
		if err != nil {
			break
		}
		total, last = total+len(raw), string(raw)
	}
	if total > unauthenticatedOutput+1024 || last != "-"+protocol.ErrUnauthOutput+"\r\n" {
		t.Errorf("%d bytes without authentication, the last reply %q", total, last)
	}
}

func TestMaxClients(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, func(c *config.Config) { transport(c); c.MaxClients = 3 })
		var conns []*redistest.Conn
		for range 20 { // at once: admission must not lag behind
			conns = append(conns, n.dial())
		}
		served := 0
		for _, c := range conns {
			_ = c.SendCommand("PING") // fails where the connection was refused
			raw, err := c.ReadRaw()
			switch {
			case err == nil && string(raw) == "+PONG\r\n":
				served++
			case err == nil && string(raw) != "-"+protocol.ErrMaxClients+"\r\n":
				t.Errorf("got %q", raw)
			}
		}
		if served != 3 {
			t.Errorf("%d clients were served", served)
		}
		for _, c := range conns {
			c.Close()
		}
		eventually(t, "room", func() bool { return n.srv.clients.count.Load() == 0 })
		expect(t, n.dial(), "PING", "+PONG\r\n")
	})
}

// TestLeavingWhileWaiting has clients go away while they wait for replicas that there are not.
func TestLeavingWhileWaiting(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, transport)
		for range 5 {
			c := n.dial()
			send(t, c, "INCR a", "WAIT 1 0", "PING")
			checkReply(t, "INCR", readRaw(t, c), ":")
			defer c.Close()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the clients to be forgotten", func() bool { return n.srv.clients.count.Load() == 0 })
		if got := n.srv.stats.blocked.Load(); got != 0 {
			t.Errorf("%d clients still wait", got)
		}
		c := n.dial()
		send(t, c, "CLIENT REPLY SKIP", "WAIT 1 30", "PING")
		checkReply(t, "PING", readRaw(t, c), "+PONG\r\n")
	})
}

func TestClientKill(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		g := &testGroup{}
		n := startGroupNode(t, g, func(c *config.Config) { transport(c); c.WriteTimeout = 100 * time.Millisecond })
		c := n.dial()
		victims := map[string]*redistest.Conn{"idle": n.dial(), "waits": n.dial(), "paused": n.dial(), "does not read": n.dial(), "pending": n.dial()}
		callArgs(t, c, "SET", "big", strings.Repeat("x", 1<<20))
		for _, v := range victims {
			expect(t, v, "PING", "+PONG\r\n")
		}
		send(t, victims["waits"], "WAIT 1 0")
		var reads []string
		for range 64 {
			reads = append(reads, "GET big")
		}
		send(t, victims["does not read"], reads...)
		expect(t, c, "CLIENT PAUSE 100000 WRITE", "+OK\r\n")
		send(t, victims["paused"], "PING", "INCR a")
		n.reached(victims["paused"], "incr")
		eventually(t, "a client that waits", func() bool { return n.srv.stats.blocked.Load() == 1 })
		eventually(t, "replies that wait", func() bool { return n.srv.stats.bytesOut.Sum() > 1<<20 })
		expect(t, c, "CLIENT KILL TYPE normal", ":5\r\n", "CLIENT UNPAUSE", "+OK\r\n")
		eventually(t, "all but one to be gone", func() bool { return n.srv.clients.count.Load() == 1 })
		expect(t, c, "GET a", "$-1\r\n", "CLIENT KILL ID 1 SKIPME yes", ":0\r\n", "CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n")
		send(t, c, "INCR a", "CLIENT KILL TYPE normal SKIPME no", "PING")
		checkReply(t, "INCR", readRaw(t, c), ":1\r\n")
		checkReply(t, "KILL", readRaw(t, c), ":1\r\n")
		expectClosed(t, c, "")
		eventually(t, "it to be gone", func() bool { return n.srv.clients.count.Load() == 0 })
		inTxn := n.dial()
		send(t, inTxn, "MULTI", "INCR a", "CLIENT KILL TYPE normal SKIPME no", "INCR a", "EXEC", "PING")
		for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*3\r\n:2\r\n:1\r\n:3\r\n"} {
			checkReply(t, "KILL in a transaction", readRaw(t, inTxn), want)
		}
		expectClosed(t, inTxn, "")
	})
}

func TestClientPause(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, transport)
		c, other := n.dial(), n.dial()
		expect(t, c, "CLIENT PAUSE 10000 WRITE", "+OK\r\n", "GET a", "$-1\r\n")
		send(t, other, "GET a", "INCR a", "GET a", "MULTI", "INCR a", "EXEC")
		checkReply(t, "GET in a pause of writes", readRaw(t, other), "$-1\r\n")
		n.reached(other, "incr")
		expect(t, c, "GET a", "$-1\r\n", "CLIENT PAUSE 60", "+OK\r\n", "CLIENT UNPAUSE", "+OK\r\n")
		for _, want := range []string{":1\r\n", "$1\r\n1\r\n", "+OK\r\n", "+QUEUED\r\n", "*1\r\n:2\r\n"} {
			checkReply(t, "after the pause", readRaw(t, other), want)
		}
		begun := time.Now()
		expect(t, c, "CLIENT PAUSE 60", "+OK\r\n", "PING", "+PONG\r\n")
		if took := time.Since(begun); took < 55*time.Millisecond {
			t.Errorf("PING came after %v of a pause of 60 ms", took)
		}
	})
}

// TestPauseHoldsExec pauses while clients have transactions queued: EXEC waits if the pause concerns what is queued.
// MULTI and queueing are never held back by a pause of writes, so EXEC itself must be.
func TestPauseHoldsExec(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startGroupNode(t, &testGroup{}, transport)
		c, writing, reading := n.dial(), n.dial(), n.dial()
		for _, pause := range []struct {
			mode        string
			holdsReader bool
		}{{"WRITE", false}, {"ALL", true}} {
			expect(t, writing, "MULTI", "+OK\r\n", "SET a 1", "+QUEUED\r\n")
			expect(t, reading, "MULTI", "+OK\r\n", "GET a", "+QUEUED\r\n")
			expect(t, c, "CLIENT PAUSE 100000 "+pause.mode, "+OK\r\n")
			send(t, writing, "CLIENT GETNAME", "EXEC")
			send(t, reading, "CLIENT GETNAME", "EXEC")
			checkReply(t, "CLIENT GETNAME", readRaw(t, writing), "+QUEUED\r\n")
			checkReply(t, "CLIENT GETNAME", readRaw(t, reading), "+QUEUED\r\n")
			n.reached(writing, "exec")
			n.reached(reading, "exec")
			const queued, ended = 2, -1
			if got := n.session(writing).seen.multi.Load(); got != queued {
				t.Errorf("pause of %s: the transaction that writes has run: %d", pause.mode, got)
			}
			want := int32(ended)
			if pause.holdsReader {
				want = queued
			}
			if got := n.session(reading).seen.multi.Load(); got != want {
				t.Errorf("pause of %s: the transaction that reads has %d commands, want %d", pause.mode, got, want)
			}
			if !pause.holdsReader {
				expect(t, c, "GET a", "$-1\r\n")
				checkReply(t, "EXEC of reads", readRaw(t, reading), "*2\r\n$-1\r\n$-1\r\n")
			}
			expect(t, c, "CLIENT UNPAUSE", "+OK\r\n")
			checkReply(t, "EXEC of writes", readRaw(t, writing), "*2\r\n+OK\r\n$-1\r\n")
			if pause.holdsReader {
				checkReply(t, "EXEC of reads", readRaw(t, reading), "*2\r\n$")
			}
		}
	})
}

func TestMemoryLimit(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c, late := n.dial(), n.dial()
	expect(t, c, "SET a 1", "+OK\r\n")
	expect(t, late, "MULTI", "+OK\r\n", "INCR a", "+QUEUED\r\n")
	expect(t, c, "CONFIG SET maxmemory 1", "+OK\r\n", "INCR a", "-"+protocol.ErrOOM+"\r\n", "GET a", "$1\r\n1\r\n")
	expect(t, late, "EXEC", "-EXECABORT Transaction discarded because of: "+protocol.ErrOOM+"\r\n", "GET a", "$1\r\n1\r\n")
	expect(t, c, "DEL a", ":1\r\n", "CONFIG SET maxmemory 0", "+OK\r\n", "INCR a", ":1\r\n")
}

func TestProtectedMode(t *testing.T) {
	for _, c := range []struct {
		mode     bool
		password string
		sameHost bool
		refused  bool
	}{{true, "", false, true}, {true, "", true, false}, {true, "secret", false, false}, {false, "", false, false}} {
		cfg, srv := &config.Config{ProtectedMode: c.mode, RequirePass: c.password}, &Server{}
		srv.users.Store(acl.NewUsers(nil, acl.NewCatalog(nil, nil), c.password))
		if got := srv.protects(cfg, c.sameHost); got != c.refused {
			t.Errorf("protected-mode %v, password %q, from this machine %v: refused %v", c.mode, c.password, c.sameHost, got)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		dir, err := os.MkdirTemp("", "quipu") // t.TempDir is too long for the path of a socket on some systems
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "socket")
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		stale.Close()
		n := startGroupNode(t, &testGroup{}, func(c *config.Config) { transport(c); c.UnixSocket = path })
		c, err := redistest.Dial(path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		expect(t, c, "INCR a", ":1\r\n", "CLIENT INFO", "$")
		if !strings.Contains(call(t, c, "CLIENT INFO"), "flags=U") {
			t.Error("CLIENT INFO does not say that the connection is over a unix socket")
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("mode of the socket: %v, %v", info, err)
		}
		if err := n.stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket file is still there: %v", err)
		}
	})
}

// TestIdleMemory checks that a client keeps little of what a large command took.
func TestIdleMemory(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	args := []string{"MSET"}
	for i := range 30000 {
		args = append(args, fmt.Sprint("k", i), "1")
	}
	checkReply(t, "MSET", callArgs(t, c, args...), "+OK\r\n")
	checkReply(t, "ECHO", callArgs(t, c, "ECHO", strings.Repeat("x", 1<<20)), "$1048576")
	expect(t, c, "PING", "+PONG\r\n")
	session := n.srv.clients.all()[0]
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"out": cap(session.out.B), "side": cap(session.side.B), "arguments": cap(session.args) * 24} {
		if size > transport.MaxIdleBuffer {
			t.Errorf("%s keeps %d bytes", name, size)
		}
	}
	for _, arg := range session.args[:cap(session.args)] {
		if arg != nil {
			t.Error("the input is held on to")
		}
	}
}

// TestPipelineOfReservations sends many small commands at once that take 64 MiB each: those beyond maxmemory are refused.
func TestPipelineOfReservations(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, func(c *config.Config) { c.MaxMemory = 100 << 20 })
	c := n.dial()
	var commands []string
	for i := range 6 {
		commands = append(commands, fmt.Sprintf("CMS.INITBYDIM c%d 2097152 8", i))
	}
	send(t, c, commands...)
	created := 0
	for range commands {
		switch reply := readRaw(t, c); reply {
		case "+OK\r\n":
			created++
		case "-" + protocol.ErrOOM + "\r\n":
		default:
			t.Errorf("%q", reply)
		}
	}
	if created != 2 {
		t.Errorf("%d sketches of 64 MiB with a limit of 100 MiB, 2 pass it only just", created)
	}
}
