package watch

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"quipu/connect/quipu"
)

const sketchLimit = 3 * time.Second

// Sketches reads estimates: how many different users like some posts, and which posts are liked most; and how far
// each partition is counted.
type Sketches struct {
	client *quipu.Client
	source string
	top    string   // key of the Top-K sketch
	fans   []string // keys of HyperLogLogs

	mu    sync.Mutex
	sizes map[string]int64 // of fans
	best  []Ranked
	done  map[int32]int64
}

// Ranked is a post with its likes, as the Top-K sketch has them and as the counter has them.
type Ranked struct {
	Post            string
	Estimate, Exact int64
}

// NewSketches reads from the nodes that client knows.
func NewSketches(client *quipu.Client, source, top string, fans []string) *Sketches {
	return &Sketches{client: client, source: source, top: top, fans: fans, sizes: map[string]int64{}, done: map[int32]int64{}}
}

// Reserve makes the Top-K sketch for the best k, which has to exist before anything is counted.
func (s *Sketches) Reserve(ctx context.Context, k int) error {
	for {
		_, err := s.client.Do(ctx, "TOPK.RESERVE", s.top, k)
		if err == nil || strings.Contains(err.Error(), "exists") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("make the sketch %s: %w", s.top, err)
		case <-time.After(againPause):
		}
	}
}

// Fans is the estimate of one of the HyperLogLogs.
func (s *Sketches) Fans(key string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes[key]
}

// Top are the posts that are liked most, the best first.
func (s *Sketches) Top() []Ranked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.best
}

// Done is the offset behind the last counted record, by partition.
func (s *Sketches) Done() map[int32]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// Read reads everything once. It reports whether a node answered; if not, everything stays as it was.
func (s *Sketches) Read(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, sketchLimit)
	defer cancel()
	sizes := map[string]int64{}
	for _, key := range s.fans {
		reply, err := s.client.Do(ctx, "PFCOUNT", key)
		n, isNumber := reply.(int64)
		if err != nil || !isNumber {
			return false
		}
		sizes[key] = n
	}
	reply, err := s.client.Do(ctx, "TOPK.LIST", s.top, "WITHCOUNT")
	if err != nil {
		return false
	}
	best := ranked(reply)
	if !s.count(ctx, best) {
		return false
	}
	done := map[int32]int64{}
	list, err := s.client.List(ctx, s.source+"/*", nil)
	if err != nil {
		return false
	}
	for _, p := range list {
		partition, place, ok := place(p)
		if ok {
			done[partition] = place
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes, s.best, s.done = sizes, best, done
	return true
}

// count fills in the counters.
func (s *Sketches) count(ctx context.Context, list []Ranked) bool {
	if len(list) == 0 {
		return true
	}
	command := []any{"MGET"}
	for _, r := range list {
		command = append(command, "likes:"+r.Post)
	}
	reply, err := s.client.Do(ctx, command...)
	values, isList := reply.([]any)
	if err != nil || !isList || len(values) != len(list) {
		return false
	}
	for i, v := range values {
		text, _ := v.(string)
		if list[i].Exact, err = strconv.ParseInt(text, 10, 64); err != nil {
			return false
		}
	}
	return true
}

// ranked reads the answer of TOPK.LIST WITHCOUNT: item, count, item, count.
func ranked(reply any) (list []Ranked) {
	words, _ := reply.([]any)
	for i := 0; i+1 < len(words); i += 2 {
		n, isNumber := words[i+1].(int64)
		if post := fmt.Sprint(words[i]); isNumber {
			list = append(list, Ranked{Post: post, Estimate: n})
		}
	}
	return list
}

// place is the partition that a stored position is of, and its offset: "likes/3" and "1004000@5 s0 c1004000".
func place(p quipu.Stored) (partition int32, offset int64, ok bool) {
	_, digits, _ := strings.Cut(p.Name, "/")
	number, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return 0, 0, false
	}
	at, _, _ := strings.Cut(p.Position, " ")
	at, _, _ = strings.Cut(at, "@")
	offset, err = strconv.ParseInt(at, 10, 64)
	return int32(number), offset, err == nil
}
