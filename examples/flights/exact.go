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

// exactCounts counts the first limit records (0: all) in a map, without the
// code the producer uses: columns by number, lines split at commas. The keys
// are the server's.
func exactCounts(r io.Reader, limit int) (counts map[string]int64, records int, err error) {
	counts = map[string]int64{}
	lines := bufio.NewScanner(r)
	lines.Scan() // names of the columns
	for lines.Scan() && (limit == 0 || records < limit) {
		// date,delay_minutes,distance_miles,origin,destination
		c := strings.Split(lines.Text(), ",")
		if len(c) != 5 {
			return nil, 0, fmt.Errorf("record %d has %d columns", records+1, len(c))
		}
		minutes, err := strconv.Atoi(c[1])
		if err != nil {
			return nil, 0, fmt.Errorf("record %d: %w", records+1, err)
		}
		counts["flights:origin:"+c[3]]++
		counts["flights:route:"+c[3]+"-"+c[4]]++
		counts["flights:delay:"+c[3]] += int64(minutes)
		records++
	}
	return counts, records, lines.Err()
}

// compare checks that the server's keys are exactly those of want, with the
// same counts, and that the position is at the end.
func compare(ctx context.Context, client *redis.Client, want map[string]int64, records int) error {
	got, err := readCounts(ctx, client, "flights:*")
	if err != nil {
		return err
	}
	if got[positionKey] != int64(records) {
		return fmt.Errorf("position is %d, not %d", got[positionKey], records)
	}
	delete(got, positionKey)
	var wrong []string
	for key, n := range want {
		if g, ok := got[key]; !ok || g != n {
			wrong = append(wrong, fmt.Sprintf("%s is %d, exactly %d", key, g, n))
		}
	}
	for key, n := range got {
		if _, ok := want[key]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s is %d and should not exist", key, n))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return fmt.Errorf("%d of %d counts are wrong:\n  %s", len(wrong), len(want),
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
