package commands

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"quipu/engine"
)

// eventSteps are writes, one behind the other, and what observers of the keyspace are told of each: event, database and
// key, and the integer before and after, "-" for none. What stands behind "alone:" has no counterpart in Redis.
var eventSteps = []struct{ line, told string }{
	{"INCR n", "incrby 0 n ->1"},
	{"INCRBY n 5", "incrby 0 n 1>6"},
	{"DECR n", "incrby 0 n 6>5"},
	{"DECRBY n 2", "incrby 0 n 5>3"},
	{"INCRBYFLOAT n 0.5", "incrbyfloat 0 n 3>-"},
	{"INCR n", ""},
	{"INCRBYFLOAT n 0.5", "incrbyfloat 0 n ->4"},
	{"SET s 7", "set 0 s ->7"},
	{"SET s 8 NX", ""},
	{"SET s 9 EX 100", "set 0 s 7>9, expire 0 s 9>9"},
	{"SET s 9 KEEPTTL", "set 0 s 9>9"},
	{"SETEX s 100 10", "set 0 s 9>10, expire 0 s 10>10"},
	{"PSETEX s 100000 x", "set 0 s 10>-, expire 0 s ->-"},
	{"SETNX s y", ""},
	{"SETNX t 1", "set 0 t ->1"},
	{"MSET s 1 t 2", "set 0 s ->1, set 0 t 1>2"},
	{"MSETNX s 1 u 2", ""},
	{"MSETNX u 2 v x", "set 0 u ->2, set 0 v ->-"},
	{"GETSET s 3", "set 0 s 1>3"},
	{"GETEX s", ""},
	{"GETEX s EX 100", "expire 0 s 3>3"},
	{"GETEX s PERSIST", "persist 0 s 3>3"},
	{"GETEX s PERSIST", ""},
	{"GETEX s PXAT 1", "del 0 s 3>-"},
	{"GETDEL t", "del 0 t 2>-"},
	{"GETDEL t", ""},
	{"APPEND u 3", "append 0 u 2>23"},
	{"APPEND u x", "append 0 u 23>-"},
	{"APPEND a 4", "append 0 a ->4"},
	{"SETRANGE u 2 4", "setrange 0 u ->234"},
	{"SETRANGE u 0 \"\"", ""},
	{"SETRANGE r 1 x", "setrange 0 r ->-"},
	{"EXPIRE u 100", "expire 0 u 234>234"},
	{"EXPIRE u 50 GT", ""},
	{"PEXPIRE u 200000", "expire 0 u 234>234"},
	{"EXPIREAT u 4000000000", "expire 0 u 234>234"},
	{"PEXPIREAT u 4000000000000", "expire 0 u 234>234"},
	{"PERSIST u", "persist 0 u 234>234"},
	{"PERSIST u", ""},
	{"COPY u c", "copy_to 0 c ->234"},
	{"COPY u c", ""},
	{"COPY a c REPLACE", "copy_to 0 c 234>4"},
	{"COPY u c DB 2", "copy_to 2 c ->234"},
	{"RENAME u w", "rename_from 0 u 234>-, rename_to 0 w ->234"},
	{"RENAME w c", "rename_from 0 w 234>-, rename_to 0 c 4>234"},
	{"RENAME c c", ""},
	{"RENAMENX c a", ""},
	{"RENAMENX c w", "rename_from 0 c 234>-, rename_to 0 w ->234"},
	{"MOVE w 1", "move_from 0 w 234>-, move_to 1 w ->234"},
	{"MOVE w 1", ""},
	{"PEXPIRE a -5", "del 0 a 4>-"},
	{"DEL v none r", "del 0 v ->-, del 0 r ->-"},
	{"UNLINK n none", "del 0 n 4>-"},
	{"PFADD h a b c", "pfadd 0 h ->-"},
	{"PFADD h a", ""},
	{"PFADD h d", "pfadd 0 h ->-"},
	{"PFCOUNT h", ""},
	{"PFMERGE m h", "pfadd 0 m ->-"},
	{"PFDEBUG TODENSE m", ""},
	{"INCREX i", "alone: incrby 0 i ->1"},
	{"INCREX i BYINT 4 EX 100", "alone: incrby 0 i 1>5, expire 0 i 5>5"},
	{"INCREX i BYINT 9 UBOUND 7", ""},
	{"INCREX i BYINT 9 UBOUND 7 SATURATE PERSIST", "alone: incrby 0 i 5>7, persist 0 i 7>7"},
	{"INCREX i BYFLOAT 0.5 EX 100", "alone: incrbyfloat 0 i 7>-, expire 0 i ->-"},
	{"INCREX i BYFLOAT 0.5 PXAT 1", "alone: del 0 i ->-"},
	{"SET s 1 PXAT 1", "alone: set 0 s ->-, del 0 s ->-"},
	{"SET s 5", "set 0 s ->5"},
	{"SET s 1 PXAT 1", "alone: del 0 s 5>-"},
	{"UC.RESERVE uc1 14", "alone: uc.reserve 0 uc1 ->-"},
	{"UC.ADD uc1 a", "alone: uc.add 0 uc1 ->-"},
	{"UC.ADD uc1 a", ""},
	{"UC.ADD uc2 a", "alone: uc.add 0 uc2 ->-"},
	{"UC.MERGE uc3 uc1 uc2", "alone: uc.merge 0 uc3 ->-"},
	{"CMS.INITBYDIM cms1 100 2", "alone: cms.initbydim 0 cms1 ->-"},
	{"CMS.INITBYPROB cms2 0.1 0.1", "alone: cms.initbyprob 0 cms2 ->-"},
	{"CMS.INCRBY cms1 a 5", "alone: cms.incrby 0 cms1 ->-"},
	{"CMS.MERGE cms1 1 cms1", "alone: cms.merge 0 cms1 ->-"},
	{"TOPK.RESERVE top 3", "alone: topk.reserve 0 top ->-"},
	{"TOPK.ADD top a", "alone: topk.add 0 top ->-"},
	{"TOPK.INCRBY top a 5", "alone: topk.incrby 0 top ->-"},
	{"ONCE OPEN p", ""},
	{"ONCE p 1 1 INCRBY once 5", "alone: incrby 0 once ->5"},
	{"ONCE p 1 1 INCRBY once 5", ""},
	{"INGEST s i f t", ""},
	{"INGEST SET s i 5", ""},
	{"INGEST FORGET s", ""},
	{"REGION HELLO 1 us 5 0 1 1 *", ""},
	{"REGION MERGE us 5 0 frame us 5", ""},
	{"REGION WHOLE us 5 0 frame us 5", ""},
	{"REGION LOST us", ""},
	{"REGION FORGET us", ""},
	{"REGION MARK us 5 1 7", ""},
	{"REGION RENEW", ""},
	{"FLUSHDB", ""},
	{"FLUSHALL", ""},
}

// TestEvents: what observers are told of each write, and that there is a step for each.
func TestEvents(t *testing.T) {
	s := newShell(t)
	var told []string
	s.ks.Observe(func(c *engine.Change) {
		if c.Event == "" {
			return
		}
		show := func(n engine.Integer) string {
			if !n.OK {
				return "-"
			}
			return strconv.FormatInt(n.N, 10)
		}
		told = append(told, fmt.Sprintf("%s %d %s %s>%s", c.Event, c.DB, c.Key, show(c.Old), show(c.New)))
	}, nil)
	untested := map[string]bool{}
	for _, cmd := range s.table.All() {
		if cmd.Write != nil {
			untested[cmd.FullName()] = true
		}
	}
	for i, step := range eventSteps {
		told = told[:0]
		args := words(t, step.line)
		delete(untested, s.table.Find(args).FullName())
		reply := s.do(args...)
		if got, want := strings.Join(told, ", "), strings.TrimPrefix(step.told, "alone: "); got != want {
			t.Errorf("step %d, %s: told %q instead of %q; reply %s", i, step.line, got, want, show(reply))
		}
	}
	for name := range untested {
		t.Errorf("there is no step for %s", name)
	}
}

// TestEventsLikeRedis compares the names and keys with Redis's keyspace events.
func TestEventsLikeRedis(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "true" {
		t.Fatal("redis-server is not installed")
	}
	redis, listener := dialRedis(t, 2), dialRedis(t, 2)
	redis.do("FLUSHALL")
	redis.do("CONFIG", "SET", "notify-keyspace-events", "KEA")
	defer redis.do("CONFIG", "SET", "notify-keyspace-events", "")
	listener.do("PSUBSCRIBE", "__keyevent@*", "end of step")
	if _, err := readReply(listener.r, nil); err != nil { // the second subscription
		t.Fatal(err)
	}
	for i, step := range eventSteps {
		if strings.HasPrefix(step.told, "alone: ") || newerThanRedis(step.line) {
			continue
		}
		redis.send(words(t, step.line)...)
		redis.do("PUBLISH", "end of step", "")
		var want []string
		for _, one := range strings.Split(step.told, ", ") {
			if f := strings.Fields(one); len(f) > 0 {
				want = append(want, strings.Join(f[:3], " "))
			}
		}
		if got := strings.Join(listener.events(), ", "); got != strings.Join(want, ", ") {
			t.Errorf("step %d, %s: Redis tells %q, we %q", i, step.line, got, want)
		}
	}
}

// newerThanRedis reports whether a step is about a command that Redis 7.0 does not have.
func newerThanRedis(line string) bool {
	name, _, _ := strings.Cut(line, " ")
	return name == "INCREX" || strings.Contains(name, ".")
}

// events reads keyspace events up to the end of the step, each as event, database and key.
func (o *oracle) events() (list []string) {
	o.tb.Helper()
	for {
		raw, err := readReply(o.r, nil)
		if err != nil {
			o.tb.Fatal(err)
		}
		lines := bytes.Split(raw, []byte("\r\n")) // *4, and two lines each: "pmessage", pattern, channel, message
		if string(lines[6]) == "end of step" {
			return list
		}
		db, event, ok := strings.Cut(strings.TrimPrefix(string(lines[6]), "__keyevent@"), "__:")
		if !ok {
			o.tb.Fatalf("event %q", raw)
		}
		list = append(list, fmt.Sprintf("%s %s %s", event, db, lines[8]))
	}
}
