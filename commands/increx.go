package commands

import (
	"math"
	"math/big"

	"quipu/engine"
	"quipu/protocol"
)

var increxCommands = []Command{
	{
		Name: "increx", LogID: 6, Event: "incrby", Own: true, Shared: sharedAlways, Arity: -2, Flags: FlagWrite | FlagDenyOOM | FlagFast,
		Keys: keyAt(1, KeyRW|KeyAccess|KeyUpdate), Categories: CatString,
		Summary: "Increment a number within bounds and set its expiration", Since: "8.8.0", Group: "string",
		Complexity: "O(1)",
		Syntax: "key [condition=NX|XX] [increment=BYINT increment|BYFLOAT increment:double] [LBOUND lowerbound:double] " +
			"[UBOUND upperbound:double] [SATURATE] [expiration=EX seconds|PX milliseconds|EXAT unix-time-seconds|" +
			"PXAT unix-time-milliseconds|PERSIST] [ENX]",
		Write: runIncrEx,
	},
}

// increxOptions is what stands behind INCREX key. Arguments are kept as given and checked later, in a fixed order.
type increxOptions struct {
	onlyNew, onlyOld bool // NX, XX
	float            bool
	by, low, high    []byte // nil: 1, none, none
	saturate         bool
	expiry           deadlineKind
	amount           []byte
	expiryOnce       bool // ENX
}

func runIncrEx(c *Call, t engine.Txn) {
	opt, ok := parseIncrEx(c.Args[2:])
	if !ok {
		c.W.Error(protocol.ErrSyntax)
		return
	}
	if opt.float {
		runIncrExFloat(c, t, opt)
	} else {
		runIncrExInt(c, t, opt)
	}
}

// parseIncrEx reads the options in any order, each at most once; false is a syntax error.
func parseIncrEx(args [][]byte) (opt increxOptions, ok bool) {
	for i := 0; i < len(args); i++ {
		word := args[i]
		if flag := opt.flag(word); flag != nil {
			if *flag {
				return opt, false
			}
			*flag = true
			continue
		}
		target := opt.target(word)
		if target == nil || *target != nil {
			return opt, false
		}
		if isWord(word, "persist") {
			*target = word
			continue
		}
		if i++; i == len(args) {
			return opt, false
		}
		if *target = args[i]; *target == nil {
			*target = []byte{} // given, though empty
		}
	}
	if opt.onlyNew && opt.onlyOld || opt.expiryOnce && !opt.expiry.timed() {
		return opt, false
	}
	return opt, true
}

// flag is the field of an option without an argument, nil if word is none.
func (o *increxOptions) flag(word []byte) *bool {
	switch {
	case isWord(word, "nx"):
		return &o.onlyNew
	case isWord(word, "xx"):
		return &o.onlyOld
	case isWord(word, "saturate"):
		return &o.saturate
	case isWord(word, "enx"):
		return &o.expiryOnce
	}
	return nil
}

// target is the field that holds the argument of an option, nil if word is none. It notes which of the options that
// share a field it is. PERSIST shares that of the expiries though it has no argument.
func (o *increxOptions) target(word []byte) *[]byte {
	switch {
	case isWord(word, "byint") || isWord(word, "byfloat"):
		o.float = o.float || isWord(word, "byfloat")
		return &o.by
	case isWord(word, "lbound"):
		return &o.low
	case isWord(word, "ubound"):
		return &o.high
	case isWord(word, "persist"):
		o.expiry = deadlinePersist
		return &o.amount
	}
	if kind := expiryWord(word, false); kind != deadlineNone {
		o.expiry = kind
		return &o.amount
	}
	return nil
}

// increxState is the key before the command and what its expiry will be.
type increxState struct {
	value    engine.Value
	found    bool
	deadline int64
	persists bool // PERSIST, and something dies: see engine.View.Mortal
}

// prepare looks up the key and works out the new deadline. On false a reply has been written.
func (o *increxOptions) prepare(c *Call, t engine.Txn) (s increxState, ok bool) {
	var timed int64
	if o.expiry.timed() {
		if timed, ok = c.positiveDeadline(o.expiry, o.amount, t.Now()); !ok {
			return s, false
		}
	}
	s.value, s.found = t.Get(c.Args[1])
	if !c.isString(s.value, s.found) {
		return s, false
	}
	if o.onlyNew && s.found || o.onlyOld && !s.found {
		c.W.Array(2)
		c.W.Null()
		c.W.Int(0)
		return s, false
	}
	s.deadline = s.value.Deadline
	switch {
	case o.expiry == deadlinePersist:
		s.deadline, s.persists = 0, s.found && t.Mortal(c.Args[1], s.value)
	case o.expiry.timed() && (s.deadline == 0 || !o.expiryOnce):
		s.deadline = timed
	}
	return s, true
}

// retimed reports whether the deadline changes, and sets the event that observers are told for that.
func (s *increxState) retimed(c *Call) bool {
	switch {
	case s.deadline == s.value.Deadline && !s.persists:
		return false
	case s.deadline == 0:
		c.event("persist")
	default:
		c.event("expire")
	}
	return true
}

func runIncrExInt(c *Call, t engine.Txn, opt increxOptions) {
	delta, low, high := int64(1), int64(math.MinInt64), int64(math.MaxInt64)
	for _, field := range []struct {
		text []byte
		n    *int64
	}{{opt.by, &delta}, {opt.low, &low}, {opt.high, &high}} {
		if field.text == nil {
			continue
		}
		var ok bool
		if *field.n, ok = c.intArg(field.text); !ok {
			return
		}
	}
	if low > high {
		c.W.Error(errBounds)
		return
	}
	s, ok := opt.prepare(c, t)
	if !ok {
		return
	}
	current, ok := intOf(s.value, s.found)
	if !ok {
		c.W.Error(protocol.ErrNotInteger)
		return
	}
	next, inside := addWithin(current, delta, low, high)
	if !inside && !opt.saturate {
		replyInts(c.W, current, 0)
		return
	}
	if (next < current) != (next-current < 0) { // saturated from one end of the integers to the other
		c.W.Error(protocol.ErrOverflow)
		return
	}
	if s.deadline != 0 && s.deadline <= t.Now() {
		c.event("del")
		t.Delete(c.Args[1])
	} else {
		if _, err := t.Add(c.Args[1], next-current); err != nil {
			c.engineError(err)
			return
		}
		if s.retimed(c) {
			t.SetDeadline(c.Args[1], s.deadline)
		}
	}
	replyInts(c.W, next, next-current)
}

// addWithin is a + b, or the nearest of low and high where the sum lies beyond them.
func addWithin(a, b, low, high int64) (sum int64, inside bool) {
	sum = a + b
	switch {
	case b > 0 && sum < a:
		return high, false
	case b < 0 && sum > a:
		return low, false
	case sum < low:
		return low, false
	case sum > high:
		return high, false
	}
	return sum, true
}

func replyInts(w *protocol.Writer, a, b int64) {
	w.Array(2)
	w.Int(a)
	w.Int(b)
}

// intOf is a string value as an integer, 0 where there is none.
func intOf(v engine.Value, found bool) (int64, bool) {
	switch {
	case !found:
		return 0, true
	case v.Kind == engine.KindInt:
		return v.Int, true
	default:
		return protocol.ParseInt(v.Bytes)
	}
}

func runIncrExFloat(c *Call, t engine.Txn, opt increxOptions) {
	delta := new(big.Float)
	most := greatestFloat()
	least := new(big.Float).Neg(most)
	low, high := least, most
	for _, field := range []struct {
		text []byte
		f    **big.Float
	}{{opt.by, &delta}, {opt.low, &low}, {opt.high, &high}} {
		if field.text == nil {
			continue
		}
		var ok bool
		if *field.f, ok = parseFloat(field.text); !ok {
			c.W.Error(protocol.ErrNotFloat)
			return
		}
	}
	low, high = maxFloat(low, least), minFloat(high, most)
	if low.Cmp(high) > 0 {
		c.W.Error(errBounds)
		return
	}
	s, ok := opt.prepare(c, t)
	if !ok {
		return
	}
	current, ok := floatOf(s.value, s.found)
	if !ok {
		c.W.Error(protocol.ErrNotFloat)
		return
	}
	if current.IsInf() || delta.IsInf() {
		c.W.Error(protocol.ErrNotFinite)
		return
	}
	sum, _ := addFloats(current, delta)
	next := minFloat(maxFloat(sum, low), high)
	if next.Cmp(sum) != 0 && !opt.saturate {
		replyFloats(c.W, current, new(big.Float))
		return
	}
	applied, ok := addFloats(next, new(big.Float).Neg(current))
	if !ok { // saturated from one end of the numbers to the other
		c.W.Error(protocol.ErrNotFinite)
		return
	}
	if s.deadline != 0 && s.deadline <= t.Now() {
		c.event("del")
		t.Delete(c.Args[1])
	} else {
		c.event("incrbyfloat")
		t.SetBytes(c.Args[1], formatFloat(next), engine.KindString, s.deadline)
		if s.retimed(c) {
			t.Announce(c.Args[1], engine.OpDeadline)
		}
	}
	replyFloats(c.W, next, applied)
}

func minFloat(a, b *big.Float) *big.Float {
	if b.Cmp(a) < 0 {
		return b
	}
	return a
}

func maxFloat(a, b *big.Float) *big.Float {
	if b.Cmp(a) > 0 {
		return b
	}
	return a
}

func replyFloats(w *protocol.Writer, a, b *big.Float) {
	w.Array(2)
	replyFloat(w, a)
	replyFloat(w, b)
}

// replyFloat replies with a double of RESP3, or with a string where a double of 64 bits cannot hold the number: clients
// take such a double for a fault of the protocol and close the connection (hiredis: "Bad double value").
func replyFloat(w *protocol.Writer, f *big.Float) {
	if f.MantExp(nil) > doubleMaxExp {
		w.Bulk(formatFloat(f))
		return
	}
	w.DoubleText(formatFloat(f))
}
