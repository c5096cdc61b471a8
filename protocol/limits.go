package protocol

import "math"

// Limits bounds what a client may send. All four numbers must be positive; a Limits is shared by many parsers and only read.
type Limits struct {
	MaxArgs    int // arguments per command, the command's name included; never more than 2^31-1
	MaxBulk    int // bytes of one argument
	MaxInline  int // bytes of an inline command, and of a length that never ends, without the end of line
	MaxCommand int // bytes of a whole command on the wire; above 2 GiB it counts as 2 GiB

	// Unauthenticated marks the tighter limits of a connection that has not authenticated: breaking them has its own
	// error text, as in Redis.
	Unauthenticated bool
}

// Defaults of Limits.
const (
	DefaultMaxArgs    = 65536
	DefaultMaxBulk    = 1 << 20
	DefaultMaxInline  = 64 << 10
	DefaultMaxCommand = 8 << 20

	unauthenticatedMaxArgs = 10
	unauthenticatedMaxBulk = 16 << 10

	// hugeBulk is where Redis stops blaming the missing authentication for a long argument (its proto-max-bulk-len).
	hugeBulk = 512 << 20
)

// DefaultLimits returns the limits of an authenticated connection.
func DefaultLimits() Limits {
	return Limits{MaxArgs: DefaultMaxArgs, MaxBulk: DefaultMaxBulk, MaxInline: DefaultMaxInline, MaxCommand: DefaultMaxCommand}
}

// UnauthenticatedLimits returns the limits of a connection that has yet to authenticate: 10 arguments of 16 KiB.
func UnauthenticatedLimits() Limits {
	lim := DefaultLimits()
	lim.MaxArgs, lim.MaxBulk, lim.Unauthenticated = unauthenticatedMaxArgs, unauthenticatedMaxBulk, true
	return lim
}

// command returns MaxCommand, capped so that an offset inside a command fits a span.
func (l *Limits) command() int { return min(l.MaxCommand, math.MaxInt32) }

// checkCount judges the number of arguments a client announces or sends.
func (l *Limits) checkCount(n int64) *ProtocolError {
	switch {
	case n <= int64(min(l.MaxArgs, math.MaxInt32)):
		return nil
	case l.Unauthenticated && n <= math.MaxInt32:
		return errUnauthCount
	}
	return errCount
}

// checkBulk judges the length of one argument.
func (l *Limits) checkBulk(n int64) *ProtocolError {
	switch {
	case n >= 0 && n <= int64(l.MaxBulk):
		return nil
	case l.Unauthenticated && n >= 0 && n <= hugeBulk:
		return errUnauthBulk
	}
	return errBulk
}
