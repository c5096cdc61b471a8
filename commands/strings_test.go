package commands

import (
	"fmt"
	"strings"
	"testing"
)

var stringSteps = []step{
	{"GET none", "$-1", "_"},
	{"SET a hello", "+OK", ""},
	{"GET a", "$5 hello", ""},
	{"SET a world GET", "$5 hello", ""},
	{"SET a x NX", "$-1", "_"},
	{"SET a x NX GET", "$5 world", ""},
	{"GET a", "$5 world", ""},
	{"SET none x XX", "$-1", "_"},
	{"SET none x XX GET", "$-1", "_"},
	{"EXISTS none", ":0", ""},
	{"SET none x NX GET", "$-1", "_"},
	{"GET none", "$1 x", ""},
	{"SET none y XX GET", "$1 x", ""},
	{"DEL none", ":1", ""},
	{"SET t 1 EXAT 99999999999", "+OK", ""},
	{"EXPIRETIME t", ":99999999999", ""},
	{"SET t 2 KEEPTTL", "+OK", ""},
	{"EXPIRETIME t", ":99999999999", ""},
	{"SET t 3 PXAT 99999999999000", "+OK", ""},
	{"PEXPIRETIME t", ":99999999999000", ""},
	{"SET t 4", "+OK", ""},
	{"TTL t", ":-1", ""},
	{"SET t 5 EXAT 1", "+OK", ""},
	{"GET t", "$-1", "_"},
	{"SET t 5 EX 0", "-ERR invalid expire time in 'set' command", ""},
	{"SET t 5 EX -1", "-ERR invalid expire time in 'set' command", ""},
	{"SET t 5 PX x", "-ERR value is not an integer or out of range", ""},
	{"SET t 5 EX 9223372036854775807", "-ERR invalid expire time in 'set' command", ""},
	{"SET t 5 PX 9223372036854775807", "-ERR invalid expire time in 'set' command", ""},
	{"SET t 5 EX", "-ERR syntax error", ""},
	{"SET t 5 EX 10 PX 10", "-ERR syntax error", ""},
	{"SET t 5 EX 10 KEEPTTL", "-ERR syntax error", ""},
	{"SET t 5 KEEPTTL EX 10", "-ERR syntax error", ""},
	{"SET t 5 NX XX", "-ERR syntax error", ""},
	{"SET t 5 PERSIST", "-ERR syntax error", ""},
	{"SET t 5 10", "-ERR syntax error", ""},
	{"SET t", "-ERR wrong number of arguments for 'set' command", ""},
	{"SETEX t 0 v", "-ERR invalid expire time in 'setex' command", ""},
	{"SETEX t x v", "-ERR value is not an integer or out of range", ""},
	{"PSETEX t -5 v", "-ERR invalid expire time in 'psetex' command", ""},
	{"SETEX t 1000 v", "+OK", ""},
	{"PSETEX t 1000000 w", "+OK", ""},
	{"GET t", "$1 w", ""},
	{"SETNX t v", ":0", ""},
	{"SETNX new v", ":1", ""},
	{"GETSET new w", "$1 v", ""},
	{"GETSET t w", "$1 w", ""},
	{"TTL t", ":-1", ""},
	{"GETSET newer w", "$-1", "_"},
	{"GETDEL newer", "$1 w", ""},
	{"GETDEL newer", "$-1", "_"},
	{"GETEX newer EX x", "$-1", "_"},
	{"GETEX newer EX", "-ERR syntax error", ""},
	{"GETEX new EX x", "-ERR value is not an integer or out of range", ""},
	{"GETEX new EX 0", "-ERR invalid expire time in 'getex' command", ""},
	{"GETEX new EXAT 99999999999", "$1 w", ""},
	{"EXPIRETIME new", ":99999999999", ""},
	{"GETEX new", "$1 w", ""},
	{"EXPIRETIME new", ":99999999999", ""},
	{"GETEX new PERSIST", "$1 w", ""},
	{"TTL new", ":-1", ""},
	{"GETEX new KEEPTTL", "-ERR syntax error", ""},
	{"GETEX new PERSIST EX 10", "-ERR syntax error", ""},
	{"GETEX new PXAT 1", "$1 w", ""},
	{"EXISTS new", ":0", ""},
	{"MSET x 1 y 2 x 3", "+OK", ""},
	{"MGET x y none x", "*4 $1 3 $1 2 $-1 $1 3", "*4 $1 3 $1 2 _ $1 3"},
	{"MSET x 1 y", "-ERR wrong number of arguments for 'mset' command", ""},
	{"MSETNX p 1 x 9", ":0", ""},
	{"EXISTS p", ":0", ""},
	{"MSETNX p 1 q 2", ":1", ""},
	{"MSETNX p 1 q", "-ERR wrong number of arguments for 'msetnx' command", ""},
	{"STRLEN none", ":0", ""},
	{"SET n -12345", "+OK", ""},
	{"STRLEN n", ":6", ""},
	{"GETRANGE n 1 3", "$3 123", ""},
	{"GETRANGE n -3 -1", "$3 345", ""},
	{"GETRANGE n 0 -1", "$6 -12345", ""},
	{"GETRANGE n -100 100", "$6 -12345", ""},
	{"GETRANGE n 3 1", "$0 ", ""},
	{"GETRANGE n -1 -3", "$0 ", ""},
	{"GETRANGE n 10 20", "$0 ", ""},
	{"GETRANGE none 0 -1", "$0 ", ""},
	{"GETRANGE n a 1", "-ERR value is not an integer or out of range", ""},
	{"SUBSTR n 0 0", "$1 -", ""},
	{"APPEND n 6", ":7", ""},
	{"GET n", "$7 -123456", ""},
	{"APPEND ap 12", ":2", ""},
	{"OBJECT ENCODING ap", "$3 int", ""},
	{`APPEND ap ""`, ":2", ""},
	{"OBJECT ENCODING ap", "$3 raw", ""},
	{`APPEND empty ""`, ":0", ""},
	{"EXISTS empty", ":1", ""},
	{"SETRANGE n 3 xyz", ":7", ""},
	{"GET n", "$7 -12xyz6", ""},
	{"SETRANGE n 9 z", ":10", ""},
	{"GET n", "$10 -12xyz6\x00\x00z", ""},
	{"SETRANGE n -1 z", "-ERR offset is out of range", ""},
	{"SETRANGE n x z", "-ERR value is not an integer or out of range", ""},
	{"SETRANGE n 536870911 zz", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)", ""},
	{"SETRANGE n 9223372036854775807 z", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)", ""},
	{`SETRANGE n 9223372036854775807 ""`, ":10", ""},
	{`SETRANGE none 5 ""`, ":0", ""},
	{"EXISTS none", ":0", ""},
	{"SETRANGE sr 2 ab", ":4", ""},
	{"GET sr", "$4 \x00\x00ab", ""},
	{"OBJECT ENCODING sr", "$3 raw", ""},
}

func TestStrings(t *testing.T)             { runSteps(t, stringSteps) }
func TestStringsAgainstRedis(t *testing.T) { compareSteps(t, stringSteps) }

func TestStringSizeLimit(t *testing.T) {
	s := newShell(t)
	cmd := s.table.Lookup([]byte("append"))
	s.do(words(t, "SET a 12345678")...)
	for tail, want := range map[string]string{"90": ":10", "123": "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"} {
		args := words(t, "APPEND a "+tail)
		before := show(s.do(words(t, "GET a")...))
		got := s.limited(cmd, 10, args)
		if got != want {
			t.Errorf("%s: %s, want %s", tail, got, want)
		}
		if after := show(s.do(words(t, "GET a")...)); got[0] == '-' && after != before {
			t.Errorf("an error changed %s to %s", before, after)
		}
		s.do(words(t, "SET a 12345678")...)
	}
}

func TestEncodings(t *testing.T) {
	long := strings.Repeat("x", 45)
	var steps []step
	for _, c := range []struct{ line, encoding string }{
		{"SET k 1", "int"}, {"SET k -9223372036854775808", "int"}, {"SET k 9223372036854775808", "embstr"}, {"SET k 01", "embstr"},
		{"SET k " + long[:44], "embstr"}, {"SET k " + long, "raw"}, {"MSET k 5", "int"}, {"SETEX k 1000 7", "int"}, {"PSETEX k 1000000 x", "embstr"},
		{"GETSET k 5", "int"}, {"GETSET k " + long, "raw"}, {"APPEND k 1", "raw"}, {"DEL k", ""}, {"APPEND k 1", "int"}, {"APPEND k 2", "raw"},
		{"COPY k copied", "raw"}, {"RENAME copied k", "raw"}, {"INCRBYFLOAT k 1", "embstr"}, {"INCRBYFLOAT k 1e60", "raw"}, {"SET k 5", "int"},
		{"SETRANGE k 0 7", "raw"}, {"DEL k", ""}, {"SETNX k 3", "int"}, {"INCRBYFLOAT k 0", "embstr"}, {"DECR k", "int"}, {"EXPIRE k 1000", "int"},
	} {
		reply := "$-1"
		if c.encoding != "" {
			reply = fmt.Sprintf("$%d %s", len(c.encoding), c.encoding)
		}
		steps = append(steps, step{c.line, "", ""}, step{"OBJECT ENCODING k", reply, strings.Replace(reply, "$-1", "_", 1)})
	}
	for name, do := range map[string]func(*testing.T, []step){"ours": encodingsOurs, "redis": encodingsRedis} {
		t.Run(name, func(t *testing.T) { do(t, steps) })
	}
}

func encodingsOurs(t *testing.T, steps []step) {
	s := newShell(t)
	for _, st := range steps {
		if got := show(s.do(words(t, st.line)...)); st.resp2 != "" && got != st.resp2 {
			t.Errorf("%s: %s, want %s", st.line, got, st.resp2)
		}
	}
}

func encodingsRedis(t *testing.T, steps []step) {
	redis := dialRedis(t, 2)
	redis.do("FLUSHALL")
	for _, st := range steps {
		if got := show(redis.send(words(t, st.line)...)); st.resp2 != "" && got != st.resp2 {
			t.Errorf("%s: %s, not %s", st.line, got, st.resp2)
		}
	}
}
