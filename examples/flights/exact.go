package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// exact is what a server should have counted.
type exact struct {
	records    int
	counts     map[string]int64    // by the server's key
	originDays map[string]struct{} // airports that flights left from, by day
	late       map[string]int64    // minutes by route, without the flights that were early
}

func (e *exact) routes() (n int64) {
	for key := range e.counts {
		if strings.HasPrefix(key, routePrefix) {
			n++
		}
	}
	return n
}

func (e *exact) allLate() (sum int64) {
	for _, minutes := range e.late {
		sum += minutes
	}
	return sum
}

// exactCounts counts the first limit records (0: all) in maps, without the code
// the producer uses: columns by number, lines split at commas.
func exactCounts(r io.Reader, limit int) (*exact, error) {
	e := &exact{counts: map[string]int64{}, originDays: map[string]struct{}{}, late: map[string]int64{}}
	lines := bufio.NewScanner(r)
	lines.Scan() // names of the columns
	for lines.Scan() && (limit == 0 || e.records < limit) {
		// date,delay_minutes,distance_miles,origin,destination
		c := strings.Split(lines.Text(), ",")
		if len(c) != 5 {
			return nil, fmt.Errorf("record %d has %d columns", e.records+1, len(c))
		}
		minutes, err := strconv.Atoi(c[1])
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", e.records+1, err)
		}
		route := c[3] + "-" + c[4]
		e.counts["flights:origin:"+c[3]]++
		e.counts["flights:route:"+route]++
		e.counts["flights:delay:"+c[3]] += int64(minutes)
		e.originDays[c[3]+c[0][:min(len(c[0]), len("2001/01/31"))]] = struct{}{}
		e.late[route] += int64(max(minutes, 0))
		e.records++
	}
	return e, lines.Err()
}

// exactly counts the flights the options ask for.
func exactly(opt options) (*exact, error) {
	file, err := openFlights(opt.file)
	if err != nil {
		return nil, err
	}
	return exactCounts(file, opt.limit)
}

// compare checks that the server's keys are exactly those of want, with the
// same counts, and the position; 0: none is stored.
func compare(ctx context.Context, client *redis.Client, want *exact, position int) error {
	got, err := readCounts(ctx, client, "flights:*")
	if err != nil {
		return err
	}
	if got[positionKey] != int64(position) {
		return fmt.Errorf("position is %d, not %d", got[positionKey], position)
	}
	delete(got, positionKey)
	var wrong []string
	for key, n := range want.counts {
		if g, ok := got[key]; !ok || g != n {
			wrong = append(wrong, fmt.Sprintf("%s is %d, exactly %d", key, g, n))
		}
	}
	for key, n := range got {
		if _, ok := want.counts[key]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s is %d and should not exist", key, n))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return fmt.Errorf("%d of %d counts are wrong:\n  %s", len(wrong), len(want.counts),
			strings.Join(wrong[:min(len(wrong), 20)], "\n  "))
	}
	return nil
}

// readCounts reads every integer whose key matches pattern.
func readCounts(ctx context.Context, client *redis.Client, pattern string) (map[string]int64, error) {
	found := map[string]struct{}{} // SCAN may name a key twice
	keys := client.Scan(ctx, 0, pattern, 1000).Iterator()
	for keys.Next(ctx) {
		if keys.Val() != producerKey {
			found[keys.Val()] = struct{}{}
		}
	}
	if err := keys.Err(); err != nil {
		return nil, fmt.Errorf("SCAN: %w", err)
	}
	counts := make(map[string]int64, len(found))
	for names := range slices.Chunk(slices.Collect(maps.Keys(found)), 500) {
		values, err := client.MGet(ctx, names...).Result()
		if err != nil {
			return nil, fmt.Errorf("MGET: %w", err)
		}
		for i, v := range values {
			text, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("%s has no value", names[i])
			}
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", names[i], err)
			}
			counts[names[i]] = n
		}
	}
	return counts, nil
}
