package commands

import (
	"strings"
	"testing"
)

var counterSteps = []step{
	{"INCR a", ":1", ""},
	{"INCR a", ":2", ""},
	{"INCRBY a 40", ":42", ""},
	{"DECR a", ":41", ""},
	{"DECRBY a 50", ":-9", ""},
	{"DECRBY a -9", ":0", ""},
	{"GET a", "$1 0", ""},
	{"OBJECT ENCODING a", "$3 int", ""},
	{"DECR b", ":-1", ""},
	{"INCRBY a +1", "-ERR value is not an integer or out of range", ""},
	{"INCRBY a 01", "-ERR value is not an integer or out of range", ""},
	{"INCRBY a \\x201", "-ERR value is not an integer or out of range", ""},
	{"INCRBY a 1\\x20", "-ERR value is not an integer or out of range", ""},
	{"INCRBY a -0", "-ERR value is not an integer or out of range", ""},
	{"INCRBY a 1.0", "-ERR value is not an integer or out of range", ""},
	{`INCRBY a ""`, "-ERR value is not an integer or out of range", ""},
	{"INCRBY a 9223372036854775808", "-ERR value is not an integer or out of range", ""},
	{"DECRBY a x", "-ERR value is not an integer or out of range", ""},
	{"DECRBY a -9223372036854775808", "-ERR decrement would overflow", ""},
	{"INCRBY a -9223372036854775808", ":-9223372036854775808", ""},
	{"DECR a", "-ERR increment or decrement would overflow", ""},
	{"INCRBY a -1", "-ERR increment or decrement would overflow", ""},
	{"DECRBY a 1", "-ERR increment or decrement would overflow", ""},
	{"INCRBY a 9223372036854775807", ":-1", ""},
	{"INCRBY a 9223372036854775807", ":9223372036854775806", ""},
	{"INCR a", ":9223372036854775807", ""},
	{"INCR a", "-ERR increment or decrement would overflow", ""},
	{"GET a", "$19 9223372036854775807", ""},
	{"SET s abc", "+OK", ""},
	{"INCR s", "-ERR value is not an integer or out of range", ""},
	{"SET s 007", "+OK", ""},
	{"INCR s", "-ERR value is not an integer or out of range", ""},
	{"SET s 12345678901234567890123", "+OK", ""},
	{"INCR s", "-ERR value is not an integer or out of range", ""},
	{"SET r 1", "+OK", ""},
	{"APPEND r 0", ":2", ""},
	{"OBJECT ENCODING r", "$3 raw", ""},
	{"INCR r", ":11", ""},
	{"OBJECT ENCODING r", "$3 int", ""},
	{"SET ttl 5 EXAT 99999999999", "+OK", ""},
	{"INCR ttl", ":6", ""},
	{"EXPIRETIME ttl", ":99999999999", ""},
	{"INCRBYFLOAT ttl 1.5", "$3 7.5", ""},
	{"EXPIRETIME ttl", ":99999999999", ""},
	{"INCR a b", "-ERR wrong number of arguments for 'incr' command", ""},
	{"INCRBYFLOAT f 0.1", "$3 0.1", ""},
	{"INCRBYFLOAT f 0.2", "$3 0.3", ""},
	{"OBJECT ENCODING f", "$6 embstr", ""},
	{"INCRBYFLOAT f 0.7", "$1 1", ""},
	{"OBJECT ENCODING f", "$6 embstr", ""},
	{"INCR f", ":2", ""},
	{"INCRBYFLOAT f 3.0e3", "$4 3002", ""},
	{"INCRBYFLOAT f nan", "-ERR value is not a valid float", ""},
	{"INCRBYFLOAT f abc", "-ERR value is not a valid float", ""},
	{`INCRBYFLOAT f ""`, "-ERR value is not a valid float", ""},
	{"INCRBYFLOAT f inf", "-ERR increment would produce NaN or Infinity", ""},
	{"INCRBYFLOAT f -inf", "-ERR increment would produce NaN or Infinity", ""},
	{"INCRBYFLOAT s 1.0", "$23 12345678901234567889920", ""},
	{"SET s abc", "+OK", ""},
	{"INCRBYFLOAT s 1.0", "-ERR value is not a valid float", ""},
	{"SET big 1e4932", "+OK", ""},
	{"INCRBYFLOAT big 1e4932", "-ERR increment would produce NaN or Infinity", ""},
	{"SET i inf", "+OK", ""},
	{"INCRBYFLOAT i 1", "-ERR increment would produce NaN or Infinity", ""},
}

func TestCounters(t *testing.T)             { runSteps(t, counterSteps) }
func TestCountersAgainstRedis(t *testing.T) { compareSteps(t, counterSteps) }

var increxSteps = []step{
	{"INCREX a", "*2 :1 :1", ""},
	{"INCREX a BYINT 5", "*2 :6 :5", ""},
	{"INCREX a BYINT -2", "*2 :4 :-2", ""},
	{"INCREX a BYINT 0", "*2 :4 :0", ""},
	{"INCREX a UBOUND 5", "*2 :5 :1", ""},
	{"INCREX a UBOUND 5", "*2 :5 :0", ""},
	{"INCREX a BYINT 10 UBOUND 8", "*2 :5 :0", ""},
	{"INCREX a BYINT 10 UBOUND 8 SATURATE", "*2 :8 :3", ""},
	{"INCREX a BYINT -10 LBOUND 2", "*2 :8 :0", ""},
	{"increx a saturate lbound 2 byint -10", "*2 :2 :-6", ""},
	{"INCREX a BYINT 1 UBOUND 0 SATURATE", "*2 :0 :-2", ""},
	{"INCREX a BYINT 9223372036854775807", "*2 :9223372036854775807 :9223372036854775807", ""},
	{"INCREX a", "*2 :9223372036854775807 :0", ""},
	{"INCREX a SATURATE", "*2 :9223372036854775807 :0", ""},
	{"INCREX a BYINT -1 SATURATE UBOUND -9223372036854775808", "-ERR increment or decrement would overflow", ""},
	{"GET a", "$19 9223372036854775807", ""},
	{"OBJECT ENCODING a", "$3 int", ""},

	{"INCREX none BYINT 5 UBOUND 3", "*2 :0 :0", ""},
	{"EXISTS none", ":0", ""},
	{"INCREX none BYINT 5 UBOUND 3 EX 10", "*2 :0 :0", ""},
	{"TTL none", ":-2", ""},
	{"INCREX none XX", "*2 $-1 :0", "*2 _ :0"},
	{"INCREX none XX BYFLOAT 1 EX 10", "*2 $-1 :0", "*2 _ :0"},
	{"INCREX none NX BYINT 5 UBOUND 3 SATURATE EX 10", "*2 :3 :3", ""},
	{"TTL none", ":10", ""},
	{"INCREX none NX", "*2 $-1 :0", "*2 _ :0"},
	{"INCREX none NX BYFLOAT 1", "*2 $-1 :0", "*2 _ :0"},
	{"INCREX none XX", "*2 :4 :1", ""},
	{"TTL none", ":10", ""},
	{"INCREX none EX 20 ENX", "*2 :5 :1", ""},
	{"TTL none", ":10", ""},
	{"INCREX none BYINT 1 UBOUND 5 EX 20", "*2 :5 :0", ""},
	{"TTL none", ":10", ""},
	{"INCREX none PX 20000", "*2 :6 :1", ""},
	{"TTL none", ":20", ""},
	{"INCREX none PERSIST", "*2 :7 :1", ""},
	{"TTL none", ":-1", ""},
	{"INCREX none PXAT 1700000030000 ENX", "*2 :8 :1", ""},
	{"TTL none", ":30", ""},
	{"INCREX none EXAT 1700000040", "*2 :9 :1", ""},
	{"TTL none", ":40", ""},
	{"INCREX none EXAT 1", "*2 :10 :1", ""},
	{"EXISTS none", ":0", ""},
	{"INCREX none EX 1", "*2 :1 :1", ""},
	{"+1000", "", ""},
	{"INCREX none", "*2 :1 :1", ""},
	{"TTL none", ":-1", ""},

	{"INCREX f BYFLOAT 0.1", "*2 $3 0.1 $3 0.1", "*2 ,0.1 ,0.1"},
	{"INCREX f BYFLOAT 0.2", "*2 $3 0.3 $3 0.2", "*2 ,0.3 ,0.2"},
	{"INCREX f BYFLOAT 1 UBOUND 1.2", "*2 $3 0.3 $1 0", "*2 ,0.3 ,0"},
	{"INCREX f BYFLOAT 1 UBOUND 1.25 SATURATE", "*2 $4 1.25 $4 0.95", "*2 ,1.25 ,0.95"},
	{"INCREX f BYFLOAT -3 LBOUND -1.5 SATURATE", "*2 $4 -1.5 $5 -2.75", "*2 ,-1.5 ,-2.75"},
	{"INCREX f", "-ERR value is not an integer or out of range", ""},
	{"INCREX f BYFLOAT inf", "-ERR increment would produce NaN or Infinity", ""},
	{"INCREX f BYFLOAT x", "-ERR value is not a valid float", ""},
	{"INCREX f BYFLOAT 1 LBOUND 2 UBOUND 1.9", "-ERR LBOUND is greater than UBOUND", ""},
	{"INCREX f BYFLOAT 0 UBOUND 1e4000 LBOUND -inf SATURATE", "*2 $4 -1.5 $1 0", "*2 ,-1.5 ,0"},
	{"GET f", "$4 -1.5", ""},

	{"INCREX a BYINT", "-ERR syntax error", ""},
	{"INCREX a BYINT 1 BYFLOAT 1", "-ERR syntax error", ""},
	{"INCREX a BYINT 1 BYINT 1", "-ERR syntax error", ""},
	{"INCREX a EX 1 PX 1", "-ERR syntax error", ""},
	{"INCREX a PERSIST EX 1", "-ERR syntax error", ""},
	{"INCREX a EX 1 PERSIST", "-ERR syntax error", ""},
	{"INCREX a PERSIST ENX", "-ERR syntax error", ""},
	{"INCREX a ENX", "-ERR syntax error", ""},
	{"INCREX a NX XX", "-ERR syntax error", ""},
	{"INCREX a SATURATE SATURATE", "-ERR syntax error", ""},
	{"INCREX a 5", "-ERR syntax error", ""},
	{"INCREX a BYINT 1.5", "-ERR value is not an integer or out of range", ""},
	{"INCREX a LBOUND x", "-ERR value is not an integer or out of range", ""},
	{"INCREX a LBOUND 2 UBOUND 1", "-ERR LBOUND is greater than UBOUND", ""},
	{"INCREX a EX 0", "-ERR invalid expire time in 'increx' command", ""},
	{"INCREX a EX x", "-ERR value is not an integer or out of range", ""},
	{"INCREX", "-ERR wrong number of arguments for 'increx' command", ""},
}

func TestIncrEx(t *testing.T) { runSteps(t, increxSteps) }

// TestIncrExFloatRange: BYFLOAT counts as far as INCRBYFLOAT does, beyond what a double of 64 bits holds.
func TestIncrExFloatRange(t *testing.T) {
	for _, resp := range []int{2, 3} {
		s := newShell(t)
		s.resp = resp
		do := func(line string) string { return show(s.do(words(t, line)...)) }
		for _, sign := range []string{"", "-"} {
			do("SET by " + sign + "1e400")
			want := do("INCRBYFLOAT by " + sign + "1e400")
			do("SET ex " + sign + "1e400")
			if got := do("INCREX ex BYFLOAT " + sign + "1e400 SATURATE"); !strings.HasPrefix(got, "*2 "+want+" $") {
				t.Errorf("INCREX: %s, want %s and the increment", got, want)
			}
			if got := do("GET ex"); got != want {
				t.Errorf("stored %s, want %s", got, want)
			}
			// At the end of the range nothing changes, or the number becomes the last one.
			do("SET ex " + sign + "1.1e4932")
			before := do("INCRBYFLOAT ex 0")
			if got := do("INCREX ex BYFLOAT " + sign + "1e4932"); !strings.HasPrefix(got, "*2 "+before+" ") {
				t.Errorf("beyond the range: %.60s", got)
			}
			do("INCREX ex BYFLOAT " + sign + "1e4932 SATURATE")
			if got := do("GET ex"); !strings.Contains(got, " "+sign+"118973149535723") {
				t.Errorf("saturated to %.60s", got)
			}
			do("SET ex " + sign + "1e4932")
			far := map[string]string{"": "UBOUND -1e4932", "-": "LBOUND 1e4932"}[sign]
			if got := do("INCREX ex BYFLOAT 0 SATURATE " + far); got != "-ERR increment would produce NaN or Infinity" {
				t.Errorf("from one end to the other: %.60s", got)
			}
		}
	}
}
