package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"quipu/connect/internal/ports"

	"github.com/redis/go-redis/v9"
)

// server is a node of Quipu, alone, with its default settings.
type server struct {
	*process
	addr   string
	dir    string
	client *redis.Client
}

func (l *lab) startQuipu(ctx context.Context) (*server, error) {
	port, err := ports.Keep()
	if err != nil {
		return nil, err
	}
	s := &server{addr: loopback(port)}
	if s.dir, err = os.MkdirTemp(l.work, "quipu-"); err != nil {
		return nil, err
	}
	if s.process, err = l.start("quipu", l.cfg.quipu, "server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", s.dir); err != nil {
		return nil, err
	}
	s.client = redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
	err = until(ctx, time.Minute, 5*time.Millisecond, func() (bool, error) {
		if err := s.alive(); err != nil {
			return false, err
		}
		return s.client.Ping(ctx).Err() == nil, nil
	})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close ends the server and removes its data.
func (s *server) close() {
	s.client.Close()
	s.kill()
	os.RemoveAll(s.dir)
}

const settings = `quipu %s

source %s
  kafka %s
  topic %s
  group %s
  INCR likes:{post_id}
`

// startConnector starts quipu-connect: it counts a topic as a source of its own, by one field.
func (l *lab) startConnector(s *server, source, topic string) (*process, error) {
	path := filepath.Join(l.work, source+".conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, settings, s.addr, source, l.broker.addr, topic, source), 0o600); err != nil {
		return nil, err
	}
	return l.start("quipu-connect", l.cfg.connect, "run", "-no-progress", path)
}

// counted is how far the partitions of a source are counted: the offset before the @ of "1004000@5 s0 c1004000".
func (s *server) counted(ctx context.Context, source string) (map[int32]int64, error) {
	rows, err := s.client.Do(ctx, "INGEST", "LIST", "MATCH", source+"/*").Slice()
	if err != nil {
		return nil, err
	}
	list := map[int32]int64{}
	for _, row := range rows {
		cells, ok := row.([]any)
		if !ok || len(cells) != 3 {
			return nil, fmt.Errorf("INGEST LIST answers %v", row)
		}
		number, err1 := strconv.ParseInt(strings.TrimPrefix(fmt.Sprint(cells[0]), source+"/"), 10, 32)
		place := fmt.Sprint(cells[2])
		if i := strings.IndexAny(place, "@ "); i >= 0 {
			place = place[:i]
		}
		offset, err2 := strconv.ParseInt(place, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		list[int32(number)] = offset
	}
	return list, nil
}

// behind is how many records of a source are not counted yet.
func (s *server) behind(ctx context.Context, source string, ends map[int32]int64) (n int64, err error) {
	counted, err := s.counted(ctx, source)
	for number, end := range ends {
		n += max(0, end-counted[number])
	}
	return n, err
}

// total adds up the counters of all posts.
func (s *server) total(ctx context.Context) (sum int64, err error) {
	keys := make([]string, posts)
	for i := range keys {
		keys[i] = fmt.Sprintf("likes:p%05d", 10_000+i)
	}
	values, err := s.client.MGet(ctx, keys...).Result()
	if err != nil {
		return 0, err
	}
	for i, v := range values {
		text, ok := v.(string)
		if !ok {
			continue // nobody likes it
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("counter %s is %q", keys[i], text)
		}
		sum += n
	}
	return sum, nil
}
