package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/quipu"
	"quipu/connect/sink"
)

// running is the command run.
type running struct {
	*Program
	path     string
	instance string
	untilEnd bool
	quiet    bool
	log      *slog.Logger
	metrics  *metrics
}

const restartTime = time.Second // before a source that ended is run again

func (p *Program) run(ctx context.Context, args []string) error {
	r := &running{Program: p, log: p.logger(), metrics: newMetrics()}
	words, err := p.parse(args, 1, 1, func(f *flag.FlagSet) {
		f.StringVar(&r.instance, "instance", "", "")
		f.BoolVar(&r.untilEnd, "until-end", false, "")
		f.BoolVar(&r.quiet, "no-progress", false, "")
	})
	if err != nil {
		return err
	}
	spendMemory()
	r.path = words[0]
	cfg, err := p.load(r.path)
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		again, err := r.session(ctx, cfg, hup)
		if err != nil || again == nil {
			return err
		}
		cfg = again
	}
}

// spendMemory has the garbage collector run less often than usual: most of what is allocated lives for milliseconds, and what
// stays is small. GOGC and GOMEMLIMIT in the environment decide, if they are there.
func spendMemory() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(200)
		debug.SetMemoryLimit(512 << 20) // above that it works as hard as it must
	}
}

// session counts with one configuration, until ctx is done, or everything is counted (nil, nil), or another configuration is read.
func (r *running) session(ctx context.Context, cfg *config.Config, hup <-chan os.Signal) (*config.Config, error) {
	client, err := r.dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	board := &count.Board{Log: r.log, Took: r.metrics.took}
	sinks, err := r.newSinks(cfg)
	if err != nil {
		return nil, err
	}
	r.metrics.use(board, sinks)
	stopHTTP, err := r.metrics.serve(cfg.HTTP, r.log)
	if err != nil {
		return nil, err
	}
	defer stopHTTP()
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { r.publish(ctx, client, board, sinks) })
	if !r.quiet {
		beside.Go(func() { r.progress(ctx, board) })
	}
	go func() { ended <- r.both(ctx, cfg, client, board, sinks) }()
	for {
		select {
		case err := <-ended:
			return nil, err
		case <-hup:
			again, err := r.reload(ctx)
			if err != nil {
				r.log.Error("the configuration is not taken; the old one goes on", "error", err)
				continue
			}
			r.log.Info("the configuration is read again")
			stop()
			return again, <-ended
		}
	}
}

// reload reads the configuration again. One that Quipu refuses is not taken either.
func (r *running) reload(ctx context.Context) (*config.Config, error) {
	cfg, err := r.load(r.path)
	if err != nil {
		return nil, err
	}
	c, err := r.dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c.Close()
	return cfg, nil
}

// both counts and writes, until ctx is done. Without sinks it ends with the sources, and with -until-end when everything that they have
// had is written.
func (r *running) both(ctx context.Context, cfg *config.Config, client *quipu.Client, board *count.Board, sinks []*sink.Sink) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var writing sync.WaitGroup
	for _, s := range sinks {
		writing.Go(func() {
			defer s.Quipu.Close()
			s.Run(ctx)
		})
	}
	counting, end := context.WithCancel(ctx)
	defer end()
	if r.untilEnd && len(cfg.Sources) > 0 {
		go r.watchEnd(counting, board, end)
	}
	err := r.sources(counting, cfg, client, board)
	switch {
	case err != nil:
		stop()
	case r.untilEnd:
		for _, s := range sinks {
			s.Finish()
		}
	}
	writing.Wait()
	return err
}

// sources counts all sources, until each has come to its end.
func (r *running) sources(ctx context.Context, cfg *config.Config, client *quipu.Client, board *count.Board) error {
	var all sync.WaitGroup
	failures := make(chan error, len(cfg.Sources))
	for _, src := range cfg.Sources {
		if r.untilEnd {
			src.Follow = false
		}
		job, err := r.job(src, client, board, r.log)
		if err != nil {
			return err
		}
		job.Instance = r.instance
		all.Go(func() {
			if err := r.source(ctx, job); err != nil {
				failures <- fmt.Errorf("source %s: %w", src.Name, err)
			}
		})
	}
	all.Wait()
	close(failures)
	var errs []error
	for err := range failures {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (r *running) source(ctx context.Context, job *count.Job) error {
	for {
		err := r.Kinds[job.Source.Kind].Run(ctx, job)
		if err != nil || ctx.Err() != nil || job.Source.Kind == config.KindFile {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartTime):
		}
	}
}

// watchEnd stops everything when all partitions are counted to where they ended.
func (r *running) watchEnd(ctx context.Context, board *count.Board, stop func()) {
	quietSince := time.Now()
	for tick := time.NewTicker(endLook); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		partitions := 0
		for _, s := range board.Snapshots() {
			if !s.Partition() {
				continue
			}
			partitions++
			if s.Lag() > 0 || s.End == 0 && s.State != count.Counting {
				quietSince = time.Now()
			}
		}
		if partitions == 0 {
			quietSince = time.Now()
		}
		if time.Since(quietSince) >= endTime {
			stop()
			return
		}
	}
}

// A source whose partitions are counted to their ends for endTime has come to its end: by then the broker has been asked again.
const (
	endLook = 200 * time.Millisecond
	endTime = 3 * time.Second
)
