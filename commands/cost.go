package commands

import (
	"math"

	"quipu/engine/cms"
	"quipu/engine/topk"
	"quipu/protocol"
)

// How long a command may take, as far as its arguments and the size of the values tell it beforehand. An event loop executes what
// is short; the rest is executed elsewhere, and locks its keys so that no loop waits for them (engine/longlock.go). Figures are
// nanoseconds, measured on two busy cores of 2.6 GHz, on the high side.
const (
	LongCost     = 4_000_000 // a command, or several together, are long from here on: a loop is not to be held for 10 ms
	argumentCost = 500       // of a key, or of an item, which misses the caches
)

// Cost functions of entries, see Command.Cost. No value has more than largest bytes.
type costFunc = func(args [][]byte, largest int) int

// perKey is the cost of a command that works on each of its keys for so many nanoseconds.
func perKey(ns int) costFunc {
	return func(args [][]byte, _ int) int { return len(args) * ns }
}

// perByte is the cost of a command that goes once through a value.
func perByte(ns float64) costFunc {
	return func(_ [][]byte, largest int) int { return int(ns * float64(largest)) }
}

// cmsItemsCost is the cost of items that stand in each step-th argument: 20 ns for each row of the sketch, and a row has a byte
// or more.
func cmsItemsCost(step int) costFunc {
	return func(args [][]byte, largest int) int { return len(args) / step * min(largest, cms.MaxDepth) * 20 }
}

func cmsMergeCost(args [][]byte, largest int) int {
	const ns = 1.5 // for a byte; 0.3 without weights
	return int(ns * float64(min(len(args)*largest, cmsMergeMax)))
}

func ucMergeCost(args [][]byte, largest int) int { return 2 * min(len(args)*largest, ucBytesMax) }

// sketchCost is the cost of making a sketch of n cells of 8 bytes.
func sketchCost(n float64) int {
	const ns = 2 // for a byte
	return int(min(8*n*ns, math.MaxInt32))
}

func cmsInitCost(args [][]byte, _ int) int {
	width, _ := protocol.ParseInt(args[2])
	depth, _ := protocol.ParseInt(args[3])
	return sketchCost(float64(width) * float64(depth))
}

func cmsInitByProbCost([][]byte, int) int { return LongCost + 1 } // which dimensions come out is not worth finding out twice

func topkReserveCost(args [][]byte, _ int) int {
	k, _ := protocol.ParseInt(args[2])
	cells := float64(topk.DefaultWidth(max(1, min(k, topk.MaxK)))) * topk.DefaultDepth
	if len(args) > 4 {
		width, _ := protocol.ParseInt(args[3])
		depth, _ := protocol.ParseInt(args[4])
		cells = float64(width) * float64(depth)
	}
	return sketchCost(6*float64(k) + cells)
}

// MayBeLong reports whether IsLong can be true for args, at hardly any cost.
func (c *Command) MayBeLong(args [][]byte) bool {
	return c.Cost != nil || len(args) > LongCost/argumentCost || c.Flags&FlagSlow != 0
}

// IsLong reports whether executing args may take so long that no event loop must do it or wait for it. No value has more
// than largest bytes.
func (c *Command) IsLong(args [][]byte, largest int) bool {
	return c.MayBeLong(args) && (c.Flags&FlagSlow != 0 || c.CostOf(args, largest) > LongCost)
}

// CostOf is about how many nanoseconds executing args may take at most.
func (c *Command) CostOf(args [][]byte, largest int) int {
	n := len(args) * argumentCost
	if c.Cost != nil {
		n = max(n, c.Cost(args, largest))
	}
	return n
}

// ArgumentsCost is what commands with so many arguments together cost at least, in nanoseconds.
func ArgumentsCost(n int) int { return n * argumentCost }
