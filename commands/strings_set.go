package commands

import (
	"quipu/engine"
	"quipu/protocol"
)

var setCommands = []Command{
	{
		Name: "set", LogID: 12, Event: "set", Shared: 2, Arity: -3, Flags: FlagWrite | FlagDenyOOM | FlagBulky,
		Keys: []KeySpec{{First: 1, Last: 1, Step: 1, Flags: KeyRW | KeyAccess | KeyUpdate | KeyVariable,
			Notes: "RW and ACCESS due to the optional `GET` argument"}}, Categories: CatString,
		Summary: "Store a value under a key, with conditions and an expiry if wanted", Since: "1.0.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key value [condition@2.6.12=NX|XX] [GET@6.2.0] [expiration=EX seconds@2.6.12|PX milliseconds@2.6.12|EXAT unix-time-seconds@6.2.0|PXAT unix-time-milliseconds@6.2.0|KEEPTTL@6.0.0]",
		KeyFlags:   setKeyFlags,
		Write:      runSet,
	},
	{
		Name: "setex", LogID: 13, Event: "set", Shared: 3, Arity: 4, Flags: FlagWrite | FlagDenyOOM,
		Keys: keyAt(1, KeyOW|KeyUpdate), Categories: CatString,
		Summary: "Store a value that expires after some seconds", Since: "2.0.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key seconds value",
		Write:      runSetEx,
	},
	{
		Name: "psetex", LogID: 14, Event: "set", Shared: 3, Arity: 4, Flags: FlagWrite | FlagDenyOOM,
		Keys: keyAt(1, KeyOW|KeyUpdate), Categories: CatString,
		Summary: "Store a value that expires after some milliseconds", Since: "2.6.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key milliseconds value",
		Write:      runSetEx,
	},
	{
		Name: "setnx", LogID: 15, Event: "set", Shared: 2, Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
		Keys: keyAt(1, KeyOW|KeyInsert), Categories: CatString,
		Summary: "Store a value where there is none yet", Since: "1.0.0", Group: "string",
		Complexity: "O(1)",
		Syntax:     "key value",
		Write:      runSetNX,
	},
	{
		Name: "mset", LogID: 16, Event: "set", Shared: 2, Arity: -3, Flags: FlagWrite | FlagDenyOOM,
		Keys: keysFrom1(2, KeyOW|KeyUpdate), Categories: CatString,
		Tips:    []string{"request_policy:multi_shard", "response_policy:all_succeeded"},
		Summary: "Store several values at once", Since: "1.0.1", Group: "string",
		Complexity: "O(N) for N keys to set",
		Syntax:     "key value [key value ...]",
		Write:      runMSet,
	},
	{
		Name: "msetnx", LogID: 17, Event: "set", Shared: 2, Arity: -3, Flags: FlagWrite | FlagDenyOOM,
		Keys: keysFrom1(2, KeyOW|KeyInsert), Categories: CatString,
		Tips:    []string{"request_policy:multi_shard", "response_policy:agg_min"},
		Summary: "Store several values at once, or none if any of the keys is there", Since: "1.0.1", Group: "string",
		Complexity: "O(N) for N keys to set",
		Syntax:     "key value [key value ...]",
		Write:      runMSetNX,
	},
}

// setOptions is what stands behind SET key value and GETEX key.
type setOptions struct {
	onlyNew, onlyOld bool // NX, XX
	get              bool
	expiry           deadlineKind
	amount           []byte // argument of a timed expiry, not yet checked
}

// parseSetOptions reads the options of SET or GETEX, in any order; false is a syntax error. As in Redis a repeated
// option is fine, and of a repeated expiry of one kind the last counts.
func parseSetOptions(args [][]byte, set bool) (opt setOptions, ok bool) {
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case set && isWord(word, "nx") && !opt.onlyOld:
			opt.onlyNew = true
		case set && isWord(word, "xx") && !opt.onlyNew:
			opt.onlyOld = true
		case set && isWord(word, "get"):
			opt.get = true
		default:
			kind := expiryWord(word, set)
			if kind == deadlineNone || opt.expiry != deadlineNone && opt.expiry != kind {
				return opt, false
			}
			opt.expiry = kind
			if kind.timed() {
				if i++; i == len(args) {
					return opt, false
				}
				opt.amount = args[i]
			}
		}
	}
	return opt, true
}

// expiryWord recognizes an expiry option: KEEPTTL is SET's alone and PERSIST GETEX's.
func expiryWord(word []byte, set bool) deadlineKind {
	switch {
	case isWord(word, "ex"):
		return deadlineSeconds
	case isWord(word, "px"):
		return deadlineMillis
	case isWord(word, "exat"):
		return deadlineAtSeconds
	case isWord(word, "pxat"):
		return deadlineAtMillis
	case set && isWord(word, "keepttl"):
		return deadlineKeep
	case !set && isWord(word, "persist"):
		return deadlinePersist
	}
	return deadlineNone
}

func setKeyFlags(args [][]byte) KeyFlag {
	if len(args) > 3 {
		for _, arg := range args[3:] {
			if isWord(arg, "get") {
				return KeyRW | KeyAccess | KeyUpdate
			}
		}
	}
	return KeyOW | KeyUpdate
}

func runSet(c *Call, t engine.Txn) {
	key, val := c.Args[1], c.Args[2]
	if len(c.Args) == 3 {
		t.Set(key, val, 0)
		c.W.OK()
		return
	}
	opt, ok := parseSetOptions(c.Args[3:], true)
	if !ok {
		c.W.Error(protocol.ErrSyntax)
		return
	}
	var deadline int64
	if opt.expiry.timed() {
		if deadline, ok = c.positiveDeadline(opt.expiry, opt.amount, t.Now()); !ok {
			return
		}
	}
	old, found := t.Get(key)
	if opt.get && !c.isString(old, found) {
		return
	}
	refused := opt.onlyNew && found || opt.onlyOld && !found
	switch {
	case opt.get:
		c.bulkValue(old, found)
	case refused:
		c.W.Null()
	default:
		c.W.OK()
	}
	if refused {
		return
	}
	if opt.expiry == deadlineKeep {
		deadline = old.Deadline
	}
	c.setUntil(t, key, val, deadline, opt.expiry.timed())
}

// announceExpiry tells observers that a value was stored with an expiry of its own, as Redis does behind "set".
func (c *Call) announceExpiry(t engine.Txn, key []byte) {
	c.event("expire")
	t.Announce(key, engine.OpDeadline)
}

// setUntil stores val, or removes the key when its deadline has passed already: nobody could read it. Whoever watches
// the key is told of a change even if there was none before. timed says that the deadline is the command's own.
func (c *Call) setUntil(t engine.Txn, key, val []byte, deadline int64, timed bool) {
	if deadline != 0 && deadline <= t.Now() {
		if _, found := t.Get(key); !found {
			t.Set(key, nil, 0)
		}
		c.event("del")
		t.Delete(key)
		return
	}
	t.Set(key, val, deadline)
	if timed {
		c.announceExpiry(t, key)
	}
}

// runSetEx serves SETEX and PSETEX.
func runSetEx(c *Call, t engine.Txn) {
	kind := deadlineSeconds
	if c.Cmd.Name == "psetex" {
		kind = deadlineMillis
	}
	deadline, ok := c.positiveDeadline(kind, c.Args[2], t.Now())
	if !ok {
		return
	}
	t.Set(c.Args[1], c.Args[3], deadline)
	c.announceExpiry(t, c.Args[1])
	c.W.OK()
}

func runSetNX(c *Call, t engine.Txn) {
	if _, found := t.Get(c.Args[1]); found {
		c.W.Int(0)
		return
	}
	t.Set(c.Args[1], c.Args[2], 0)
	c.W.Int(1)
}

func runMSet(c *Call, t engine.Txn) {
	if len(c.Args)%2 == 0 {
		c.W.Error(protocol.ErrArity(c.Cmd.FullName()))
		return
	}
	for i := 1; i < len(c.Args); i += 2 {
		t.Set(c.Args[i], c.Args[i+1], 0)
	}
	c.W.OK()
}

func runMSetNX(c *Call, t engine.Txn) {
	if len(c.Args)%2 == 0 {
		c.W.Error(protocol.ErrArity(c.Cmd.FullName()))
		return
	}
	for i := 1; i < len(c.Args); i += 2 {
		if _, found := t.Get(c.Args[i]); found {
			c.W.Int(0)
			return
		}
	}
	for i := 1; i < len(c.Args); i += 2 {
		t.Set(c.Args[i], c.Args[i+1], 0)
	}
	c.W.Int(1)
}
