package storage

import (
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// tailCache has copies of the newest entries of the log: for followers, to which they are sent, and for Raft on a follower,
// which reads an entry back to apply it. Without it each commit costs every node two reads of the entry from its segment
// file.
//
// Raft's own LogCache does not copy. The Batcher uses the buffer of an entry again as soon as the entry is applied here, so a
// follower that is a little behind would be sent the bytes of a later entry under the number of an earlier one.
//
// Entries are never written to once they are in the cache: readers hold on to their bytes for as long as they like.
type tailCache struct {
	mu    sync.Mutex
	on    bool
	logs  []raft.Log // with consecutive indexes
	bytes int        // of Data
}

const (
	tailEntries = 64
	tailBytes   = 8 << 20
)

// keep turns the cache on or off. Off, it is empty.
func (c *tailCache) keep(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on = on; !on {
		c.dropFront(len(c.logs))
	}
}

// add copies the newest entries of the log.
func (c *tailCache) add(logs []*raft.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return
	}
	for _, l := range logs {
		if n := len(c.logs); n > 0 && c.logs[n-1].Index+1 != l.Index {
			c.dropFront(n)
		}
		own := *l
		own.Data, own.Extensions = slices.Clone(l.Data), slices.Clone(l.Extensions)
		c.logs = append(c.logs, own)
		c.bytes += len(own.Data)
		for len(c.logs) > tailEntries || c.bytes > tailBytes {
			c.dropFront(1)
		}
	}
}

// get returns an entry, if the cache has it. Its bytes are shared: nobody may change them.
func (c *tailCache) get(index uint64, l *raft.Log) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.logs) == 0 || index < c.logs[0].Index || index-c.logs[0].Index >= uint64(len(c.logs)) {
		return false
	}
	*l = c.logs[index-c.logs[0].Index]
	return true
}

// remove forgets the entries from first to last, which the log deletes at one of its ends.
func (c *tailCache) remove(first, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.logs) > 0 && c.logs[0].Index >= first && c.logs[0].Index <= last {
		c.dropFront(1)
	}
	for n := len(c.logs); n > 0 && c.logs[n-1].Index >= first && c.logs[n-1].Index <= last; n = len(c.logs) {
		c.bytes -= len(c.logs[n-1].Data)
		c.logs[n-1] = raft.Log{}
		c.logs = c.logs[:n-1]
	}
}

// dropFront forgets the n oldest entries. mu held.
func (c *tailCache) dropFront(n int) {
	for i := range c.logs[:n] {
		c.bytes -= len(c.logs[i].Data)
		c.logs[i] = raft.Log{} // lets go of its bytes
	}
	c.logs = c.logs[n:]
}
