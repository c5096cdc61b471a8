package commands

import (
	"slices"

	"quipu/engine"
	"quipu/engine/murmur2"
	"quipu/engine/topk"
	"quipu/protocol"
)

var topkCommands = []Command{
	{
		Name: "topk.reserve", LogID: 60, Event: "topk.reserve", Own: true, Shared: sharedAlways, Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagModule | FlagReserves,
		Keys:    keyAt(1, KeyRW|KeyInsert),
		Summary: "Make a Top-K sketch, which finds the items that occur most often", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N bytes of the sketch",
		Syntax:     "key topk:integer [<dimensions=width:integer depth:integer decay:double>] [SEED seed:integer]",
		Write:      runTopKReserve,
		Cost:       topkReserveCost,
	},
	{
		Name: "topk.add", LogID: 61, Event: "topk.add", Own: true, Shared: sharedAlways, Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagModule,
		Keys:    keyAt(1, KeyRW|KeyAccess|KeyUpdate),
		Summary: "Count items once each in a Top-K sketch", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N items, each as long as the sketch has rows",
		Syntax:     "key item [item ...]",
		Write:      runTopKAdd,
		Cost:       perKey(4000),
	},
	{
		Name: "topk.incrby", LogID: 62, Event: "topk.incrby", Own: true, Shared: sharedAlways, Arity: -4, Flags: FlagWrite | FlagDenyOOM | FlagModule,
		Keys:    keyAt(1, KeyRW|KeyAccess|KeyUpdate),
		Summary: "Count items in a Top-K sketch", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N items, each as long as the sketch has rows",
		Syntax:     "key item increment [item increment ...]",
		Write:      runTopKIncrBy,
		Cost:       perKey(2000), // for an argument, of which an item takes two
	},
	{
		Name: "topk.query", Own: true, Arity: -3, Flags: FlagReadonly | FlagModule,
		Keys:    keyAt(1, KeyRO|KeyAccess),
		Summary: "Whether items are in a Top-K list", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N items",
		Syntax:     "key item [item ...]",
		Read:       runTopKQuery,
	},
	{
		Name: "topk.count", Own: true, Arity: -3, Flags: FlagReadonly | FlagModule,
		Keys:    keyAt(1, KeyRO|KeyAccess),
		Summary: "Counts of items in a Top-K sketch", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N items, each as long as the sketch has rows",
		Syntax:     "key item [item ...]",
		Read:       runTopKCount,
		Cost:       perKey(1500),
	},
	{
		Name: "topk.list", Own: true, Arity: -2, Flags: FlagReadonly | FlagModule | FlagBulky,
		Keys:    keyAt(1, KeyRO|KeyAccess),
		Summary: "The items that occur most often, the first one most", Since: "2.0.0", Group: "module",
		Complexity: "O(K log K) for the K items of the list",
		Syntax:     "key [WITHCOUNT]",
		Read:       runTopKList,
		Cost:       perByte(10),
	},
	{
		Name: "topk.info", Own: true, Arity: 2, Flags: FlagReadonly | FlagModule,
		Keys:    keyAt(1, KeyRO),
		Summary: "Dimensions of a Top-K sketch", Since: "2.0.0", Group: "module",
		Complexity: "O(1)",
		Syntax:     "key",
		Read:       runTopKInfo,
	},
}

// Replies of the family.
const (
	errTopKMissing   = "TopK: key does not exist"
	errTopKExists    = "TopK: key already exists"
	errTopKK         = "TopK: invalid k"
	errTopKWidth     = "TopK: invalid width"
	errTopKDepth     = "TopK: invalid depth"
	errTopKDecay     = "TopK: invalid decay value. must be '<= 1' & '> 0'"
	errTopKSeed      = "TopK: invalid seed"
	errTopKMemory    = "TopK: Insufficient memory to create the key"
	errTopKIncrement = "TopK: increment must be an integer greater or equal to 0"
	errTopKItem      = "TopK: an item is longer than 65536 bytes"
	errTopKFull      = "TopK: Insufficient memory to keep the item"
	errTopKWithCount = "WITHCOUNT keyword expected"
)

// topkOptions is what may stand behind k. Arguments are checked later, in a fixed order.
type topkOptions struct {
	dimensions [][]byte // width, depth and decay, or nothing
	seed       []byte
}

// parseTopKOptions reads the arguments behind k; false where their number is wrong.
func parseTopKOptions(args [][]byte) (opt topkOptions, ok bool) {
	if n := len(args); n >= 2 && n != 3 && isWord(args[n-2], "seed") {
		opt.seed = args[n-1]
		args = args[:n-2]
	}
	opt.dimensions = args
	return opt, len(args) == 0 || len(args) == 3
}

func runTopKReserve(c *Call, t engine.Txn) {
	opt, ok := parseTopKOptions(c.Args[3:])
	if !ok {
		c.W.Error(protocol.ErrArity(c.Cmd.FullName()))
		return
	}
	key := c.Args[1]
	if _, found := t.Get(key); found {
		c.W.Error(errTopKExists)
		return
	}
	k, ok := protocol.ParseInt(c.Args[2])
	if !ok || k < 1 {
		c.W.Error(errTopKK)
		return
	}
	width, depth, decay, ok := c.topkDimensions(opt, k)
	if !ok {
		return
	}
	seed := defaultSeed(key, t.Now())
	if opt.seed != nil {
		n, ok := protocol.ParseInt(opt.seed)
		if !ok {
			c.W.Error(errTopKSeed)
			return
		}
		seed = uint64(n)
	}
	size, err := topk.Dimensions(k, width, depth)
	switch err {
	case nil:
		if c.tooLargeToShare(t, key, size) {
			return
		}
		content := t.Resize(key, size, engine.KindTopK)
		topk.Init(content.Bytes, k, width, depth, decay, seed)
		t.Changed(key, content)
		c.W.OK()
	case topk.ErrDepth:
		c.W.Error(errTopKDepth)
	default:
		c.W.Error(errTopKMemory)
	}
}

// topkDimensions reads the dimensions, where they are given; on a wrong one it replies so and returns false.
func (c *Call) topkDimensions(opt topkOptions, k int64) (width, depth int64, decay float64, ok bool) {
	if len(opt.dimensions) == 0 {
		return topk.DefaultWidth(min(k, topk.MaxK)), topk.DefaultDepth, topk.DefaultDecay, true
	}
	if width, ok = protocol.ParseInt(opt.dimensions[0]); !ok || width < 1 {
		c.W.Error(errTopKWidth)
		return 0, 0, 0, false
	}
	if depth, ok = protocol.ParseInt(opt.dimensions[1]); !ok || depth < 1 {
		c.W.Error(errTopKDepth)
		return 0, 0, 0, false
	}
	f, ok := parseFloat(opt.dimensions[2])
	if ok {
		decay, _ = f.Float64()
	}
	if decay <= 0 || decay > 1 {
		c.W.Error(errTopKDecay)
		return 0, 0, 0, false
	}
	return width, depth, decay, true
}

// defaultSeed differs from sketch to sketch and is the same on every node.
func defaultSeed(key []byte, now int64) uint64 {
	return uint64(murmur2.Sum32(key, uint32(now)))<<32 | uint64(murmur2.Sum32(key, ^uint32(now>>32)))
}

// openTopK is the sketch that a value holds. Where it holds none it replies so and returns false.
func (c *Call) openTopK(v engine.Value, found bool) (s topk.Sketch, ok bool) {
	if !c.isSketch(v, found, engine.KindTopK, errTopKMissing) {
		return s, false
	}
	s, err := topk.Open(v.Bytes)
	if err != nil {
		c.W.Error(errCorruptSketch)
		return s, false
	}
	return s, true
}

func runTopKAdd(c *Call, t engine.Txn) { c.countTopK(t, c.Args[2:], 1) }

func runTopKIncrBy(c *Call, t engine.Txn) {
	if len(c.Args)%2 != 0 {
		c.W.Error(protocol.ErrArity(c.Cmd.FullName()))
		return
	}
	c.countTopK(t, c.Args[2:], 2)
}

// countTopK counts items, which stand in each step-th argument, with their increments behind them if step is 2. All
// arguments are checked before anything is counted, so that the reply has as many elements as it announces.
func (c *Call) countTopK(t engine.Txn, args [][]byte, step int) {
	key := c.Args[1]
	v, found := t.Get(key)
	s, ok := c.openTopK(v, found)
	if !ok {
		return
	}
	for i := 0; i < len(args); i += step {
		if len(args[i]) > topk.MaxItem {
			c.W.Error(errTopKItem)
			return
		}
		if n, ok := topkIncrement(args, i, step); !ok || n < 0 {
			c.W.Error(errTopKIncrement)
			return
		}
	}
	content, _ := t.Content(key)
	content.Touch(0, len(content.Bytes)) // changes are all over it
	c.W.Array(len(args) / step)
	for i := 0; i < len(args); i += step {
		n, _ := topkIncrement(args, i, step)
		if n == 0 {
			c.W.Null()
			continue
		}
		known, enters := s.Count(args[i], uint64(n))
		if !enters {
			c.W.Null()
			continue
		}
		size, err := s.Room(len(args[i]))
		if err != nil {
			c.W.Error(errTopKFull)
			continue
		}
		if size > len(v.Bytes) {
			if c.tooLargeToShare(t, key, size) {
				continue
			}
			content = t.Resize(key, size, engine.KindTopK)
			v.Bytes = content.Bytes
			s, _ = topk.Open(v.Bytes)
		}
		if expelled := s.Enter(args[i], known); expelled != nil {
			c.W.Bulk(expelled)
		} else {
			c.W.Null()
		}
	}
	t.Changed(key, content)
}

func topkIncrement(args [][]byte, i, step int) (int64, bool) {
	if step == 1 {
		return 1, true
	}
	return protocol.ParseInt(args[i+1])
}

func runTopKQuery(c *Call, v engine.View) {
	s, ok := c.openTopK(c.lookup(v, c.Args[1]))
	if !ok {
		return
	}
	all := withCopies(s, topk.Open, v, c.Args[1])
	c.W.Array(len(c.Args) - 2)
	for _, item := range c.Args[2:] {
		c.W.Bool(s.Has(item) || slices.ContainsFunc(all, func(s topk.Sketch) bool { return s.Has(item) }))
	}
}

func runTopKCount(c *Call, v engine.View) {
	s, ok := c.openTopK(c.lookup(v, c.Args[1]))
	if !ok {
		return
	}
	all := withCopies(s, topk.Open, v, c.Args[1])
	c.W.Array(len(c.Args) - 2)
	for _, item := range c.Args[2:] {
		n := s.Estimate(item)
		if all != nil {
			n = topk.EstimateSum(all, item)
		}
		c.W.Int(n)
	}
}

func runTopKList(c *Call, v engine.View) {
	if len(c.Args) > 3 {
		c.W.Error(protocol.ErrArity(c.Cmd.FullName()))
		return
	}
	s, ok := c.openTopK(c.lookup(v, c.Args[1]))
	if !ok {
		return
	}
	withCount := len(c.Args) == 3
	if withCount && !isWord(c.Args[2], "withcount") {
		c.W.Error(errTopKWithCount)
		return
	}
	start := len(c.W.B)
	all := withCopies(s, topk.Open, v, c.Args[1])
	if all == nil {
		all = append(all, s)
	}
	best := topk.ListSum(all)
	n := len(best)
	if withCount {
		n *= 2
	}
	c.W.Array(n)
	for _, ranked := range best {
		c.W.Bulk(ranked.Item)
		if withCount {
			c.W.Int(ranked.Count)
		}
		if c.tooLarge(len(c.W.B) - start) {
			c.W.B = c.W.B[:start]
			c.W.Error(errReplyTooLarge)
			return
		}
	}
}

func runTopKInfo(c *Call, v engine.View) {
	s, ok := c.openTopK(c.lookup(v, c.Args[1]))
	if !ok {
		return
	}
	c.W.Map(4)
	c.W.Simple("k")
	c.W.Int(s.K())
	c.W.Simple("width")
	c.W.Int(s.Width())
	c.W.Simple("depth")
	c.W.Int(s.Depth())
	c.W.Simple("decay")
	c.W.Double(s.Decay())
}
