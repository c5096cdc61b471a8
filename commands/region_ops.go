package commands

import (
	"strconv"

	"quipu/engine"
	"quipu/protocol"
)

const (
	logRegionForget = 77
	logRegionMark   = 78
)

// regionMark, regionDigest and regionForget are subcommands of REGION.
var regionMark = Command{
	Name: "mark", LogID: logRegionMark, Level: RegionLevel, Own: true, Arity: 6, Flags: regionFlags, Group: "server", Since: "0.4.0",
	Complexity: "O(1)", Summary: "Which history of another region is told from now on", Syntax: "name incarnation:integer number:integer random:integer", Write: runRegionMark,
}

var regionDigest = Command{
	Name: "digest", Own: true, Arity: 6, Flags: FlagReadonly | FlagAdmin | FlagNoScript | FlagNoMulti | FlagSlow, Group: "server", Since: "0.4.0",
	Complexity: "O(N) for N shared keys of the part", Summary: "Compare what is here of another region's counts with its digest of a part", Syntax: "name incarnation:integer part:integer digest", Read: runRegionDigest,
}

var regionForget = Command{
	Name: "forget", LogID: logRegionForget, Level: RegionLevel, Own: true, Arity: 3, Flags: regionFlags, Group: "server", Since: "0.4.0",
	Complexity: "O(N) for N shared keys", Summary: "Forget resets of what a lost region had counted, when all regions have heard of them", Syntax: "name", Write: runRegionForget,
}

func runRegionForget(c *Call, t engine.Txn) {
	if !t.HasRegions() {
		c.W.Error(protocol.ErrNoRegion)
		return
	}
	n, ok := t.ForgetRegion(string(c.Args[2]))
	if !ok {
		c.W.Error(protocol.ErrRegionNotLost)
		return
	}
	c.W.Int(n)
}

// runRegionDigest replies with what the comparison has come to: "same", "differs", or "elsewhere", if this region is not where the digest is true;
// with how many of the 64 buckets were compared and how many differ; and with the log time.
func runRegionDigest(c *Call, v engine.View) {
	if !v.HasRegions() {
		c.W.Error(protocol.ErrNoRegion)
		return
	}
	from, ok := parseIncarnation(c.Args[2:4])
	part, ok2 := protocol.ParseInt(c.Args[4])
	if !ok || !ok2 || part < 0 || part >= engine.Parts {
		c.W.Error(protocol.ErrRegionArgs)
		return
	}
	o, ok := v.Keyspace().OriginNumber(c.Args[2], from.Incarnation)
	if !ok {
		c.W.Error(protocol.ErrRegionUnknown)
		return
	}
	verdict, err := v.CompareDigest(int(part), o, c.Args[5])
	if err != nil {
		c.W.Error(protocol.ErrRegionFrame)
		return
	}
	what := "same"
	switch {
	case !verdict.Here:
		what = "elsewhere"
	case verdict.Differs > 0:
		what = "differs"
	}
	c.W.Array(4)
	c.W.BulkString(what)
	c.W.Int(int64(verdict.Compared))
	c.W.Int(int64(verdict.Differs))
	c.W.Int(v.Now())
}

// runRegionMark notes under which mark of its history another region tells this one what it counts, once that has found that it is the one it was.
func runRegionMark(c *Call, t engine.Txn) {
	if !t.HasRegions() {
		c.W.Error(protocol.ErrNoRegion)
		return
	}
	from, ok := parseIncarnation(c.Args[2:4])
	number, err := strconv.ParseUint(string(c.Args[4]), 10, 64)
	random, err2 := strconv.ParseUint(string(c.Args[5]), 10, 64)
	if !ok || err != nil || err2 != nil || number == 0 {
		c.W.Error(protocol.ErrRegionArgs)
		return
	}
	o, ok := t.Keyspace().OriginNumber(c.Args[2], from.Incarnation)
	switch {
	case !ok:
		c.W.Error(protocol.ErrRegionUnknown)
	case t.Incarnations().Origins[o].Lost || o == t.Incarnations().Me:
		c.W.Error(protocol.ErrRegionLost)
	case !t.HearMark(o, engine.RegionMark{Number: number, Random: random}):
		c.W.Error(protocol.ErrRegionHistory)
	default:
		c.W.OK()
	}
}
