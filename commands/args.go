package commands

import (
	"bytes"

	"quipu/engine"
	"quipu/protocol"
)

// intArg reads an argument as an integer by Redis's strict rules; where it is none, it replies so and returns false.
func (c *Call) intArg(b []byte) (int64, bool) {
	n, ok := protocol.ParseInt(b)
	if !ok {
		c.W.Error(protocol.ErrNotInteger)
	}
	return n, ok
}

// isWord compares an argument with an option's name, given in lower case, without regard to the case of ASCII letters.
// As in Redis, which takes options for C strings, a zero byte ends the argument.
func isWord(arg []byte, lower string) bool {
	if len(arg) > len(lower) && arg[len(lower)] == 0 {
		arg = arg[:len(lower)]
	}
	return equalFold(arg, lower)
}

// LowerWord is an argument that is to be compared with the names of options: up to its first zero byte, ASCII letters
// in lower case.
func LowerWord(arg []byte) string {
	arg, _, _ = bytes.Cut(arg, []byte{0})
	lower := make([]byte, len(arg))
	for i, b := range arg {
		if b >= 'A' && b <= 'Z' {
			b |= 0x20
		}
		lower[i] = b
	}
	return string(lower)
}

// deadlineKind says how an expiry option counts.
type deadlineKind uint8

const (
	deadlineNone deadlineKind = iota
	deadlineKeep
	deadlinePersist
	deadlineSeconds
	deadlineMillis
	deadlineAtSeconds
	deadlineAtMillis
)

func (k deadlineKind) timed() bool { return k >= deadlineSeconds }

// positiveDeadline turns the argument of EX, PX, EXAT, PXAT and kin, which must be positive, into a deadline. On an
// invalid one it replies with the error and returns false.
func (c *Call) positiveDeadline(kind deadlineKind, arg []byte, now int64) (int64, bool) {
	n, ok := c.intArg(arg)
	if !ok {
		return 0, false
	}
	if n > 0 {
		if deadline, ok := deadlineOf(kind, n, now); ok {
			return deadline, true
		}
	}
	c.W.Error(protocol.ErrInvalidExpire(c.Cmd.FullName()))
	return 0, false
}

// deadlineOf is the moment that n means, which may be long past; false if it lies beyond int64.
func deadlineOf(kind deadlineKind, n, now int64) (int64, bool) {
	if kind == deadlineSeconds || kind == deadlineAtSeconds {
		if n > maxInt/1000 || n < -maxInt/1000 {
			return 0, false
		}
		n *= 1000
	}
	if kind == deadlineSeconds || kind == deadlineMillis {
		if n > maxInt-now {
			return 0, false
		}
		n += now
	}
	return n, true
}

const (
	maxInt = 1<<63 - 1
	minInt = -1 << 63
)

// lookup is View.Get for the key a read is about, counted as a hit or a miss.
func (c *Call) lookup(v engine.View, key []byte) (engine.Value, bool) {
	value, found := v.Get(key)
	if c.Stats != nil {
		if found {
			c.Stats.Hits.Add(c.Stripe, 1)
		} else {
			c.Stats.Misses.Add(c.Stripe, 1)
		}
	}
	return value, found
}

// bulkValue replies with a value, or null where there is none.
func (c *Call) bulkValue(v engine.Value, found bool) {
	switch {
	case !found:
		c.W.Null()
	case v.Kind == engine.KindInt:
		c.W.BulkInt(v.Int)
	default:
		c.bulkShown(v, 0, len(v.Bytes))
	}
}

// engineError replies with the client's text for an error of the keyspace.
func (c *Call) engineError(err error) { c.W.Error(ErrorText(err)) }

// ErrorText is the client's text for an error of the keyspace.
func ErrorText(err error) string {
	switch err {
	case engine.ErrNotInteger:
		return protocol.ErrNotInteger
	case engine.ErrOverflow:
		return protocol.ErrOverflow
	case engine.ErrWrongKind:
		return protocol.ErrWrongType
	}
	return "ERR " + err.Error()
}

// isString reports whether a value is of Redis's type string. Where it is not, it replies so.
func (c *Call) isString(v engine.Value, found bool) bool {
	if found && !stringKind(v.Kind) {
		c.W.Error(protocol.ErrWrongType)
		return false
	}
	return true
}

func stringKind(k engine.Kind) bool {
	return k == engine.KindInt || k == engine.KindString || k == engine.KindRaw
}

// tooLarge reports whether a reply of n bytes exceeds MaxReply.
func (c *Call) tooLarge(n int) bool { return c.MaxReply != 0 && n > c.MaxReply }
