package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/connect/internal/ports"
)

// E6 and E7: a sink.
const (
	sinkRows   = 300_000 // E7: keys that change before the sink is started
	behindRate = 50_000  // E6: keys that change each second,
	behindKeys = 500_000 // one after the other of so many
	probeKey   = "likes:probe"
	behindLook = 10 * time.Millisecond
)

// Names of the figures.
const (
	behindP50  = "behind in SQLite at 50,000 changed keys/s, s, p50"
	behindP99  = "behind in SQLite at 50,000 changed keys/s, s, p99"
	behindMax  = "behind in SQLite at 50,000 changed keys/s, s, max"
	behindFlow = "keys changed a second beside the sink"
)

func sinkRate(database string) string { return "rows/s, sink into " + database }
func bareRate(database string) string { return "rows/s, bare upsert loop into " + database }

const (
	theSQLite   = "SQLite"
	thePostgres = "PostgreSQL"
)

// startSink starts quipu-connect with one sink, and returns where its metrics are.
func (l *lab) startSink(s *server, url string) (p *process, metrics string, err error) {
	port, err := ports.Keep()
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(l.work, fmt.Sprintf("sink-%d.conf", port))
	text := fmt.Sprintf("quipu %s\nhttp %s\nsink totals\n  match likes:*\n  sql %s\n", s.addr, loopback(port), url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	p, err = l.start("quipu-connect", l.cfg.connect, "run", "-no-progress", path)
	return p, "http://" + loopback(port) + "/metrics", err
}

// metric is a figure of the sink; 0 where there is none yet.
func metric(ctx context.Context, url, name string) float64 {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer reply.Body.Close()
	for in := bufio.NewScanner(reply.Body); in.Scan(); {
		if text, ok := strings.CutPrefix(in.Text(), name+`{sink="totals"} `); ok {
			v, _ := strconv.ParseFloat(text, 64)
			return v
		}
	}
	return 0
}

// changeAll increments keys, by pipelines.
func (s *server) changeAll(ctx context.Context, keys int) error {
	const some = 5000
	for from := 0; from < keys; from += some {
		p := s.client.Pipeline()
		for i := from; i < min(from+some, keys); i++ {
			p.Incr(ctx, sinkKey(i))
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measureSink is E7: rows that are there already get new values, by a sink that reads them from the feed, and by a loop that makes them
// up. A turn of the sink begins with its first transaction, so that neither its start nor that it waits for the sink counts.
func (l *lab) measureSink(ctx context.Context) error {
	quipu, err := l.startQuipu(ctx)
	if err != nil {
		return err
	}
	defer quipu.close()
	var list []contestant
	add := func(name, url string) error {
		if err := bareSQL(ctx, url, sinkRows, 0); err != nil {
			return err
		}
		value := int64(0)
		list = append(list,
			contestant{"sink into " + name, func(ctx context.Context, _ int) error { return l.sinkTurn(ctx, quipu, name, url) }},
			contestant{"bare loop into " + name, func(ctx context.Context, _ int) error {
				value++
				begun := time.Now()
				err := bareSQL(ctx, url, sinkRows, value)
				l.figure(bareRate(name), sinkRows/time.Since(begun).Seconds())
				return err
			}})
		if err := quipu.changeAll(ctx, sinkRows); err != nil {
			return err
		}
		return l.fillBySink(ctx, quipu, url)
	}
	if err := add(theSQLite, "sqlite:"+filepath.Join(l.work, "rate.db")); err != nil {
		return err
	}
	p, url, err := l.startPostgres(ctx)
	switch {
	case errors.Is(err, errNoPostgres):
		l.skip(sinkRate(thePostgres), err.Error())
	case err != nil:
		return err
	default:
		defer p.kill()
		if err := add(thePostgres, url); err != nil {
			return err
		}
	}
	return l.alternate(ctx, list)
}

// fillBySink has the table of the sink filled, so that all turns change rows that are there.
func (l *lab) fillBySink(ctx context.Context, quipu *server, url string) error {
	p, metrics, err := l.startSink(quipu, url)
	if err != nil {
		return err
	}
	defer p.kill()
	if _, err := l.awaitRows(ctx, p, metrics, sinkRows); err != nil {
		return err
	}
	return p.terminate(ctx)
}

// awaitRows waits until a sink has written so many rows, and returns how fast it was from its first transaction on.
func (l *lab) awaitRows(ctx context.Context, p *process, metrics string, rows float64) (rate float64, err error) {
	var first, now float64
	var begun time.Time
	err = until(ctx, catchUpLimit, behindLook, func() (bool, error) {
		if err := p.alive(); err != nil {
			return false, err
		}
		if now = metric(ctx, metrics, "quipu_connect_sink_rows_total"); first == 0 && now > 0 {
			first, begun = now, time.Now()
		}
		return now >= rows, nil
	})
	if err != nil {
		return 0, p.explain(err)
	}
	return (now - first) / time.Since(begun).Seconds(), nil
}

func (l *lab) sinkTurn(ctx context.Context, quipu *server, name, url string) error {
	if err := quipu.changeAll(ctx, sinkRows); err != nil {
		return err
	}
	p, metrics, err := l.startSink(quipu, url)
	if err != nil {
		return err
	}
	defer p.kill()
	rate, err := l.awaitRows(ctx, p, metrics, sinkRows)
	if err != nil {
		return err
	}
	l.figure(sinkRate(name), rate)
	return p.terminate(ctx)
}

// measureBehind is E6: a key among those that change says the time, and what SQLite has of it says how far behind it is.
func (l *lab) measureBehind(ctx context.Context) error {
	quipu, err := l.startQuipu(ctx)
	if err != nil {
		return err
	}
	defer quipu.close()
	if err := quipu.changeAll(ctx, behindKeys); err != nil {
		return err
	}
	path := filepath.Join(l.work, "behind.db")
	p, metrics, err := l.startSink(quipu, "sqlite:"+path)
	if err != nil {
		return err
	}
	defer p.kill()
	if _, err := l.awaitRows(ctx, p, metrics, behindKeys); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		return err
	}
	defer db.Close()
	for range l.cfg.rounds {
		if err := l.behindRound(ctx, quipu, db); err != nil {
			return p.explain(err)
		}
	}
	return p.terminate(ctx)
}

func (l *lab) behindRound(ctx context.Context, quipu *server, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(l.cfg.seconds*float64(time.Second)))
	defer cancel()
	flow := make(chan error, 1)
	sent, begun := 0, time.Now()
	go func() { flow <- quipu.flow(ctx, &sent) }()
	var behind []float64
	for pause(ctx, behindLook) == nil {
		var at int64
		err := db.QueryRowContext(ctx, "SELECT value FROM quipu_current WHERE key = ?", probeKey).Scan(&at)
		if err == nil && time.Since(begun) > 2*time.Second { // it is of this round
			behind = append(behind, time.Since(time.UnixMicro(at)).Seconds())
		}
	}
	err := <-flow
	if err != nil && ctx.Err() == nil {
		return err
	}
	if len(behind) == 0 {
		return errors.New("nothing of the round is in the database")
	}
	rate := float64(sent) / time.Since(begun).Seconds()
	if rate < 0.95*behindRate {
		l.warn("E6: only %s of %s keys/s could be changed", number(rate), number(behindRate))
	}
	slices.Sort(behind)
	at := func(q float64) float64 { return behind[int(q*float64(len(behind)-1))] }
	l.figure(behindP50, at(0.5))
	l.figure(behindP99, at(0.99))
	l.figure(behindMax, at(1))
	l.figure(behindFlow, rate)
	return nil
}

// flow changes one key after the other at the rate of E6, and the time in the probe's key with each pipeline, until ctx is done.
func (s *server) flow(ctx context.Context, sent *int) error {
	const some = behindRate / 100
	for next, at := time.Now(), 0; ; next = next.Add(10 * time.Millisecond) {
		if err := pause(ctx, time.Until(next)); err != nil {
			return nil
		}
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for range some {
				p.Incr(ctx, sinkKey(at%behindKeys))
				at++
			}
			p.Set(ctx, probeKey, time.Now().UnixMicro(), 0)
			return nil
		})
		if err != nil {
			return err
		}
		*sent += some
	}
}
