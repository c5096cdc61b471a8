package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// E4: what is left for clients while events flow in.
const (
	clientsRate  = 200_000 // events/s
	clientsTopic = "likes-clients"
	clientsKeys  = 100_000
	clientsFirst = 200_000 // requests that tell how many fill a run; most keys exist then
)

// place is where the processes of E4 run.
type place string

const (
	together place = "same processors"
	apart    place = "processors of their own" // Quipu and its clients; the others have the other half
)

// Names of the figures.
func clientsAlone(at place) string { return "clients' requests/s, no events, " + string(at) }
func clientsUnread(at place) string {
	return "clients' requests/s, events only produced, " + string(at)
}
func clientsBeside(at place) string {
	return "clients' requests/s, events produced and counted, " + string(at)
}

// clients is the measurement of E4. The connector runs all the time; only what is written to its topic differs. A second topic, which
// nobody reads, tells how much the broker alone takes away.
//
// It is measured twice: with everything on the same processors, where broker, producer and connector take away what the server and
// its clients would use, and with those two on processors of their own, as if the others were on another machine.
type clients struct {
	*lab
	at        place
	topic     string
	quipu     *server
	connector *process
	requests  int
	topics    map[string]kadm.TopicID
}

func (l *lab) measureClients(ctx context.Context) error {
	if _, err := exec.LookPath("redis-benchmark"); err != nil {
		l.skip(clientsAlone(together), "there is no redis-benchmark")
		l.skip(clientsAlone(apart), "there is no redis-benchmark")
		return nil
	}
	if err := l.clientsAt(ctx, together); err != nil {
		return err
	}
	if _, err := exec.LookPath("taskset"); err != nil || runtime.NumCPU() < 2 {
		l.skip(clientsAlone(apart), "that needs taskset and 2 processors")
		return nil
	}
	defer bind(ctx, l.broker.process, 0, runtime.NumCPU()) //nolint:errcheck // it ends soon
	return l.clientsAt(ctx, apart)
}

func (l *lab) clientsAt(ctx context.Context, at place) error {
	c := &clients{lab: l, at: at, topic: clientsTopic, topics: map[string]kadm.TopicID{}}
	if at == apart {
		c.topic += "-apart"
	}
	for _, topic := range []string{c.topic, c.topic + "-unread"} {
		id, err := l.broker.createTopic(ctx, topic)
		if err != nil {
			return err
		}
		c.topics[topic] = id
	}
	var err error
	if c.quipu, err = l.startQuipu(ctx); err != nil {
		return err
	}
	defer c.quipu.close()
	if c.connector, err = l.startConnector(c.quipu, c.topic, c.topic); err != nil {
		return err
	}
	defer c.connector.kill()
	if at == apart {
		half := runtime.NumCPU() / 2
		err := errors.Join(bind(ctx, c.quipu.process, 0, half), bind(ctx, c.connector, half, runtime.NumCPU()),
			bind(ctx, l.broker.process, half, runtime.NumCPU()))
		if err != nil {
			return err
		}
	}
	if err := c.learn(ctx); err != nil {
		return err
	}
	err = l.alternate(ctx, []contestant{{clientsAlone(at), c.alone}, {clientsUnread(at), c.unread}, {clientsBeside(at), c.beside}})
	if err != nil {
		return errors.Join(err, c.connector.alive())
	}
	return l.broker.deleteTopics(ctx, c.topic)
}

// bind has a process run on some processors, with all its threads.
func bind(ctx context.Context, p *process, from, to int) error {
	return command(ctx, "taskset", "-acp", fmt.Sprintf("%d-%d", from, to-1), strconv.Itoa(p.cmd.Process.Pid))
}

// learn finds how many requests fill a run.
func (c *clients) learn(ctx context.Context) error {
	c.requests = clientsFirst
	rate, err := c.load(ctx)
	c.requests = max(clientsFirst, int(rate*c.cfg.seconds/4))
	return err
}

// load is a run of redis-benchmark: increments of random counters by 50 clients, each with 16 on their way.
func (c *clients) load(ctx context.Context) (rate float64, err error) {
	_, port, _ := strings.Cut(c.quipu.addr, ":")
	line := []string{"redis-benchmark", "-h", "127.0.0.1", "-p", port, "--csv", "-c", "50", "-P", "16",
		"-n", strconv.Itoa(c.requests), "-r", strconv.Itoa(clientsKeys), "INCR", "key:__rand_int__"}
	if c.at == apart {
		line = append([]string{"taskset", "-c", fmt.Sprintf("0-%d", runtime.NumCPU()/2-1)}, line...)
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.SysProcAttr = sysProcAttr()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("redis-benchmark: %w: %s", err, stderr.String())
	}
	rows, err := csv.NewReader(&stdout).ReadAll()
	if err != nil || len(rows) != 2 {
		return 0, fmt.Errorf("redis-benchmark: %v, %w", rows, err)
	}
	column := slices.Index(rows[0], "rps")
	if column < 0 || column >= len(rows[1]) {
		return 0, fmt.Errorf("redis-benchmark: no column rps in %q", rows)
	}
	return strconv.ParseFloat(rows[1][column], 64)
}

func (c *clients) alone(ctx context.Context, _ int) error {
	rate, err := c.load(ctx)
	if err == nil {
		c.figure(clientsAlone(c.at), rate)
	}
	return err
}

func (c *clients) unread(ctx context.Context, _ int) error {
	topic := c.topic + "-unread"
	events, err := c.broker.startFlow(ctx, topic, c.topics[topic], clientsRate)
	if err != nil {
		return err
	}
	defer events.stop()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	rate, err := c.load(ctx)
	if err := errors.Join(err, events.end()); err != nil {
		return err
	}
	c.figure(clientsUnread(c.at), rate)
	return nil
}

func (c *clients) beside(ctx context.Context, _ int) error {
	events, err := c.broker.startFlow(ctx, c.topic, c.topics[c.topic], clientsRate)
	if err != nil {
		return err
	}
	defer events.stop()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	before, err := c.look(ctx, events)
	if err != nil {
		return err
	}
	rate, err := c.load(ctx)
	if err != nil {
		return err
	}
	after, err := c.look(ctx, events)
	if err := errors.Join(err, events.end()); err != nil {
		return err
	}
	c.figure(clientsBeside(c.at), rate)
	c.tell(before, after)
	at, err := ends(ctx, c.broker.admin, c.topic)
	if err != nil {
		return err
	}
	return until(ctx, time.Minute, 20*time.Millisecond, func() (bool, error) { // nothing is left for the next turn
		n, err := c.quipu.behind(ctx, c.topic, at)
		return n == 0, err
	})
}

// moment is how far everything is.
type moment struct {
	at                time.Time
	produced, counted int64
	used              []time.Duration // by Quipu, the connector, the broker
}

func (c *clients) look(ctx context.Context, events *flow) (m moment, err error) {
	list, err := c.quipu.counted(ctx, c.topic)
	for _, n := range list {
		m.counted += n
	}
	m.at, m.produced = time.Now(), events.sent.Load()
	for _, p := range []*process{c.quipu.process, c.connector, c.broker.process} {
		m.used = append(m.used, p.used())
	}
	return m, err
}

// tell leaves figures of what happened between two moments while clients ran.
func (c *clients) tell(from, to moment) {
	seconds := to.at.Sub(from.at).Seconds()
	produced, counted := float64(to.produced-from.produced)/seconds, float64(to.counted-from.counted)/seconds
	c.figure("events/s counted beside clients, "+string(c.at), counted)
	for i, name := range []string{"Quipu", "the connector", "the broker"} {
		c.figure("processors used by "+name+" then, "+string(c.at), (to.used[i]-from.used[i]).Seconds()/seconds)
	}
	if produced < 0.95*clientsRate || counted < 0.95*clientsRate {
		c.warn("E4, %s: of %s events/s, %s were produced and %s counted while the clients ran", c.at, number(clientsRate), number(produced), number(counted))
	}
}
