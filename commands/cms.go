package commands

import (
	"slices"

	"quipu/engine"
	"quipu/engine/cms"
	"quipu/protocol"
)

var cmsCommands = []Command{
	{
		Name: "cms.initbydim", LogID: 50, Event: "cms.initbydim", Own: true, Shared: sharedAlways, Arity: -4, Flags: FlagWrite | FlagDenyOOM | FlagModule | FlagReserves,
		Keys:    keyAt(1, KeyRW|KeyInsert),
		Summary: "Make a Count-Min sketch with so many cells", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N bytes of the sketch",
		Syntax:     "key width:integer depth:integer [CELL_SIZE bytes:integer] [CONSERVATIVE]",
		Write:      runCMSInitByDim,
		Cost:       cmsInitCost,
	},
	{
		Name: "cms.initbyprob", LogID: 51, Event: "cms.initbyprob", Own: true, Shared: sharedAlways, Arity: -4, Flags: FlagWrite | FlagDenyOOM | FlagModule | FlagReserves,
		Keys:    keyAt(1, KeyRW|KeyInsert),
		Summary: "Make a Count-Min sketch that overestimates so little, so seldom more", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N bytes of the sketch",
		Syntax:     "key error:double probability:double [CELL_SIZE bytes:integer] [CONSERVATIVE]",
		Write:      runCMSInitByProb,
		Cost:       cmsInitByProbCost,
	},
	{
		Name: "cms.incrby", LogID: 52, Event: "cms.incrby", Own: true, Shared: sharedAlways, Arity: -4, Flags: FlagWrite | FlagDenyOOM | FlagModule,
		Keys:    keyAt(1, KeyRW|KeyAccess|KeyUpdate),
		Summary: "Count items in a Count-Min sketch", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N items, each as long as the sketch has rows",
		Syntax:     "key item increment [item increment ...]",
		Write:      runCMSIncrBy,
		Cost:       cmsItemsCost(2),
	},
	{
		Name: "cms.query", Own: true, Arity: -3, Flags: FlagReadonly | FlagModule,
		Keys:    keyAt(1, KeyRO|KeyAccess),
		Summary: "Counts of items in a Count-Min sketch", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N items, each as long as the sketch has rows",
		Syntax:     "key item [item ...]",
		Read:       runCMSQuery,
		Cost:       cmsItemsCost(1),
	},
	{
		Name: "cms.merge", LogID: 53, Event: "cms.merge", Own: true, Shared: sharedAlways, Arity: -4, Flags: FlagWrite | FlagDenyOOM | FlagModule,
		Keys: []KeySpec{{First: 1, Last: 1, Step: 1, Flags: KeyRW | KeyUpdate}}, GetKeys: cmsMergeKeys,
		Summary: "Replace a Count-Min sketch by the sum of others", Since: "2.0.0", Group: "module",
		Complexity: "O(N) for N bytes of all sketches",
		Syntax:     "destination:key numkeys:integer source:key [source:key ...] [WEIGHTS <weight:integer ...>]",
		Write:      runCMSMerge,
		Cost:       cmsMergeCost,
	},
	{
		Name: "cms.info", Own: true, Arity: 2, Flags: FlagReadonly | FlagModule,
		Keys:    keyAt(1, KeyRO),
		Summary: "Dimensions of a Count-Min sketch and the sum of its counts", Since: "2.0.0", Group: "module",
		Complexity: "O(1)",
		Syntax:     "key",
		Read:       runCMSInfo,
	},
}

// Replies of the family.
const (
	errCMSMissing      = "CMS: key does not exist"
	errCMSExists       = "CMS: key already exists"
	errCMSWidth        = "CMS: invalid width"
	errCMSDepth        = "CMS: invalid depth"
	errCMSError        = "CMS: invalid overestimation value"
	errCMSProbability  = "CMS: invalid prob value"
	errCMSArguments    = "CMS: invalid init arguments"
	errCMSMemory       = "CMS: Insufficient memory to create the key"
	errCMSCell         = "CMS: CELL_SIZE must be 1, 2, 4 or 8"
	errCMSNumber       = "CMS: Cannot parse number"
	errCMSOverflow     = "CMS: INCRBY overflow"
	errCMSUnderflow    = "CMS: INCRBY underflow"
	errCMSNumKeys      = "CMS: invalid numkeys"
	errCMSNoKeys       = "CMS: Number of keys must be positive"
	errCMSKeys         = "CMS: wrong number of keys"
	errCMSWeights      = "CMS: wrong number of keys/weights"
	errCMSWeight       = "CMS: invalid weight value"
	errCMSShape        = "CMS: width/depth is not equal"
	errCMSMerge        = "CMS: MERGE overflow"
	errCMSMergeSize    = "CMS: MERGE of more than 512 MiB"
	errCMSDecrement    = "CMS: a CONSERVATIVE sketch cannot be decremented"
	errCMSConservative = "CMS: a CONSERVATIVE sketch can only be added, and to one that is CONSERVATIVE"
)

// cmsMergeMax bounds the bytes that one merge goes through.
const cmsMergeMax = 512 << 20

// cmsOptions is what may stand behind the dimensions of a new sketch.
type cmsOptions struct {
	cell         int
	conservative bool
}

// parseCMSOptions reads the options; on a wrong one it replies so and returns false.
func (c *Call) parseCMSOptions(args [][]byte) (opt cmsOptions, ok bool) {
	for i := 0; i < len(args); i++ {
		switch {
		case isWord(args[i], "cell_size") && opt.cell == 0 && i+1 < len(args):
			i++
			n, ok := protocol.ParseInt(args[i])
			if !ok || !cms.ValidCell(n) {
				c.W.Error(errCMSCell)
				return opt, false
			}
			opt.cell = int(n)
		case isWord(args[i], "conservative") && !opt.conservative:
			opt.conservative = true
		default:
			c.W.Error(protocol.ErrSyntax)
			return opt, false
		}
	}
	if opt.cell == 0 {
		opt.cell = 4
	}
	return opt, true
}

func runCMSInitByDim(c *Call, t engine.Txn) {
	if _, found := t.Get(c.Args[1]); found {
		c.W.Error(errCMSExists)
		return
	}
	width, ok := protocol.ParseInt(c.Args[2])
	if !ok || width < 1 {
		c.W.Error(errCMSWidth)
		return
	}
	depth, ok := protocol.ParseInt(c.Args[3])
	if !ok || depth < 1 {
		c.W.Error(errCMSDepth)
		return
	}
	c.makeCMS(t, width, depth)
}

func runCMSInitByProb(c *Call, t engine.Txn) {
	if _, found := t.Get(c.Args[1]); found {
		c.W.Error(errCMSExists)
		return
	}
	epsilon, ok := parseShare(c.Args[2])
	if !ok {
		c.W.Error(errCMSError)
		return
	}
	delta, ok := parseShare(c.Args[3])
	if !ok {
		c.W.Error(errCMSProbability)
		return
	}
	width, depth := cms.FromErrors(float32(epsilon), float32(delta))
	if width < 1 || depth < 1 {
		c.W.Error(errCMSArguments)
		return
	}
	c.makeCMS(t, width, depth)
}

// parseShare reads a number between 0 and 1, both excluded.
func parseShare(arg []byte) (float64, bool) {
	f, ok := parseFloat(arg)
	if !ok {
		return 0, false
	}
	n, _ := f.Float64()
	return n, n > 0 && n < 1
}

// makeCMS makes an empty sketch at the first argument, with the options from the fourth on.
func (c *Call) makeCMS(t engine.Txn, width, depth int64) {
	opt, ok := c.parseCMSOptions(c.Args[4:])
	if !ok {
		return
	}
	size, err := cms.Dimensions(width, depth, opt.cell)
	switch err {
	case nil:
		if c.tooLargeToShare(t, c.Args[1], size) {
			return
		}
		content := t.Resize(c.Args[1], size, engine.KindCMS)
		cms.Init(content.Bytes, width, depth, opt.cell, opt.conservative)
		t.Changed(c.Args[1], content)
		c.W.OK()
	case cms.ErrTooLarge:
		c.W.Error(errCMSMemory)
	case cms.ErrDepth:
		c.W.Error(errCMSDepth)
	default:
		c.W.Error(errCMSArguments)
	}
}

// openCMS is the sketch that a value holds. Where it holds none it replies so and returns false.
func (c *Call) openCMS(v engine.Value, found bool) (s cms.Sketch, ok bool) {
	if !c.isSketch(v, found, engine.KindCMS, errCMSMissing) {
		return s, false
	}
	s, err := cms.Open(v.Bytes)
	if err != nil {
		c.W.Error(errCorruptSketch)
		return s, false
	}
	return s, true
}

// openCMSContent is openCMS for the sketch of a key that is to be changed.
func (c *Call) openCMSContent(t engine.Txn, key []byte) (content engine.Content, s cms.Sketch, ok bool) {
	content, found := t.Content(key)
	s, ok = c.openCMS(engine.Value{Kind: content.Kind, Bytes: content.Bytes}, found)
	return content, s, ok
}

func runCMSIncrBy(c *Call, t engine.Txn) {
	key, pairs := c.Args[1], c.Args[2:]
	if len(pairs)%2 != 0 {
		c.W.Error(protocol.ErrArity(c.Cmd.FullName()))
		return
	}
	content, s, ok := c.openCMSContent(t, key)
	if !ok {
		return
	}
	for i := 1; i < len(pairs); i += 2 {
		n, ok := protocol.ParseInt(pairs[i])
		if !ok {
			c.W.Error(errCMSNumber)
			return
		}
		if n < 0 && s.Conservative() {
			c.W.Error(errCMSDecrement)
			return
		}
	}
	all := withCopies(s, cms.Open, t.View, key)
	var cells cms.Cells
	content.Touch(cms.CountAt, cms.CountBytes)
	c.W.Array(len(pairs) / 2)
	for i := 0; i < len(pairs); i += 2 {
		n, _ := protocol.ParseInt(pairs[i+1])
		s.Locate(&cells, pairs[i])
		for _, at := range cells.All() {
			content.Touch(int(at), s.CellBytes())
		}
		switch count, err := s.Add(cells.All(), n); err {
		case nil:
			if all != nil {
				count = cms.EstimateSum(all, cells.All())
			}
			c.W.Int(count)
		case cms.ErrUnderflow:
			c.W.Error(errCMSUnderflow)
		default:
			c.W.Error(errCMSOverflow)
		}
	}
	t.Changed(key, content)
}

func runCMSQuery(c *Call, v engine.View) {
	s, ok := c.openCMS(c.lookup(v, c.Args[1]))
	if !ok {
		return
	}
	all := withCopies(s, cms.Open, v, c.Args[1])
	var cells cms.Cells
	c.W.Array(len(c.Args) - 2)
	for _, item := range c.Args[2:] {
		s.Locate(&cells, item)
		n := s.Estimate(cells.All())
		if all != nil {
			n = cms.EstimateSum(all, cells.All())
		}
		c.W.Int(n)
	}
}

// cmsMergeKeys finds the keys of CMS.MERGE. Where the arguments are not valid the handler looks at the destination only.
func cmsMergeKeys(args [][]byte) (keys []KeyAt, ok bool) {
	if len(args) < 4 {
		return nil, false
	}
	destination := KeyAt{1, KeyRW | KeyUpdate}
	n, ok := protocol.ParseInt(args[2])
	if !ok || n < 1 || n > int64(len(args)-3) {
		return []KeyAt{destination}, false
	}
	keys = make([]KeyAt, 0, n+1)
	keys = append(keys, destination)
	for i := range int(n) {
		keys = append(keys, KeyAt{3 + i, KeyRO | KeyAccess})
	}
	return keys, true
}

// cmsMergeSources reads what stands behind the destination of CMS.MERGE: the sources, and the weights as they were
// written, nil if there are none. mistake is the error text, or "".
func cmsMergeSources(args [][]byte) (keys, weights [][]byte, mistake string) {
	n, ok := protocol.ParseInt(args[0])
	if !ok {
		return nil, nil, errCMSNumKeys
	}
	if n < 1 {
		return nil, nil, errCMSNoKeys
	}
	// The first argument that is the word WEIGHTS decides which form the call has, wherever it stands. No source can
	// therefore be a key of that name.
	rest := args[1:]
	at := slices.IndexFunc(rest, func(arg []byte) bool { return equalFold(arg, "weights") })
	if at < 0 {
		if int64(len(rest)) != n {
			return nil, nil, errCMSKeys
		}
		return rest, nil, ""
	}
	keys, weights = rest[:at], rest[at+1:]
	if int64(len(keys)) != n || int64(len(weights)) != n {
		return nil, nil, errCMSWeights
	}
	return keys, weights, ""
}

func runCMSMerge(c *Call, t engine.Txn) {
	if t.SharesKey(t.DB(), c.Args[1]) { // it would replace what all regions have added; as a source a shared sketch is welcome
		c.W.Error(protocol.ErrShared(c.Cmd.FullName()))
		return
	}
	content, s, ok := c.openCMSContent(t, c.Args[1])
	if !ok {
		return
	}
	keys, written, mistake := cmsMergeSources(c.Args[2:])
	if mistake != "" {
		c.W.Error(mistake)
		return
	}
	sources, weights := make([]cms.Sketch, 0, len(keys)), make([]int64, 0, len(keys))
	total := len(content.Bytes)
	for i, key := range keys {
		weight := int64(1)
		if written != nil {
			if weight, ok = protocol.ParseInt(written[i]); !ok {
				c.W.Error(errCMSWeight)
				return
			}
		}
		v, found := t.Get(key)
		source, ok := c.openCMS(v, found)
		if !ok {
			return
		}
		all := withCopies(source, cms.Open, t.View, key)
		if all == nil {
			all = []cms.Sketch{source}
		}
		for _, s := range all {
			sources, weights = append(sources, s), append(weights, weight)
			total += len(v.Bytes)
		}
		if total > cmsMergeMax {
			c.W.Error(errCMSMergeSize)
			return
		}
	}
	content.Touch(0, len(content.Bytes))
	switch s.Merge(sources, weights) {
	case nil:
		t.Changed(c.Args[1], content)
		c.W.OK()
	case cms.ErrShape:
		c.W.Error(errCMSShape)
	case cms.ErrConservative:
		c.W.Error(errCMSConservative)
	default:
		c.W.Error(errCMSMerge)
	}
}

func runCMSInfo(c *Call, v engine.View) {
	s, ok := c.openCMS(c.lookup(v, c.Args[1]))
	if !ok {
		return
	}
	c.W.Map(4)
	c.W.Simple("width")
	c.W.Int(s.Width())
	c.W.Simple("depth")
	c.W.Int(s.Depth())
	c.W.Simple("count")
	n := s.Count()
	if all := withCopies(s, cms.Open, v, c.Args[1]); all != nil {
		n = cms.CountSum(all)
	}
	c.W.Int(n)
	c.W.Simple("cell_size")
	c.W.Int(int64(s.CellBytes()))
}
