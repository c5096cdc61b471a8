package programs

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"quipu/internal/redistest"
)

// traffic is what a program sends to count one event, as MONITOR showed it or as the program's source says. The same
// sequences with all replies are in internal/scripts/testdata/program-*.txt.
type traffic struct {
	name   string
	source string // the version, and where in it the commands come from
	hit    func(h *hit) error
}

// hit is one event of one worker.
type hit struct {
	conn *redistest.Conn
	now  int64 // unix seconds
	rand *rand.Rand
	seen *tally
}

// do sends the commands in one write and reads their replies. An error reply is an error.
func (h *hit) do(commands ...[]string) ([]redistest.Reply, error) {
	replies, err := h.conn.Pipeline(commands...)
	for i, r := range replies {
		if r.IsError() {
			return nil, fmt.Errorf("%q: %s", commands[i], r.Text)
		}
	}
	return replies, err
}

func cmd(args ...any) []string {
	s := make([]string, len(args))
	for i, a := range args {
		s[i] = fmt.Sprint(a)
	}
	return s
}

// window is the part of a key that names the period of time, as rate limiters have it.
func (h *hit) window(seconds int64) string { return strconv.FormatInt(h.now/seconds*seconds, 10) }

const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
)

var traffics = []traffic{
	{"Envoy ratelimit", "July 2026, src/redis/fixed_cache_impl.go", envoy},
	{"rack-attack", "6.6 to 6.8, lib/rack/attack/store_proxy/redis_proxy.rb", rackAttack},
	{"Rails 6.1", "active_support/cache/redis_cache_store.rb", rails61},
	{"Rails 8", "7.1 and later, active_support/cache/redis_cache_store.rb", rails8},
	{"Laravel", "8.83 to 13.26, Illuminate/Cache/RedisStore.php and RedisLock.php", laravelCounter},
	{"django-ratelimit", "4.1 with Django 5.2, django_ratelimit/core.py and django/core/cache/backends/redis.py", djangoRatelimit},
	{"Sidekiq", "8.1, lib/sidekiq/launcher.rb", sidekiq},
	{"MULTI", "the limiter in the manual of INCR", manual},
}

// envoy asks for three limits at once, in one pipeline. Envoy adds up to 300 s to an expiry; here it is at least 30 s, so
// that a counter of one second is still there when the test looks at it.
func envoy(h *hit) error {
	type limit struct {
		key     string
		seconds int64
	}
	var commands [][]string
	limits := []limit{
		{"shop_ip_10.0.0.1_", hour},
		{"shop_path_/buy_", 1},
		{"shop_user_ann_action_login_", minute},
	}
	addend := 1 + h.rand.Int64N(3)
	for i, l := range limits {
		limits[i].key += h.window(l.seconds)
		ttl := l.seconds + 30 + h.rand.Int64N(270)
		commands = append(commands, cmd("INCRBY", limits[i].key, addend), cmd("EXPIRE", limits[i].key, ttl))
		h.seen.sends(limits[i].key, addend, l.seconds+300)
	}
	replies, err := h.do(commands...)
	if err != nil {
		return err
	}
	for i, l := range limits {
		if err := h.seen.answered(l.key, addend, replies[2*i]); err != nil {
			return err
		}
	}
	return nil
}

func rackAttack(h *hit) error {
	key := "rack::attack:" + strconv.FormatInt(h.now/day, 10) + ":ip:10.0.0.1"
	ttl := day - h.now%day + 1
	h.seen.sends(key, 1, day+1)
	replies, err := h.do(cmd("incrby", key, 1), cmd("expire", key, ttl))
	if err != nil {
		return err
	}
	return h.seen.answered(key, 1, replies[0])
}

// rails61 sets the expiry of a counter in a third round trip, if it has none.
func rails61(h *hit) error {
	const key = "app:hits"
	h.seen.sends(key, 1, hour)
	replies, err := h.do(cmd("incrby", key, 1))
	if err != nil {
		return err
	}
	if err := h.seen.answered(key, 1, replies[0]); err != nil {
		return err
	}
	ttl, err := h.do(cmd("ttl", key))
	if err == nil && ttl[0].Text[0] == '-' {
		_, err = h.do(cmd("expire", key, hour))
	}
	return err
}

func rails8(h *hit) error {
	const key = "app:visits"
	h.seen.sends(key, 1, hour)
	replies, err := h.do(cmd("incrby", key, 1), cmd("expire", key, hour, "NX"))
	if err != nil {
		return err
	}
	return h.seen.answered(key, 1, replies[0])
}

// laravelCounter counts twice: with an increment, and within a lock, by reading and writing. A lock is released by Lua, so
// this is what Laravel does with a lock that it does not own: it is deleted.
func laravelCounter(h *hit) error {
	const key, lock, guarded = "laravel_cache:hits", "laravel_cache:lock", "laravel_cache:guarded"
	h.seen.sends(key, 1, 0)
	replies, err := h.do(cmd("INCRBY", key, 1))
	if err != nil {
		return err
	}
	if err := h.seen.answered(key, 1, replies[0]); err != nil {
		return err
	}
	locked, err := h.do(cmd("SET", lock, h.rand.Int64(), "EX", minute, "NX"))
	if err != nil || locked[0].IsNull() {
		return err
	}
	h.seen.sends(guarded, 1, 0)
	value, err := h.do(cmd("GET", guarded))
	if err != nil {
		return err
	}
	n := int64(0)
	if !value[0].IsNull() {
		if n, err = value[0].Int(); err != nil {
			return err
		}
	}
	if _, err := h.do(cmd("SET", guarded, n+1)); err != nil {
		return err
	}
	value[0] = redistest.Reply{Type: ':', Text: strconv.FormatInt(n+1, 10)}
	if err := h.seen.answered(guarded, 1, value[0]); err != nil {
		return err
	}
	_, err = h.do(cmd("DEL", lock))
	return err
}

// djangoRatelimit adds the counter with its first value, or increments the one that is there.
func djangoRatelimit(h *hit) error {
	key := ":1:rl:" + h.window(day)
	h.seen.sends(key, 1, day)
	replies, err := h.do(cmd("SET", key, 1, "NX", "EX", day))
	if err != nil {
		return err
	}
	if !replies[0].IsNull() {
		return h.seen.answered(key, 1, redistest.Reply{Type: ':', Text: "1"})
	}
	if replies, err = h.do(cmd("EXISTS", key)); err != nil {
		return err
	}
	if replies[0].Text != "1" {
		return fmt.Errorf("%s is not there", key)
	}
	if replies, err = h.do(cmd("INCRBY", key, 1)); err != nil {
		return err
	}
	return h.seen.answered(key, 1, replies[0])
}

// sidekiq adds what a process has done since the last time.
func sidekiq(h *hit) error {
	date := time.Unix(h.now, 0).UTC().Format(time.DateOnly)
	const keep = 5 * 365 * day
	var commands [][]string
	var keys []string
	var amounts []int64
	for _, stat := range []string{"stat:processed", "stat:failed"} {
		amount := h.rand.Int64N(50)
		commands = append(commands, cmd("INCRBY", stat, amount), cmd("INCRBY", stat+":"+date, amount), cmd("EXPIRE", stat+":"+date, keep))
		keys = append(keys, stat, stat+":"+date)
		amounts = append(amounts, amount, amount)
		h.seen.sends(stat, amount, 0)
		h.seen.sends(stat+":"+date, amount, keep)
	}
	replies, err := h.do(commands...)
	if err != nil {
		return err
	}
	for i, key := range keys {
		if err := h.seen.answered(key, amounts[i], replies[i+i/2]); err != nil {
			return err
		}
	}
	return nil
}

func manual(h *hit) error {
	key := "10.0.0.1:" + h.window(1)
	h.seen.sends(key, 1, minute)
	replies, err := h.do(cmd("MULTI"), cmd("INCR", key), cmd("EXPIRE", key, minute), cmd("EXEC"))
	if err != nil {
		return err
	}
	return h.seen.answered(key, 1, replies[3].Elems[0])
}
