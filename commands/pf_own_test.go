package commands

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"quipu/engine"
	"quipu/engine/hll"
)

// ownTailLog brings counts of HyperLogLogs into being, and then whatever leaves them, changes them, or shows them.
var ownTailLog = strings.Fields(`
	PFADD_k_a_b_c PFCOUNT_k PFADD_k_a PFADD_k_d PFCOUNT_k EXPIRE_k_1000 PERSIST_k RENAME_k_l PFADD_l_e
	PFCOUNT_l MOVE_l_1 PFADD_m_a_b PFCOUNT_m PFMERGE_m_n PFCOUNT_m PFMERGE_m_m PFCOUNT_m PFDEBUG_TODENSE_m PFADD_m_x PFCOUNT_m
	EXPIRE_m_1000 RENAME_m_k PFADD_k_y PFCOUNT_k PFMERGE_k_k PFADD_d PFCOUNT_d GETEX_d_EX_1000 PFADD_d_1 PFCOUNT_d
	SET_d_5 PFCOUNT_d DEL_d PFADD_d_1_2 PFCOUNT_d`)

// TestOwnTailShows compares what clients see of cached counts with Redis: in whole values, in parts of them, and in the
// encoding, after each step.
func TestOwnTailShows(t *testing.T) {
	redis, s := dialRedis(t, 2), newShell(t)
	s.now = time.Now().UnixMilli()
	redis.do("FLUSHALL")
	both := func(args ...[]byte) {
		t.Helper()
		if a, b := redis.send(args...), s.do(args...); !bytes.Equal(a, b) {
			t.Errorf("%q: Redis replies %q, we %q", args, a, b)
		}
	}
	look := func() {
		t.Helper()
		for _, key := range strings.Fields("k l m d given short") {
			for _, line := range []string{"GET k", "GETRANGE k 0 9", "GETRANGE k 10 12", "SUBSTR k -4 -1", "GETRANGE k 15 400", "MGET k none", "OBJECT ENCODING k", "STRLEN k"} {
				both(words(t, strings.ReplaceAll(line, "k", key))...)
			}
		}
	}
	for _, line := range ownTailLog {
		both(words(t, strings.ReplaceAll(line, "_", " "))...)
		look()
	}
	// Values that clients have written, one with a count, for which PFCOUNT need not change anything but the encoding.
	short := hll.AppendNew(nil)
	copy(short[hll.CountAt:], hll.AppendCount(nil, 12345))
	both([]byte("SET"), []byte("short"), short)
	both([]byte("SET"), []byte("given"), append(hll.AppendNew(nil)[:hll.HeaderBytes], 0x80, 0x7f, 0xfe))
	look()
	for _, line := range []string{"PFCOUNT short", "PFCOUNT given", "SET d x", "PFADD short", "PFADD short z", "PFCOUNT short", "PFADD given z", "PFCOUNT given", "GETDEL given", "GETSET short 1", "SET short x GET"} {
		both(words(t, line)...)
		look()
	}
}

// TestCopyOfCounted: a copy has no count, and shows that PFCOUNT has been there, as in Redis.
func TestCopyOfCounted(t *testing.T) {
	redis, s := dialRedis(t, 2), newShell(t)
	redis.do("FLUSHALL")
	value := append(hll.AppendNew(nil)[:hll.HeaderBytes], 0x80, 0x7f, 0xfe)
	for _, line := range []string{"SET k v", "COPY k l", "PFCOUNT k", "COPY k m", "PFCOUNT m", "OBJECT ENCODING k", "OBJECT ENCODING l", "OBJECT ENCODING m"} {
		args := words(t, line)
		if line == "SET k v" {
			args[2] = value
		}
		if a, b := redis.send(args...), s.do(args...); !bytes.Equal(a, b) {
			t.Errorf("%s: Redis replies %q, we %q", line, a, b)
		}
	}
	s.do(words(t, "COPY k n")...)
	if got := s.value("n"); !bytes.Equal(got, value) {
		t.Errorf("the copy shows %x", got)
	}
}

// TestOwnTailOfSparse keeps count and skips together, while a value grows through all sizes.
func TestOwnTailOfSparse(t *testing.T) {
	redis, s := dialRedis(t, 2), newShell(t)
	redis.do("FLUSHALL")
	for i := range 1500 {
		lines := []string{fmt.Sprint("PFADD k ", i)}
		if i%7 == 0 {
			lines = append(lines, "PFCOUNT k")
		}
		for _, line := range append(lines, "GET k") {
			args := words(t, line)
			if a, b := redis.send(args...), s.do(args...); !bytes.Equal(a, b) {
				t.Fatalf("%d, %s: Redis replies %.60q, we %.60q", i, line, a, b)
			}
		}
		key := []byte("k")
		s.ks.LockPart(engine.Part(key))
		v, _ := s.ks.View(0, s.now, false).Get(key)
		length, tail := len(v.Bytes), len(v.OwnTail())
		wanted := length >= hll.SkipsFrom && !hll.IsDense(v.Bytes)
		s.ks.UnlockPart(engine.Part(key))
		if (tail > hll.CountBytes) != wanted {
			t.Fatalf("%d: %d bytes with a tail of %d", i, length, tail)
		}
	}
}

// TestPFCountTouches: watchers are told of a count that was computed, as by Redis, and of no other.
func TestPFCountTouches(t *testing.T) {
	s := newShell(t)
	s.do(words(t, "PFADD k a")...)
	given := hll.AppendNew(nil)
	copy(given[hll.CountAt:], hll.AppendCount(nil, 5))
	s.do([]byte("SET"), []byte("given"), given)
	var told []string
	s.ks.Observe(func(c *engine.Change) {
		told = append(told, fmt.Sprint(c.Op == engine.OpOwnTail, " ", string(c.Key), c.Event))
	}, nil)
	for _, line := range []string{"PFCOUNT given", "PFCOUNT k", "PFCOUNT k", "PFCOUNT none", "PFCOUNT k given"} {
		s.do(words(t, line)...)
	}
	if strings.Join(told, ",") != "true k" {
		t.Errorf("told %q", told)
	}
}
