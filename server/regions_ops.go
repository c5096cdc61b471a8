package server

import (
	"fmt"
	"time"

	"quipu/engine"
	"quipu/engine/shared"
	"quipu/internal/regionlink"
	"quipu/protocol"
)

// What operators look at: REGION LAG, and INFO of regions. docs/regions.md says what each figure means.

// peerLag is how far another region is behind. Of a region that has not said how far it is, as on a node that does not lead, all figures of
// lag are unknown.
type peerLag struct {
	regionlink.Status
	engine.RegionLag
	age int64 // ms since the oldest change that is not confirmed, at least
}

const unknownLag = -1

// regionFigures are the figures of a region, all of one keyspace.
type regionFigures struct {
	engine.RegionSetup
	engine.RegionCounts
	links []peerLag // how far each other region is behind
}

// figures looks at them; false: the cluster is no region.
func (s regionSource) figures() (f regionFigures, ok bool) {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	if f.RegionSetup, ok = s.r.Keyspace.Regions(); ok {
		f.RegionCounts, f.links = s.r.Keyspace.RegionCounts(), s.lags(f.Me)
	}
	return f, ok
}

// name is that of the region itself.
func (f *regionFigures) name() string { return f.Origins[f.Me].Name }

// lost is how many incarnations are lost.
func (f *regionFigures) lost() (n int) {
	for _, o := range f.Origins {
		n += boolInt(o.Lost)
	}
	return n
}

// lags is how far each other region is behind me, the region's own incarnation. Server.reading is held.
func (s regionSource) lags(me shared.Origin) (list []peerLag) {
	_, sketches := s.r.Keyspace.View(0, 0, false).Incorporated(me)
	for _, l := range s.srv.regionLinks() {
		p := peerLag{Status: l.Status(), RegionLag: engine.RegionLag{Positions: unknownLag, Keys: unknownLag}, age: unknownLag}
		if p.Known {
			p.RegionLag, _ = s.r.Keyspace.RegionLag(&p.Acked.Counters)
			p.age = s.age(&p.RegionLag) // of counters: nobody notes when a sketch has changed
			for part, at := range sketches {
				p.Positions += int64(max(at, p.Acked.Sketches[part]) - p.Acked.Sketches[part])
			}
		}
		list = append(list, p)
	}
	return list
}

// age is how old the oldest change is that is not confirmed. One that this node does not remember is from before it started.
func (s regionSource) age(lag *engine.RegionLag) int64 {
	switch {
	case lag.Positions == 0:
		return 0
	case lag.Since == 0:
		return time.Since(s.srv.started).Milliseconds()
	}
	return max(0, s.Now()-lag.Since)
}

// clock is the offset of the other region's log time in ms, as text: "" if it is not known.
func (p *peerLag) clock() (offset, within string) {
	if !p.Clock.Known {
		return "", ""
	}
	return fmt.Sprint(p.Clock.Offset), fmt.Sprint(p.Clock.Within)
}

// regionLag replies with a map for each other region.
func regionLag(s *Session, _ [][]byte, w *protocol.Writer) {
	f, ok := regionSource{s.srv, s.srv.replicas[0]}.figures()
	if !ok {
		w.Error(protocol.ErrNoRegion)
		return
	}
	w.Array(len(f.links))
	for i := range f.links {
		p := &f.links[i]
		w.Map(16)
		text := func(name, value string) {
			w.BulkString(name)
			w.BulkString(value)
		}
		number := func(name string, n int64) {
			w.BulkString(name)
			w.Int(n)
		}
		offset, within := p.clock()
		text("region", p.Region)
		text("state", p.State)
		number("positions", p.Positions)
		number("keys", p.Keys)
		number("age-ms", p.age)
		number("parts-to-tell-whole", int64(p.Full))
		number("whole-parts-under-way", p.Telling)
		number("whole-parts", p.Whole)
		number("frames", p.Frames)
		number("rows", p.Rows)
		number("gaps", p.Gaps)
		number("digests", p.Digests)
		number("digest-mismatches", p.Differ)
		number("rtt-us", p.RTT.Microseconds())
		text("clock-ms", offset)
		text("clock-within-ms", within)
	}
}
