package server

import "sync"

// taskPool runs what would hold up an event loop.
type taskPool struct {
	queue chan func()
	wg    sync.WaitGroup

	mu      sync.Mutex
	stopped bool
}

const taskQueue = 1 << 16 // more than the clients that can wait for one each

func (p *taskPool) start(n int) {
	p.queue = make(chan func(), taskQueue)
	for range n {
		p.wg.Go(func() {
			for task := range p.queue {
				task()
			}
		})
	}
}

// run has a task run by another goroutine, unless the pool has been stopped: then nobody waits for its result any more.
func (p *taskPool) run(task func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.queue <- task
	}
}

func (p *taskPool) stop() {
	p.mu.Lock()
	p.stopped = true
	close(p.queue)
	p.mu.Unlock()
	p.wg.Wait()
}
