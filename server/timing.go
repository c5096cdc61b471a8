package server

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"quipu/commands"
	"quipu/config"
	"quipu/exec"
)

// How long commands take. Redis reads the clock before and behind each one, which here would cost as much as the command. So
// package exec times what may take long, and of the short commands some (exec/timer.go); a mean of these is what the others are
// said to have taken. Once a second, and whenever somebody asks, the times of the calls since the last time are settled.
//
// A time is that of execution, as in Redis: neither the wait for the log nor the sockets are in it. The wait for locks is.

// timings are the times of all commands.
type timings struct {
	mu       sync.Mutex // guards the rest; eventLoops.mu may be taken under it
	tracking bool       // histograms are kept
	of       []commandTime
}

// commandTime is the time of one command.
type commandTime struct {
	total   float64 // ns of all calls that are settled
	settled int64   // calls in total
	hist    *timeHistogram
	mean    float64 // ns, of the last that were sampled; 0: none was

	// Since the last time: the samples, which stand for the calls that were not timed.
	samples int64
	ns      int64
	drawn   *timeHistogram
}

// closeLookBelow is the threshold of the slow log below which the time of a turn does not tell any more whether a command was slow.
const closeLookBelow = time.Millisecond

// startTiming is called before anything is executed.
func (srv *Server) startTiming() {
	began := time.Now()
	srv.meter.Clock = func() int64 { return int64(time.Since(began)) }
	srv.meter.Took = srv.took
	srv.meter.Entry = func(ns int64) { srv.tookLong(logEntryEvent, ns) }
	srv.times.of = make([]commandTime, len(srv.table.All()))
	srv.setTiming(srv.config())
	srv.setHotKeys(srv.config())
}

// setTiming has the settings take effect.
func (srv *Server) setTiming(cfg *config.Config) {
	srv.times.mu.Lock()
	srv.times.tracking = cfg.LatencyTracking
	srv.times.mu.Unlock()
	log := time.Duration(min(cfg.SlowerThan, int64(time.Hour/time.Microsecond))) * time.Microsecond
	latency := time.Duration(min(cfg.LatencyThreshold, int64(time.Hour/time.Millisecond))) * time.Millisecond
	srv.meter.All.Store(log >= 0 && log < closeLookBelow)
	slow := latency
	if log >= closeLookBelow && (slow == 0 || log < slow) {
		slow = log
	}
	srv.meter.Slow.Store(int64(slow))
	srv.slow.limit(cfg.SlowLogMax)
}

// took implements exec.Meter.Took.
func (srv *Server) took(d exec.Timed) {
	cmd := srv.namedAs(d.Cmd)
	each := d.NS / int64(d.Count)
	srv.times.add(cmd.ID(), d.NS, int64(d.Count), d.Sampled || d.Replay || d.Client == nil)
	if d.Replay {
		return
	}
	cfg := srv.config()
	if ms := each / int64(time.Millisecond); cfg.LatencyThreshold > 0 && ms >= cfg.LatencyThreshold {
		event := commandEvent
		if cmd.Flags&commands.FlagFast != 0 {
			event = fastCommandEvent
		}
		srv.latency.add(event, time.Now(), ms)
	}
	if usec := each / int64(time.Microsecond); cfg.SlowerThan >= 0 && usec >= cfg.SlowerThan && cmd.Flags&commands.FlagSkipSlowlog == 0 {
		srv.logSlow(cmd, &d, usec)
	}
}

// tookTask is took for a command of a session that the task pool has executed.
func (srv *Server) tookTask(s *Session, cmd *commands.Command, args [][]byte, start int64) {
	srv.took(exec.Timed{Cmd: cmd, Args: args, Client: s, Count: 1, NS: srv.meter.Clock() - start})
}

// sentAs are the commands of users by what they are in the log.
var sentAs = map[string]string{"user-set": "acl|setuser", "user-delete": "acl|deluser", "user-replace": "acl|load"}

// namedAs is the command that a client has sent for one that it cannot name.
func (srv *Server) namedAs(cmd *commands.Command) *commands.Command {
	if cmd.ID() >= 0 {
		return cmd
	}
	if as := srv.table.LookupFull([]byte(sentAs[cmd.Name])); as != nil {
		return as
	}
	return srv.table.Lookup([]byte("region"))
}

// tookLong notes that a turn or an entry took long.
func (srv *Server) tookLong(event string, ns int64) {
	ms, threshold := ns/int64(time.Millisecond), srv.config().LatencyThreshold
	if threshold > 0 && ms >= threshold && srv.isReady() {
		srv.latency.add(event, time.Now(), ms)
	}
}

// add takes into account that count calls of a command, above 0, took ns together.
func (t *timings) add(id int, ns, count int64, sampled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, each := &t.of[id], ns/count
	if !sampled {
		c.total += float64(ns)
		c.settled += count
		if t.tracking {
			c.histogram().add(each, count)
		}
		return
	}
	c.samples += count
	c.ns += ns
	if c.drawn == nil {
		c.drawn = &timeHistogram{}
	}
	c.drawn.add(each, count)
}

func (c *commandTime) histogram() *timeHistogram {
	if c.hist == nil {
		c.hist = &timeHistogram{}
	}
	return c.hist
}

// settleTimes gives the calls that were not timed their times. Those of commands of which none was timed yet wait.
func (srv *Server) settleTimes() {
	t := &srv.times
	t.mu.Lock()
	defer t.mu.Unlock()
	calls := srv.commandCalls() // under the lock: sums from before CONFIG RESETSTAT would be settled a second time behind it
	increments := &t.of[srv.table.Lookup([]byte("incr")).ID()]
	for id, cmd := range srv.table.All() {
		from := &t.of[id]
		if cmd.Delta != nil {
			from = increments // see exec.Runner
		}
		t.of[id].settle(calls[id], from, t.tracking)
	}
	for i := range t.of {
		t.of[i].forgetSamples()
	}
}

// settle gives the calls that have come since their times, which are like the samples of from.
func (c *commandTime) settle(calls int64, from *commandTime, tracking bool) {
	n, mean := calls-c.settled, from.latestMean()
	if n <= 0 || mean == 0 {
		return
	}
	c.settled = calls
	c.total += float64(n) * mean
	switch {
	case !tracking:
	case from.samples > 0:
		c.histogram().addLike(from.drawn, n)
	default:
		c.histogram().add(int64(mean), n)
	}
}

// latestMean is that of the samples in ns, or of the last ones that there were; 0: there were none. What a coarse clock has measured as
// nothing took 1 ns, so that it is a mean.
func (c *commandTime) latestMean() float64 {
	if c.samples == 0 {
		return c.mean
	}
	return max(float64(c.ns)/float64(c.samples), 1)
}

// forgetSamples keeps only the mean of the samples.
func (c *commandTime) forgetSamples() {
	if c.samples == 0 {
		return
	}
	c.mean = c.latestMean()
	c.samples, c.ns = 0, 0
	*c.drawn = timeHistogram{}
}

// resetTimes is CONFIG RESETSTAT for the calls of commands and their times.
func (srv *Server) resetTimes() {
	srv.settleTimes()
	srv.times.mu.Lock()
	defer srv.times.mu.Unlock()
	srv.resetCalls()
	for i := range srv.times.of {
		c := &srv.times.of[i]
		c.total, c.settled, c.hist = 0, 0, nil
	}
}

// usec is how many microseconds all calls of a command took that are settled.
func (t *timings) usec(id int) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(t.of[id].total) / int64(time.Microsecond)
}

// read calls fn with the times of a command, unless there are none.
func (t *timings) read(id int, fn func(h *timeHistogram)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.of[id].hist; h != nil {
		fn(h)
	}
}

func infoLatencyStats(srv *Server, p *infoPrinter) {
	cfg := srv.config()
	if !cfg.LatencyTracking {
		return
	}
	srv.settleTimes()
	for id, cmd := range srv.table.All() {
		srv.times.read(id, func(h *timeHistogram) {
			list := make([]string, len(cfg.LatencyPercentiles))
			for i, percent := range cfg.LatencyPercentiles {
				list[i] = fmt.Sprintf("p%s=%.3f", config.FormatPercentile(percent), float64(h.percentile(percent))/1000)
			}
			p.line("latency_percentiles_usec_"+cmd.FullName(), strings.Join(list, ","))
		})
	}
}
