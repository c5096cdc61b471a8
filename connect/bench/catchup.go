package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// The contestants that read the same topic from its beginning to its end.
const (
	theConnector = "quipu-connect"
	theBare      = "bare consumer"
	theKcat      = "kcat to nothing"
	theStreams   = "Kafka Streams"
)

// Names of their figures.
func wallRate(contestant string) string { return "events/s, " + contestant }
func cpuRate(contestant string) string  { return "events per CPU-second, " + contestant }
func memory(contestant string) string   { return "most memory resident, MiB, " + contestant }

const (
	catchUpTopic = "likes-catch-up"
	catchUpLimit = 15 * time.Minute
)

// catchUp is the measurement of E1, E2 and E5.
type catchUp struct {
	*lab
	ends map[int32]int64
}

func (l *lab) measureCatchUp(ctx context.Context) error {
	if _, err := l.broker.createTopic(ctx, catchUpTopic); err != nil {
		return err
	}
	begin := time.Now()
	if err := l.broker.fill(ctx, catchUpTopic, l.cfg.events, l.cfg.keyed); err != nil {
		return fmt.Errorf("write the events: %w", err)
	}
	logf("%d events written in %.1f s", l.cfg.events, time.Since(begin).Seconds())
	c := &catchUp{lab: l}
	var err error
	if c.ends, err = ends(ctx, l.broker.admin, catchUpTopic); err != nil {
		return err
	}
	list := []contestant{{theConnector, c.connector}}
	if l.wants("E1") {
		list = append(list, contestant{theBare, c.bare})
	}
	if l.wants("E2") {
		if _, err := exec.LookPath("kcat"); err != nil {
			l.skip(theKcat, "there is no kcat")
		} else {
			list = append(list, contestant{theKcat, c.kcat})
		}
	}
	if l.wants("E5") {
		streams, err := l.prepareStreams(ctx)
		if err != nil {
			return err
		}
		if streams != nil {
			list = append(list, contestant{theStreams, streams.turn})
		}
	}
	if _, _, err := c.runBare(ctx); err != nil { // the broker is slow at first
		return err
	}
	if err := l.alternate(ctx, list); err != nil {
		return err
	}
	return l.broker.deleteTopics(ctx, catchUpTopic)
}

// skip takes note that a contestant cannot be measured here.
func (l *lab) skip(contestant, reason string) {
	l.skipped[contestant] = reason
	logf("without %s: %s", contestant, reason)
}

// add takes note of how fast the events were read, and what that took. The process has ended.
func (l *lab) add(contestant string, wall time.Duration, p *process) {
	l.figure(wallRate(contestant), float64(l.cfg.events)/wall.Seconds())
	l.figure(cpuRate(contestant), float64(l.cfg.events)/p.cpu().Seconds())
	l.figure(memory(contestant), p.resident())
}

// connector counts into a new server. The time ends when Quipu says that all is counted; the processors' time is that of the
// connector's whole life, with joining the group and leaving it.
func (c *catchUp) connector(ctx context.Context, round int) error {
	quipu, err := c.startQuipu(ctx)
	if err != nil {
		return err
	}
	defer quipu.close()
	source := fmt.Sprintf("catch-up-%d", round)
	begin := time.Now()
	p, err := c.startConnector(quipu, source, catchUpTopic)
	if err != nil {
		return err
	}
	defer p.kill()
	err = until(ctx, catchUpLimit, 10*time.Millisecond, func() (bool, error) {
		if err := p.alive(); err != nil {
			return false, err
		}
		n, err := quipu.behind(ctx, source, c.ends)
		return n == 0, err
	})
	if err != nil {
		return p.explain(err)
	}
	wall := time.Since(begin)
	if err := p.terminate(ctx); err != nil {
		return err
	}
	sum, err := quipu.total(ctx)
	if err != nil {
		return err
	}
	if sum != int64(c.cfg.events) {
		return fmt.Errorf("the counters add up to %d, but there are %d events", sum, c.cfg.events)
	}
	c.add(theConnector, wall, p)
	quipu.kill()
	c.figure(cpuRate("Quipu"), float64(c.cfg.events)/quipu.cpu().Seconds())
	return nil
}

func (c *catchUp) bare(ctx context.Context, _ int) error {
	wall, p, err := c.runBare(ctx)
	if err == nil {
		c.add(theBare, wall, p)
	}
	return err
}

func (c *catchUp) runBare(ctx context.Context) (wall time.Duration, p *process, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, nil, err
	}
	begin := time.Now()
	if p, err = c.start("bare", self, bareCommand, c.broker.addr, catchUpTopic); err != nil {
		return 0, nil, err
	}
	defer p.kill()
	if err := p.wait(ctx); err != nil {
		return 0, nil, err
	}
	wall = time.Since(begin)
	if wanted := fmt.Sprintf("counted %d", c.cfg.events); !strings.Contains(p.tail(), wanted) {
		return 0, nil, p.explain(fmt.Errorf("it has not %s", wanted))
	}
	return wall, p, nil
}

func (c *catchUp) kcat(ctx context.Context, _ int) error {
	begin := time.Now()
	p, err := c.startTo(false, "kcat", "kcat", "-C", "-e", "-q", "-o", "beginning", "-b", c.broker.addr, "-t", catchUpTopic)
	if err != nil {
		return err
	}
	defer p.kill()
	if err := p.wait(ctx); err != nil {
		return err
	}
	c.add(theKcat, time.Since(begin), p)
	return nil
}
