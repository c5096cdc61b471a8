package parts

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// Crew is all parts.
type Crew struct {
	dir   string        // working folder of the processes, and where their logs are
	again time.Duration // see againTime
	list  []*part

	mu      sync.Mutex
	changed chan struct{} // closed and made anew at every change
}

// NewCrew prepares parts; their logs are written into dir, where they also run.
func NewCrew(dir string, specs []Spec) (*Crew, error) {
	if err := check(specs); err != nil {
		return nil, err
	}
	c := &Crew{dir: dir, again: againTime, changed: make(chan struct{})}
	for _, s := range specs {
		c.list = append(c.list, &part{
			Spec: s, log: logName(dir, s.Name), status: Status{Name: s.Name, Kind: s.Kind, Addr: s.Addr, State: Down},
		})
	}
	return c, nil
}

// Run keeps all parts running until ctx ends, and then until the last process has ended. Its error is that of a part that
// cannot be run.
func (c *Crew) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	var once sync.Once
	var failure error
	for _, p := range c.list {
		all.Go(func() {
			if err := c.keep(ctx, p); err != nil {
				once.Do(func() { failure = err })
				cancel(err)
			}
		})
	}
	all.Wait()
	return failure
}

// set changes something and wakes who waits for changes.
func (c *Crew) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Status is how all parts do; the channel is closed when that has changed.
func (c *Crew) Status() ([]Status, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Status
	for _, p := range c.list {
		list = append(list, p.status)
	}
	return list, c.changed
}

// AllUp waits until every part serves.
func (c *Crew) AllUp(ctx context.Context) error {
	for {
		list, changed := c.Status()
		waiting := ""
		for _, s := range list {
			if s.State != Up {
				waiting = s.Name
			}
		}
		if waiting == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", waiting, context.Cause(ctx))
		case <-changed:
		}
	}
}

// Kill ends the process of a part by SIGKILL, as a crash would, and says which process that was.
func (c *Crew) Kill(name string) (pid int, err error) {
	for _, p := range c.list {
		if p.Name != name {
			continue
		}
		status := c.statusOf(p)
		if status.State != Up || !c.signal(p, syscall.SIGKILL) {
			return 0, fmt.Errorf("%s does not run", name)
		}
		// Between the signal and the end of the process nobody should take it for one that serves.
		c.set(func() {
			if p.status.Runs == status.Runs {
				p.status.State = Down
			}
		})
		return status.PID, nil
	}
	return 0, fmt.Errorf("there is no %s", name)
}

func (c *Crew) statusOf(p *part) Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.status
}
