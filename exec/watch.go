package exec

import (
	"encoding/binary"

	"quipu/protocol"
)

// With several nodes WATCH is carried out on the node that leads: it alone applies changes, and seals entries, before it
// answers. The command stands in a sub-batch as an item, like a read; and the transaction behind it names what was watched.

// Watch names what a client watches. The node of the client chooses ID at random, so that no two clients of a cluster have the
// same. Count is how many WATCH commands the client has sent since: a node that has seen fewer, because it leads only now or
// because a connection broke, knows not all of the keys, and the transaction aborts.
type Watch struct{ ID, Count uint64 }

// Watches keeps what clients watch, on the node that leads.
type Watches interface {
	// Watch has the keys watched as they are at log time now, in ms; without keys it forgets all that w has. An error text that
	// is not empty says why not.
	Watch(w Watch, db int, keys [][]byte, now int64) (refusal string)
	// Guard is that of a transaction that depends on w.
	Guard(w Watch) Guard
}

// UseWatches sets where the WATCH commands of the sub-batch are carried out, if that is on this node.
func (b *SubBatch) UseWatches(w Watches) { b.watches = w }

// Watch adds a WATCH, or an UNWATCH if there are no keys.
func (b *SubBatch) Watch(w Watch, keys [][]byte, as As) {
	b.endRuns() // an increment that joined a run before it would not be seen
	it := as.item(itemWatch)
	it.at, it.n = uint32(len(b.aside)), uint32(len(keys))
	b.aside = appendWatch(b.aside, w)
	for _, key := range keys {
		b.aside = appendBytes(b.aside, key)
	}
	b.items = append(b.items, it)
}

func appendWatch(dst []byte, w Watch) []byte {
	return binary.AppendUvarint(binary.LittleEndian.AppendUint64(dst, w.ID), w.Count)
}

func (d *decoder) watch() (w Watch, err error) {
	if len(d.rest) < 8 {
		return w, errPayload
	}
	w.ID = binary.LittleEndian.Uint64(d.rest)
	d.rest = d.rest[8:]
	w.Count, err = d.uvarint()
	return w, err
}

// watch carries out a WATCH.
func (c *cursor) watch(x *executor, it *item, out *protocol.Writer) {
	d := decoder{rest: c.b.aside[it.at:]}
	w, err := d.watch()
	if err != nil || c.b.watches == nil {
		panic("BUG: a sub-batch cannot carry out its own WATCH")
	}
	if refusal := c.b.watches.Watch(w, int(it.db), c.readN(&d, it.n), x.stamp); refusal != "" {
		out.Error(refusal)
		return
	}
	out.OK()
}
