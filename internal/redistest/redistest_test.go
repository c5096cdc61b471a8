package redistest

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestParseReplyRoundTrip(t *testing.T) {
	for _, raw := range []string{
		"+OK\r\n", "-ERR x\r\n", ":-1\r\n", "$-1\r\n", "*-1\r\n", "$0\r\n\r\n", "$4\r\na\r\nb\r\n", "*0\r\n",
		"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "_\r\n", "#t\r\n", ",3.25\r\n", "(12345678901234567890\r\n", "=5\r\ntxt:a\r\n",
		"!5\r\nERR x\r\n", "%1\r\n+a\r\n:1\r\n", "~1\r\n:1\r\n", ">2\r\n+a\r\n+b\r\n",
	} {
		r, rest, err := ParseReply([]byte(raw + "+next\r\n"))
		if err != nil || string(rest) != "+next\r\n" || string(r.Encode(nil)) != raw {
			t.Errorf("%q: got %q, rest %q, error %v", raw, r.Encode(nil), rest, err)
		}
		if got := readOne(t, raw+"+next\r\n"); got != raw {
			t.Errorf("ReadRaw of %q: %q", raw, got)
		}
	}
}

// readOne reads one reply of what a server would send.
func readOne(t *testing.T, sent string) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte(sent))
			c.Close()
		}
	}()
	c, err := Dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.ReadRaw()
	if err != nil {
		t.Errorf("ReadRaw of %q: %v", sent, err)
	}
	return string(raw)
}

func TestBadRepliesAreErrors(t *testing.T) {
	for _, raw := range []string{"", "x", "+OK", "$3\r\nab", "$3\r\nabcd\r\n", "*1\r\n", "?1\r\n", "$x\r\n", "*-2\r\n"} {
		if r, _, err := ParseReply([]byte(raw)); err == nil {
			t.Errorf("%q parsed as %v", raw, r)
		}
	}
}

func TestRedisServer(t *testing.T) {
	for name, s := range map[string]*Server{"tcp": StartRedis(t), "unix": StartRedisUnix(t)} {
		c := s.Dial(t)
		if r, err := c.Do("INCR", "a"); err != nil || r.Type != ':' || r.Text != "1" {
			t.Errorf("%s: INCR: %v, %v", name, r, err)
		}
		if status, ok := s.Terminate(10 * time.Second); !ok || status != 0 {
			t.Errorf("%s: exit status %d, in time %v", name, status, ok)
		}
		if err := c.ReadEOF(); err != nil {
			t.Errorf("%s: after the end: %v", name, err)
		}
	}
}
