package server

import (
	"context"
	"sync"
	"time"

	"quipu/internal/regionlink"
	"quipu/protocol"
)

// REGION CHECK compares what this region has counted with what all others have of it, part by part (internal/regionlink/digest.go).

const (
	checkLimit = 10 * time.Second // unless the client says how long
	checkGrace = time.Second      // links notice by themselves that the time is over
)

// regionChecks is what has come of a check so far.
type regionChecks struct {
	mu   sync.Mutex
	list []peerCheck
}

type peerCheck struct {
	region string
	got    regionlink.Check
	error  string
}

func regionCheck(s *Session, args [][]byte) bool {
	src := regionSource{s.srv, s.srv.replicas[0]}
	limit, text := checkArguments(args)
	switch _, ok := src.setup(); {
	case text != "":
	case !ok:
		text = protocol.ErrNoRegion
	case src.r.Group.Term() == 0:
		text = protocol.ErrRegionElsewhere
	}
	if text != "" {
		s.replyError(text)
		return true
	}
	links := s.srv.regionLinks()
	c := &regionChecks{list: make([]peerCheck, len(links))}
	for i, l := range links {
		c.list[i] = peerCheck{region: l.Status().Region, error: "it is not over yet"}
	}
	if len(links) == 0 {
		s.reply(c.write)
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	b := &blockedWait{reply: s.replyLater(waitBlocked), timeout: c.write, ended: cancel} // nothing is compared for a client that is gone
	s.block(b, limit+checkGrace, func() { s.unblock(b, c.write) })
	go func() {
		c.run(ctx, links)
		s.unblock(b, c.write)
	}()
	return true
}

// run has all links compare.
func (c *regionChecks) run(ctx context.Context, links []*regionlink.Link) {
	var busy sync.WaitGroup
	for i, l := range links {
		busy.Go(func() {
			got, err := l.Check(ctx)
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.list[i].got, c.list[i].error = got, ""; err != nil {
				c.list[i].error = err.Error()
			}
		})
	}
	busy.Wait()
}

func checkArguments(args [][]byte) (limit time.Duration, text string) {
	if len(args) == 2 {
		return checkLimit, ""
	}
	if len(args) > 3 {
		return 0, protocol.ErrSyntax
	}
	_, limit, text = waitArguments([][]byte{[]byte("0"), args[2]})
	return limit, text
}

// write replies with a map for each other region.
func (c *regionChecks) write(w *protocol.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Array(len(c.list))
	for _, p := range c.list {
		w.Map(6)
		w.BulkString("region")
		w.BulkString(p.region)
		w.BulkString("error")
		w.BulkString(p.error)
		for _, f := range []struct {
			name string
			n    int
		}{{"parts-compared", p.got.Compared}, {"parts-differing", p.got.Differ}, {"parts-repaired", p.got.Repaired}, {"parts-elsewhere", p.got.Elsewhere}} {
			w.BulkString(f.name)
			w.Int(int64(f.n))
		}
	}
}
