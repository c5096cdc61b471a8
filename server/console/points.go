package console

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// point is a second of the plots. Times are in µs; nil: nothing was called.
type point struct {
	At       int64    `json:"at"`       // ms since 1970
	Requests int64    `json:"requests"` // instantaneous_ops_per_sec
	Mean     *float64 `json:"mean"`
	P99      *int64   `json:"p99"` // 99 of 100 calls took no longer; the bounds double
}

// totals are sums since the node's start, of which two make a point.
type totals struct {
	known       bool
	calls, usec int64
	up          map[int64]int64 // calls by the bound of their time
}

// unusual are commands that say little about how clients fare: those of operators, the console's own among them, and those that wait.
var unusual = map[string]bool{
	"info": true, "latency": true, "acl": true, "client": true, "config": true, "cluster": true, "slowlog": true, "memory": true, "hello": true, "hotkeys": true,
	"ingest|list": true, "feed": true, "backup": true, "region": true, "wait": true, "waitaof": true, "bgsave": true, "save": true, "keys": true,
}

func isUsual(command string) bool {
	name, _, _ := strings.Cut(command, "|")
	return !unusual[name] && !unusual[command]
}

// addPoint makes a point of what was called since the last one.
func (v *view) addPoint(now time.Time, info map[string]string, times *reply) {
	p := point{At: now.UnixMilli()}
	p.Requests, _ = strconv.ParseInt(info["instantaneous_ops_per_sec"], 10, 64)
	next := totals{known: true, up: callsByTime(times)}
	for name, value := range info {
		command, ok := strings.CutPrefix(name, "cmdstat_")
		if ok && isUsual(command) {
			next.calls += field(value, "calls")
			next.usec += field(value, "usec")
		}
	}
	last := v.before
	if calls := next.calls - last.calls; last.known && calls > 0 && next.usec >= last.usec {
		mean := math.Round(float64(next.usec-last.usec)/float64(calls)*100) / 100
		p.Mean = &mean
		p.P99 = percentile(last.up, next.up)
	}
	v.before = next
	v.points = append(v.points, p)
	if len(v.points) > keptPoints {
		v.points = slices.Delete(v.points, 0, 1)
	}
}

// field is a number in "a=1,b=2".
func field(text, name string) int64 {
	for part := range strings.SplitSeq(text, ",") {
		if value, ok := strings.CutPrefix(part, name+"="); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// callsByTime adds up the reply of LATENCY HISTOGRAM: by bound in µs how many calls took that long, and longer than the bound before.
func callsByTime(r *reply) map[int64]int64 {
	sums := map[int64]int64{}
	for i := 0; i+1 < len(r.Elems); i += 2 {
		of := r.Elems[i+1].Elems // calls, n, histogram_usec, list
		if !isUsual(string(r.Elems[i].Text)) || len(of) < 4 {
			continue
		}
		below := int64(0)
		for rows := of[3].Elems; len(rows) > 1; rows = rows[2:] {
			upTo := rows[1].int()
			sums[rows[0].int()] += upTo - below
			below = upTo
		}
	}
	return sums
}

// percentile is the bound that 99 of 100 calls between two sums did not exceed; nil: it is not known.
func percentile(last, next map[int64]int64) *int64 {
	total := int64(0)
	for bound, n := range next {
		if n -= last[bound]; n < 0 {
			return nil // the sums were reset
		}
		total += next[bound] - last[bound]
	}
	if total == 0 {
		return nil
	}
	left := total
	for _, bound := range slices.Backward(slices.Sorted(maps.Keys(next))) {
		if left -= next[bound] - last[bound]; left*100 < total*99 {
			return &bound
		}
	}
	return nil
}
