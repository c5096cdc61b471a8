package commands

import (
	"quipu/engine"
	"quipu/protocol"
)

// Values of Command.Shared that are no argument.
const (
	sharedNever  = 0
	sharedAlways = -1
)

// guardShared has a write refuse keys that regions share, unless its entry says that it leaves them counters. It stands around the handler,
// so that no way to a write goes past it: alone, in MULTI, in ONCE, from the log.
func (c *Command) guardShared() {
	if c.Write == nil || !c.HasKeys() || c.Shared == sharedAlways {
		return
	}
	write := c.Write
	c.Write = func(call *Call, t engine.Txn) {
		if t.HasRegions() {
			if refusal := c.refusesShared(call.Args, t); refusal != "" {
				call.W.Error(refusal)
				return
			}
		}
		write(call, t)
	}
}

// refusesShared is the error text for a call that may not be, or "".
func (c *Command) refusesShared(args [][]byte, t engine.Txn) (refusal string) {
	db, shares := t.DB(), false
	if c.CrossesDatabases(args) {
		db = 0
	}
	c.EachKey(args, func(key []byte) { shares = shares || t.SharesKey(db, key) })
	switch {
	case !shares:
		return ""
	case c.Shared == sharedNever:
		return protocol.ErrShared(c.full)
	}
	step := len(args)
	if len(c.Keys) == 1 && c.Keys[0].Step > 1 {
		step = c.Keys[0].Step
	}
	for i := c.Shared; i < len(args); i += step {
		if !engine.IsInteger(args[i]) {
			return protocol.ErrSharedValue(c.full)
		}
	}
	return ""
}
