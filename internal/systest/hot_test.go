package systest

import (
	"fmt"
	"sync"
	"sync/atomic"

	"quipu/internal/redistest"
)

// hotCounter is one key that many connections increment and others read at the same time.
type hotCounter struct {
	key       string
	attempted atomic.Int64 // increments about to be sent
	acked     atomic.Int64 // increments acknowledged
	highest   atomic.Int64 // largest reply seen

	mu   sync.Mutex
	seen map[int64]bool // replies since the last restart
	base int64          // value found at the last restart: attempted and acked count from here
}

func newHotCounter(key string) *hotCounter {
	return &hotCounter{key: key, seen: map[int64]bool{}}
}

// load increments in pipelines of up to depth until the connection breaks. Replies must be distinct, ascending on one
// connection, and larger than every reply that any connection had before the pipeline was sent.
func (h *hotCounter) load(c *redistest.Conn, depth int) error {
	one := redistest.AppendCommand(nil, "INCR", h.key)
	for n := 1; ; n = n%depth + 1 {
		var raw []byte
		for range n {
			raw = append(raw, one...)
		}
		floor := h.highest.Load()
		h.attempted.Add(int64(n))
		if c.Send(raw) != nil {
			return nil
		}
		replies := make([]int64, 0, n)
		var broken error
		for range n {
			r, err := c.Read()
			if err != nil {
				broken = err
				break
			}
			v, err := r.Int()
			if err != nil {
				return fmt.Errorf("INCR %s: %w", h.key, err)
			}
			if v <= floor {
				return fmt.Errorf("INCR %s answered %d though %d had been answered before it was sent", h.key, v, floor)
			}
			floor = v
			replies = append(replies, v)
		}
		if err := h.note(replies); err != nil {
			return err
		}
		if broken != nil {
			return brokenOr(broken)
		}
	}
}

func (h *hotCounter) note(replies []int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range replies {
		if h.seen[v] {
			return fmt.Errorf("INCR %s answered %d twice", h.key, v)
		}
		h.seen[v] = true
		if v > h.highest.Load() {
			h.highest.Store(v)
		}
	}
	h.acked.Add(int64(len(replies)))
	return nil
}

// read checks that each read lies between what was acknowledged before it began and what was attempted when it ended.
func (h *hotCounter) read(c *redistest.Conn) error {
	for {
		low := max(h.base+h.acked.Load(), h.highest.Load())
		r, err := c.Do("GET", h.key)
		if err != nil {
			return brokenOr(err)
		}
		high := h.base + h.attempted.Load()
		v := int64(0)
		if !r.IsNull() {
			if v, err = r.Int(); err != nil {
				return fmt.Errorf("GET %s: %w", h.key, err)
			}
		}
		if v < low || v > high {
			return fmt.Errorf("GET %s read %d: acknowledged before it %d, attempted until its end %d", h.key, v, low, high)
		}
	}
}

// verify checks the value after a restart: everything acknowledged and at most everything attempted.
func (h *hotCounter) verify(c *redistest.Conn) error {
	r, err := c.Do("GET", h.key)
	if err != nil {
		return err
	}
	v := int64(0)
	if !r.IsNull() {
		if v, err = r.Int(); err != nil {
			return err
		}
	}
	acked, attempted := h.acked.Load(), h.attempted.Load()
	if v < h.base+acked || v > h.base+attempted {
		return fmt.Errorf("%s is %d after the restart: at the start %d, acknowledged since %d, attempted %d",
			h.key, v, h.base, acked, attempted)
	}
	if missing := h.highest.Load() - h.base - acked; missing > attempted-acked {
		return fmt.Errorf("%s: %d values missing between the replies, but only %d outcomes unknown", h.key, missing, attempted-acked)
	}
	if top := h.highest.Load(); v < top {
		return fmt.Errorf("%s is %d after the restart, but %d had been answered", h.key, v, top)
	}
	h.base = v
	h.seen = map[int64]bool{}
	h.acked.Store(0)
	h.attempted.Store(0)
	h.highest.Store(v)
	return nil
}
