package server

import (
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// CLIENT TRACKING BCAST: clients that are told of every change of keys with their prefixes, whatever they have read. The keys that change
// gather for a moment, and go as one message to all clients of a prefix.

const (
	// broadcastAfter is how long keys gather.
	broadcastAfter = time.Millisecond
	// gatheredMax is how many bytes of keys gather for a prefix; if there are more, its clients are told to forget all.
	gatheredMax = 4 << 20
	// Limits of prefixes: each change looks for those of its key.
	maxClientPrefixes = 1024
	maxPrefixes       = 16384
)

// prefixTable is all prefixes.
type prefixTable struct {
	count atomic.Int64 // of prefixes: whoever finds 0 need not look

	mu    sync.Mutex // a leaf, taken with parts of the keyspace locked
	list  []*prefix  // sorted by text
	dirty []*prefix  // with keys that have gathered
	armed bool       // a timer runs
}

// prefix is one that clients have asked for.
type prefix struct {
	text    string
	parent  *prefix // the longest of the others that this one begins with, or nil
	clients map[*cacher]struct{}

	keys  map[string]*Session // gathered, with who alone has changed them; nil: several have, or it is not known
	order []string
	bytes int
	all   bool // too many have gathered
}

// find is where a prefix is in the list, or belongs.
func (p *prefixTable) find(text []byte) (at int, found bool) {
	at = sort.Search(len(p.list), func(i int) bool { return p.list[i].text >= string(text) })
	return at, at < len(p.list) && p.list[at].text == string(text)
}

// change has a client leave the prefixes of one mode, nil being none, and join those of another.
func (p *prefixTable) change(c *cacher, from, to *trackMode) {
	var old, is []string
	if from != nil {
		old = from.prefixes
	}
	if to != nil {
		is = to.prefixes
	}
	if len(old)+len(is) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := len(p.list)
	for _, text := range is {
		at, found := p.find([]byte(text))
		if !found {
			p.list = slices.Insert(p.list, at, &prefix{text: text, clients: map[*cacher]struct{}{}})
		}
		p.list[at].clients[c] = struct{}{}
	}
	grown := len(p.list) != before
	before = len(p.list)
	for _, text := range old {
		if _, stays := slices.BinarySearch(is, text); stays {
			continue
		}
		at, _ := p.find([]byte(text))
		if delete(p.list[at].clients, c); len(p.list[at].clients) == 0 {
			p.list = slices.Delete(p.list, at, at+1)
		}
	}
	if grown || len(p.list) != before {
		p.relate()
	}
	p.count.Store(int64(len(p.list)))
}

// relate finds the parents anew. In the sorted list those that a prefix begins with stand before it, the longest last.
func (p *prefixTable) relate() {
	var last *prefix
	for _, x := range p.list {
		for last != nil && !strings.HasPrefix(x.text, last.text) {
			last = last.parent
		}
		x.parent, last = last, x
	}
}

// changed gathers a key for its prefixes. Those stand, in the sorted list, among the parents of the last one that is not behind the key.
func (p *prefixTable) changed(t *tracking, key []byte, by *Session) {
	if p.count.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at, found := p.find(key)
	if !found {
		at--
	}
	if at < 0 {
		return
	}
	name := ""
	for x := p.list[at]; x != nil; x = x.parent {
		if len(key) < len(x.text) || string(key[:len(x.text)]) != x.text {
			continue
		}
		if name == "" {
			name = string(key)
		}
		p.gather(x, name, by)
	}
	if len(p.dirty) > 0 && !p.armed {
		p.armed = true
		time.AfterFunc(broadcastAfter, func() { p.broadcast(t) })
	}
}

func (p *prefixTable) gather(x *prefix, name string, by *Session) {
	if x.keys == nil && !x.all {
		x.keys = map[string]*Session{}
		p.dirty = append(p.dirty, x)
	}
	was, has := x.keys[name]
	switch {
	case x.all:
	case has:
		if was != by {
			x.keys[name] = nil
		}
	case x.bytes+len(name)+trackedOverhead > gatheredMax:
		x.keys, x.order, x.bytes, x.all = nil, nil, 0, true
	default:
		x.keys[name] = by
		x.order = append(x.order, name)
		x.bytes += len(name) + trackedOverhead
	}
}

// forget drops what has gathered: everybody is told that all has changed.
func (p *prefixTable) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.dirty {
		x.keys, x.order, x.bytes, x.all = nil, nil, 0, false
	}
	p.dirty = nil
}

// gathered is the keys of a prefix on their way.
type gathered struct {
	keys    []string // nil: all
	by      map[string]*Session
	clients []*cacher
}

// broadcast sends what has gathered.
func (p *prefixTable) broadcast(t *tracking) {
	p.mu.Lock()
	list := make([]gathered, len(p.dirty))
	for i, x := range p.dirty {
		g := gathered{keys: x.order, by: x.keys, clients: make([]*cacher, 0, len(x.clients))}
		for c := range x.clients {
			g.clients = append(g.clients, c)
		}
		x.keys, x.order, x.bytes, x.all = nil, nil, 0, false
		list[i] = g
	}
	p.dirty, p.armed = nil, false
	p.mu.Unlock()
	for i := range list {
		list[i].send(t)
	}
	t.srv.evictAgain()
}

func (g *gathered) send(t *tracking) {
	inv := invalidation{srv: t.srv, keys: g.keys}
	for _, c := range g.clients {
		m, s := c.mode.Load(), c.session.Load()
		switch {
		case m == nil || !m.bcast || s == nil:
		case m.noloop && g.hasOf(s):
			g.sendOthers(t, c, m, s)
		default:
			inv.send(c, m, nil)
		}
	}
	inv.release()
}

// hasOf reports whether any of the keys was changed by a client alone.
func (g *gathered) hasOf(s *Session) bool {
	for _, by := range g.by {
		if by == s {
			return true
		}
	}
	return false
}

// sendOthers sends a client those keys that others have changed.
func (g *gathered) sendOthers(t *tracking, c *cacher, m *trackMode, s *Session) {
	var keys []string
	for _, key := range g.keys {
		if g.by[key] != s {
			keys = append(keys, key)
		}
	}
	if keys != nil {
		inv := invalidation{srv: t.srv, keys: keys}
		inv.send(c, m, nil)
		inv.release()
	}
}

// refuses reports whether the node has room for no more prefixes.
func (p *prefixTable) refuses(more int) bool { return p.count.Load()+int64(more) > maxPrefixes }
