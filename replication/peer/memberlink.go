package peer

import (
	"context"
	"time"
)

// memberLink is what each connection to another member has: that of Links, which asks for states, and that of Notices.
type memberLink struct {
	member Member
	kick   chan struct{} // buffered: there is something to do
	ctx    context.Context
	cancel context.CancelFunc
}

func (k *memberLink) common() *memberLink { return k }

// follow has links be those to the members, by node ID: others are cancelled, and begin starts new ones.
func follow[K interface{ common() *memberLink }](links map[string]K, members []Member, begin func(common memberLink) K) {
	wanted := map[string]Member{}
	for _, m := range members {
		wanted[m.ID] = m
	}
	for id, k := range links {
		if wanted[id] != k.common().member {
			k.common().cancel()
			delete(links, id)
		}
	}
	for id, m := range wanted {
		if _, has := links[id]; !has {
			ctx, cancel := context.WithCancel(context.Background())
			links[id] = begin(memberLink{m, make(chan struct{}, 1), ctx, cancel})
		}
	}
}

// redial calls once, which connects and serves the connection, again and again until the link is cancelled; ended is called with what
// ended a connection that had lasted.
func (k *memberLink) redial(once func() error, ended func(err error)) {
	wait := redialFirst
	for k.ctx.Err() == nil {
		began := time.Now()
		err := once()
		if k.ctx.Err() != nil {
			return
		}
		if time.Since(began) > redialAtMost {
			wait = redialFirst
			ended(err)
		}
		select {
		case <-time.After(wait):
		case <-k.ctx.Done():
		}
		wait = min(2*wait, redialAtMost)
	}
}
