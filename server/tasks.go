package server

import "sync"

// taskPool runs what would hold up an event loop.
type taskPool struct {
	queue chan func()
	wg    sync.WaitGroup
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

func (p *taskPool) run(task func()) { p.queue <- task }

func (p *taskPool) stop() {
	close(p.queue)
	p.wg.Wait()
}
