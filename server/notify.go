package server

import (
	"strconv"
	"sync"
	"sync/atomic"

	"quipu/config"
	"quipu/engine"
)

// Keyspace notifications: what a write does to a key is told on two channels, as in Redis. Each node tells its own subscribers what it
// applies, as an observer of the keyspace, which is not called while the setting notify-keyspace-events is empty.
//
// An observer has a part of the keyspace locked, and whoever applies the log must not wait until channels are compared with all patterns:
// what is to be told goes into a queue of notifyQueue bytes, and a goroutine publishes it, in the order in which it was applied. Where events
// come faster than that goes, they are dropped, and counted.

// notifyQueue is the most bytes of events that wait to be published.
const notifyQueue = 16 << 20

// notifier is the events that wait.
type notifier struct {
	kinds    atomic.Uint32 // config.Notify
	interest atomic.Int64  // 1 if any event is told, else 0
	dropped  atomic.Int64

	mu     sync.Mutex // a leaf, taken with parts locked
	queue  []keyEvent
	bytes  int  // in queue
	works  bool // a goroutine publishes
	closed bool
	busy   sync.WaitGroup // Add under mu, and not when closed
}

// keyEvent is one event. told are its kinds of channels, and NotifyNew if the key is new and that is told as well.
type keyEvent struct {
	event string
	own   bool // the event itself is told, and not only that the key is new
	told  config.Notify
	db    int
	key   []byte
}

// keyEventOverhead is about what an event takes beside its key.
const keyEventOverhead = 72

// use takes the setting.
func (n *notifier) use(kinds config.Notify) {
	channels := kinds & (config.NotifyKeyspace | config.NotifyKeyevent)
	n.kinds.Store(uint32(kinds))
	n.interest.Store(int64(boolInt(channels != 0 && kinds != channels)))
}

// eventKind is the kind of an event, by its name: Redis's, or that of a command of our own or of a module.
func eventKind(event string) config.Notify {
	switch event {
	case "set", "incrby", "incrbyfloat", "append", "setrange", "pfadd":
		return config.NotifyString
	case "del", "expire", "persist", "rename_from", "rename_to", "copy_to", "move_from", "move_to":
		return config.NotifyGeneric
	case "expired":
		return config.NotifyExpired
	}
	return config.NotifyModule
}

// isNew reports whether a key was made. A key that COPY or RENAME replaces is a new one, in Redis too.
func isNew(c *engine.Change) bool {
	switch {
	case c.Op == engine.OpCreated || c.Event == "copy_to":
		return true
	case c.Event == "rename_to" || c.Event == "move_to":
		return false // it was told already
	}
	return c.Old.Absent && (c.Op == engine.OpAdd || c.Op == engine.OpSet)
}

// keyChanged is the observer.
func (srv *Server) keyChanged(c *engine.Change) {
	n := &srv.notifier
	kinds := config.Notify(n.kinds.Load())
	if c.Event == "" && c.Op != engine.OpCreated || !srv.isReady() || srv.hub.counts[onChannel].Load()+srv.hub.counts[onPattern].Load() == 0 {
		return // a replay tells nothing, nor does what Redis does not tell
	}
	e := keyEvent{event: c.Event, own: c.Event != "" && kinds&eventKind(c.Event) != 0, told: kinds & (config.NotifyKeyspace | config.NotifyKeyevent), db: c.DB}
	if kinds&config.NotifyNew != 0 && isNew(c) {
		e.told |= config.NotifyNew
	} else if !e.own {
		return
	}
	size := len(c.Key) + keyEventOverhead
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.bytes+size > notifyQueue {
		n.dropped.Add(1)
		return
	}
	e.key = append(e.key, c.Key...)
	n.bytes += size
	n.queue = append(n.queue, e)
	if !n.works {
		n.works = true
		n.busy.Go(srv.tellEvents)
	}
}

// tellEvents publishes events until there are none.
func (srv *Server) tellEvents() {
	n := &srv.notifier
	var done []keyEvent
	for {
		n.mu.Lock()
		for i := range done {
			n.bytes -= len(done[i].key) + keyEventOverhead
		}
		clear(done)
		done, n.queue = n.queue, done[:0]
		n.works = len(done) > 0 && !n.closed
		if !n.works {
			n.queue = nil
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
		for i := range done {
			srv.tellEvent(&done[i])
		}
		srv.evictAgain()
	}
}

func (srv *Server) tellEvent(e *keyEvent) {
	if e.told&config.NotifyNew != 0 {
		srv.tellNamed("new", e)
	}
	if e.own {
		srv.tellNamed(e.event, e)
	}
}

func (srv *Server) tellNamed(event string, e *keyEvent) {
	var room [128]byte
	if e.told&config.NotifyKeyspace != 0 {
		channel := append(eventChannel(room[:0], "__keyspace@", e.db), e.key...)
		srv.publish(onChannel, channel, []byte(event))
	}
	if e.told&config.NotifyKeyevent != 0 {
		srv.publish(onChannel, append(eventChannel(room[:0], "__keyevent@", e.db), event...), e.key)
	}
}

func eventChannel(b []byte, prefix string, db int) []byte {
	return append(strconv.AppendInt(append(b, prefix...), int64(db), 10), "__:"...)
}

// stop has nothing told any more.
func (n *notifier) stop() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.busy.Wait()
}
