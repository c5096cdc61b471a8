package commands

import (
	"slices"
	"strconv"

	"quipu/engine"
	"quipu/engine/shared"
	"quipu/protocol"
)

// REGION is how regions that count the same keys speak with each other, and how people look at that. A region's leader connects to each
// other region as a client, says HELLO, and sends what has changed as frames (engine/regionframes.go):
//
//	REGION HELLO version name incarnation data cluster patterns pattern … {name incarnation lost data} …
//	REGION MERGE name incarnation part frame {name incarnation} …      of some keys, or of sketches
//	REGION WHOLE                                                        of all keys of a part
//	REGION MARK name incarnation number random                          which history is told, once it is known to be the one that was (region_ops.go)
//	REGION DIGEST name incarnation part digest                          is that the same there?
//
// The last arguments are all incarnations of regions that the sender knows, in the order of its numbers for them. data and cluster are those of engine.RegionOrigin.

// RegionLevel is the semantics level from which on regions are in the log.
const RegionLevel uint16 = 3

// RegionVersion is the version of what regions say to each other.
const RegionVersion = 1

const (
	logRegionOpen   = 71
	logRegionHello  = 72
	logRegionMerge  = 73
	logRegionWhole  = 74
	logRegionLost   = 75
	logRegionRenew  = 76
	regionFlags     = FlagWrite | FlagAdmin | FlagNoScript
	regionHeadMerge = 6 // arguments before the table of incarnations
	regionKnown     = 4 // arguments of HELLO for each incarnation
)

var regionCommands = []Command{{
	Name: "region", Own: true, Arity: -2, Summary: "Regions that count the same keys", Since: "0.4.0", Group: "server", Complexity: "That of the subcommand",
	Sub: []*Command{
		&regionDigest, &regionForget, &regionMark,
		{
			Name: "hello", LogID: logRegionHello, Level: RegionLevel, Own: true, Arity: -8, Flags: regionFlags, Group: "server", Since: "0.4.0",
			Complexity: "O(1)", Summary: "Begin to tell a region what another one counts", Write: runRegionHello,
			Syntax: "version:integer name incarnation:integer data:integer cluster:integer patterns:integer pattern [pattern ...] [name_incarnation_lost_data [name_incarnation_lost_data ...]]",
		},
		{
			Name: "keys", Own: true, Arity: 2, Flags: FlagReadonly, Group: "server", Since: "0.4.0",
			Complexity: "O(1)", Summary: "The patterns of keys that regions share", Read: runRegionKeys,
		},
		{
			Name: "lost", LogID: logRegionLost, Level: RegionLevel, Own: true, Arity: 3, Flags: regionFlags, Group: "server", Since: "0.4.0",
			Complexity: "O(N) for N shared keys", Summary: "Declare another region lost for good", Syntax: "name", Write: runRegionLost,
		},
		{
			Name: "merge", LogID: logRegionMerge, Level: RegionLevel, Own: true, Arity: -8, Flags: regionFlags, Group: "server", Since: "0.4.0",
			Shared: sharedAlways, KeysIn: keysInFrame, Beside: besideFrame,
			Complexity: "O(N) for N rows", Summary: "What another region has counted since a position", Write: runRegionMerge,
			Syntax: "name incarnation:integer part:integer frame [name_incarnation [name_incarnation ...]]",
		},
		{
			Name: "renew", LogID: logRegionRenew, Level: RegionLevel, Own: true, Arity: 2, Flags: regionFlags, Group: "server", Since: "0.4.0",
			Complexity: "O(N) for N shared keys", Summary: "Begin another incarnation of this region, from data that are older than others know", Write: runRegionRenew,
		},
		{
			Name: "value", Own: true, Arity: 3, Flags: FlagReadonly, Keys: keyAt(2, KeyRO|KeyAccess), Group: "server", Since: "0.4.0",
			Complexity: "O(1)", Summary: "What each region has counted of a key", Syntax: "key", Read: runRegionValue,
		},
		{
			Name: "whole", LogID: logRegionWhole, Level: RegionLevel, Own: true, Arity: -8, Flags: regionFlags, Group: "server", Since: "0.4.0",
			Complexity: "O(N) for N shared keys of the part", Summary: "All that another region has counted in a part", Write: runRegionWhole,
			Syntax: "name incarnation:integer part:integer frame [name_incarnation [name_incarnation ...]]",
		},
	},
}}

// regionInternal are writes that no client can name.
var regionInternal = []Command{
	{Name: "region-open", LogID: logRegionOpen, Level: RegionLevel, Arity: -4, Flags: FlagWrite, Write: runRegionOpen},
}

// RegionOpen is the write that makes the cluster a region, of data (engine.RegionOrigin). It replies with the number of counters that are
// shared from then on.
func (t *Table) RegionOpen(name string, data uint64, keys []string) (*Command, [][]byte) {
	cmd := t.ByLogID(logRegionOpen)
	args := [][]byte{cmd.name, []byte(name), strconv.AppendUint(nil, data, 10)}
	for _, k := range keys {
		args = append(args, []byte(k))
	}
	return cmd, args
}

func runRegionOpen(c *Call, t engine.Txn) {
	if t.HasRegions() {
		c.W.Int(0) // another node was first
		return
	}
	var keys []string
	for _, arg := range c.Args[3:] {
		keys = append(keys, string(arg))
	}
	data, err := strconv.ParseUint(string(c.Args[2]), 10, 64)
	n := int64(0)
	if err == nil {
		n, err = t.OpenRegions(string(c.Args[1]), keys, data)
	}
	if err != nil {
		c.W.Error("ERR " + err.Error())
		return
	}
	c.W.Int(n)
}

// besideFrame is the part that a frame is of; negative: none.
func besideFrame(args [][]byte) int {
	if len(args) < regionHeadMerge {
		return -1
	}
	if n, ok := protocol.ParseInt(args[4]); ok && n >= 0 && n < engine.Parts {
		return int(n)
	}
	return -1
}

// keysInFrame are the keys of a frame's rows, as far as they can be read.
func keysInFrame(args [][]byte) (keys [][]byte, ok bool) {
	if len(args) < regionHeadMerge {
		return nil, false
	}
	if shared.IsSketchFrame(args[5]) {
		return keysInSketchFrame(args[5])
	}
	f, err := shared.OpenFrame(args[5])
	if err != nil {
		return nil, false
	}
	for row := (shared.Row{}); ; {
		more, err := f.Next(&row)
		if err != nil || !more {
			return keys, err == nil
		}
		keys = append(keys, row.Key)
	}
}

func keysInSketchFrame(frame []byte) (keys [][]byte, ok bool) {
	f, err := shared.OpenSketchFrame(frame)
	if err != nil {
		return nil, false
	}
	for row := (shared.SketchRow{}); ; {
		more, err := f.Next(&row)
		if err != nil || !more {
			return keys, err == nil
		}
		keys = append(keys, row.Key)
	}
}

// parseIncarnation reads a name and a number.
func parseIncarnation(args [][]byte) (o engine.RegionOrigin, ok bool) {
	n, err := strconv.ParseUint(string(args[1]), 10, 64)
	o = engine.RegionOrigin{Name: string(args[0]), Incarnation: n}
	return o, err == nil && n > 0 && n < 1<<62 && o.Name != "" && len(o.Name) <= engine.MaxRegionName
}

// regionHello is what REGION HELLO says.
type regionHello struct {
	from     engine.RegionOrigin
	patterns []string
	known    []engine.RegionOrigin
}

func parseHello(args [][]byte) (h regionHello, refusal string) {
	version, ok := protocol.ParseInt(args[2])
	if !ok || version != RegionVersion {
		return h, protocol.ErrRegionProtocol
	}
	from, ok := parseIncarnation(args[3:5])
	data, err := strconv.ParseUint(string(args[5]), 10, 64)
	cluster, err2 := strconv.ParseUint(string(args[6]), 10, 64)
	n, ok2 := protocol.ParseInt(args[7])
	rest := args[8:]
	if !ok || err != nil || err2 != nil || cluster == 0 || !ok2 || n < 1 || n > int64(len(rest)) || (len(rest)-int(n))%regionKnown != 0 {
		return h, protocol.ErrRegionArgs
	}
	h.from, h.from.Data, h.from.Cluster = from, data, cluster
	for _, p := range rest[:n] {
		h.patterns = append(h.patterns, string(p))
	}
	for rest = rest[n:]; len(rest) > 0; rest = rest[regionKnown:] {
		o, ok := parseIncarnation(rest)
		o.Lost = string(rest[2]) == "1"
		if o.Data, err = strconv.ParseUint(string(rest[3]), 10, 64); !ok || err != nil {
			return h, protocol.ErrRegionArgs
		}
		h.known = append(h.known, o)
	}
	return h, ""
}

// runRegionHello replies with this region's name, incarnation and number of incarnations known, with those, and with how far each part of
// the other region is incorporated, its counters and its sketches, with its log time, and with the last mark that it has heard from that region.
func runRegionHello(c *Call, t engine.Txn) {
	if !t.HasRegions() {
		c.W.Error(protocol.ErrNoRegion)
		return
	}
	h, refusal := parseHello(c.Args)
	if refusal == "" {
		refusal = refuseHello(t, &h)
	}
	if refusal != "" {
		c.W.Error(refusal)
		return
	}
	o, err := meet(t, &h)
	if err != nil {
		c.W.Error("ERR " + err.Error())
		return
	}
	s := t.Incarnations()
	c.W.Array(8)
	c.W.BulkString(s.Origins[s.Me].Name)
	c.W.BulkString(strconv.FormatUint(s.Origins[s.Me].Incarnation, 10))
	c.W.Array(3 * len(s.Origins))
	for _, o := range s.Origins {
		c.W.BulkString(o.Name)
		c.W.BulkString(strconv.FormatUint(o.Incarnation, 10))
		c.W.Bool(o.Lost)
	}
	counters, sketches := t.Incorporated(o)
	for _, positions := range [][engine.Parts]uint64{counters, sketches} {
		c.W.Array(engine.Parts)
		for _, at := range positions {
			c.W.Int(int64(at))
		}
	}
	c.W.Int(t.Now())
	heard := s.Origins[o].Heard
	c.W.BulkString(strconv.FormatUint(heard.Number, 10))
	c.W.BulkString(strconv.FormatUint(heard.Random, 10))
}

// refuseHello is the error text if the two cannot share counters, or "".
func refuseHello(t engine.Txn, h *regionHello) string {
	s := t.Incarnations()
	if !slices.Equal(h.patterns, s.Keys) {
		return protocol.ErrRegionKeys
	}
	me := s.Origins[s.Me]
	if h.from.Name == me.Name {
		return protocol.ErrRegionName
	}
	for _, o := range h.known {
		if o.Name == me.Name && o.Incarnation > me.Incarnation {
			return protocol.ErrRegionOlder
		}
	}
	theirs := append(h.known, h.from)
	for _, o := range s.Origins {
		if o.Name == h.from.Name && o.Lost && o.Incarnation >= h.from.Incarnation {
			return protocol.ErrRegionLost
		}
		if o.Name == h.from.Name && o.Incarnation == h.from.Incarnation && o.Cluster != 0 && o.Cluster != h.from.Cluster {
			return protocol.ErrRegionRestored
		}
		if slices.ContainsFunc(theirs, func(other engine.RegionOrigin) bool { return siblings(o, other) }) {
			return protocol.ErrRegionSibling
		}
	}
	return ""
}

// siblings reports whether two regions began with counters of the same data, as a backup and what it was taken of: each would tell them as
// its own. It does not matter whether they are lost, as what they told is kept.
func siblings(a, b engine.RegionOrigin) bool {
	return a.Name != b.Name && a.Data != 0 && a.Data == b.Data
}

// meet numbers all incarnations that the other region knows, and takes over which are lost.
func meet(t engine.Txn, h *regionHello) (from shared.Origin, err error) {
	me := t.Incarnations().Origins[t.Incarnations().Me]
	for _, o := range append(h.known, h.from) {
		if from, err = t.RegionOrigin(o); err != nil {
			return 0, err
		}
		if o.Lost && o.Name != me.Name {
			t.LoseRegion(o.Name, o.Incarnation)
		}
	}
	return from, nil
}

func runRegionMerge(c *Call, t engine.Txn) { mergeFrame(c, t, true) }
func runRegionWhole(c *Call, t engine.Txn) { mergeFrame(c, t, false) }

// mergeFrame replies with what became of the frame, how far its origin is incorporated, how many rows it has, and the log time. delta says
// that it is of some keys, and that its part is locked.
func mergeFrame(c *Call, t engine.Txn, delta bool) {
	if !t.HasRegions() {
		c.W.Error(protocol.ErrNoRegion)
		return
	}
	from, ok := parseIncarnation(c.Args[2:4])
	part, frame, table := besideFrame(c.Args), c.Args[5], c.Args[regionHeadMerge:]
	f, known := openFrame(frame, delta)
	rows, good := int64(0), ok && part >= 0 && known && len(table)%2 == 0 && len(table)/2 <= shared.MaxOrigins
	if good {
		rows, good = f.fits(part, len(table)/2)
	}
	if !good {
		c.W.Error(protocol.ErrRegionFrame)
		return
	}
	as, refusal := senderOrigins(t, table, from, f)
	if refusal != "" {
		c.W.Error(refusal)
		return
	}
	c.event("merge")
	t = t.For(&c.cause)
	var v shared.Verdict
	var at uint64
	var err error
	switch {
	case f.sketches:
		v, at, err = t.MergeSketches(part, frame, as)
	case delta:
		v, at, err = t.MergeFrameHeld(part, frame, as)
	default:
		v, at, err = t.MergeFrame(part, frame, as)
	}
	switch {
	case err != nil:
		c.W.Error(protocol.ErrRegionFrame)
	case v == shared.Refused:
		c.W.Error(protocol.ErrRegionLost)
	default:
		c.W.Array(4)
		c.W.BulkString([]string{shared.Applied: "applied", shared.Old: "old", shared.Gap: "gap"}[v])
		c.W.Int(int64(at))
		c.W.Int(rows)
		c.W.Int(t.Now())
	}
}

// senderOrigins is what this region numbers the sender's origins. It is an error text if one is not known, or if the frame is not the sender's own
// although its origin is not lost.
func senderOrigins(t engine.Txn, table [][]byte, from engine.RegionOrigin, f anyFrame) (as *[shared.MaxOrigins]shared.Origin, refusal string) {
	as = new([shared.MaxOrigins]shared.Origin)
	for i := 0; i < len(table); i += 2 {
		o, ok := parseIncarnation(table[i:])
		if !ok {
			return nil, protocol.ErrRegionArgs
		}
		if as[i/2], ok = t.Keyspace().OriginNumber(table[i], o.Incarnation); !ok {
			return nil, protocol.ErrRegionUnknown
		}
		if i/2 == int(f.origin) && !f.lost && (o.Name != from.Name || o.Incarnation != from.Incarnation) {
			return nil, protocol.ErrRegionFrame
		}
	}
	return as, ""
}

// anyFrame is what REGION MERGE and REGION WHOLE have to know of a frame.
type anyFrame struct {
	sketches, lost bool
	origin         shared.Origin
	counters       shared.Frame
	of             shared.SketchFrame
}

// openFrame reads the front of a frame; delta says of which command. false: it is none, or belongs to the other one.
func openFrame(b []byte, delta bool) (anyFrame, bool) {
	if shared.IsSketchFrame(b) {
		f, err := shared.OpenSketchFrame(b)
		return anyFrame{sketches: true, lost: f.Kind == shared.FrameLostSketches, origin: f.Origin, of: f}, err == nil && delta
	}
	f, err := shared.OpenFrame(b)
	return anyFrame{lost: f.Kind == shared.FrameLost, origin: f.Origin, counters: f}, err == nil && delta == (f.Kind == shared.FrameDelta)
}

// fits reports whether a frame can be read, and has keys of a part alone, and no other origins than the first n; and how many rows it has. Of a
// sketch frame the engine looks at the rows.
func (f anyFrame) fits(part, n int) (rows int64, good bool) {
	switch {
	case int(f.origin) >= n:
		return 0, false
	case !f.sketches:
		return fits(f.counters, part, n)
	}
	for row := (shared.SketchRow{}); ; rows++ {
		if more, err := f.of.Next(&row); err != nil || !more {
			return rows, err == nil
		}
	}
}

// fits is anyFrame.fits for the rows of counters.
func fits(f shared.Frame, part, n int) (rows int64, good bool) {
	good = true
	for row := (shared.Row{}); good; rows++ {
		more, err := f.Next(&row)
		if err != nil || !more {
			return rows, err == nil
		}
		good = engine.Part(row.Key) == part && len(row.Key) <= engine.MaxKey
		for _, h := range row.Hints {
			good = good && int(h.Origin) < n
		}
	}
	return rows, good
}

func runRegionLost(c *Call, t engine.Txn) {
	if !t.HasRegions() {
		c.W.Error(protocol.ErrNoRegion)
		return
	}
	s := t.Incarnations()
	last, found := uint64(0), false
	for _, o := range s.Origins {
		if o.Name == string(c.Args[2]) && !o.Lost {
			last, found = max(last, o.Incarnation), true
		}
	}
	if !found || s.Origins[s.Me].Name == string(c.Args[2]) {
		c.W.Error(protocol.ErrRegionNotOthers)
		return
	}
	t.LoseRegion(string(c.Args[2]), last)
	c.W.OK()
}

func runRegionRenew(c *Call, t engine.Txn) {
	if !t.HasRegions() {
		c.W.Error(protocol.ErrNoRegion)
		return
	}
	if err := t.RenewRegion(); err != nil {
		c.W.Error("ERR " + err.Error())
		return
	}
	c.W.OK()
}

func runRegionKeys(c *Call, v engine.View) {
	s, _ := v.Keyspace().Regions()
	c.W.Array(len(s.Keys))
	for _, p := range s.Keys {
		c.W.BulkString(p)
	}
}

// runRegionValue replies with a map: what each region has counted, its lost incarnations among it.
func runRegionValue(c *Call, v engine.View) {
	key := c.Args[2]
	if !v.SharesKey(v.DB(), key) {
		c.W.Null()
		return
	}
	sums := map[string]int64{}
	var names []string
	for _, share := range v.RegionShares(key) {
		if _, known := sums[share.Name]; !known {
			names = append(names, share.Name)
		}
		sums[share.Name] += share.N
	}
	c.W.Map(len(names))
	for _, name := range names {
		c.W.BulkString(name)
		c.W.Int(sums[name])
	}
}
