package protocol

// ProtocolError is a mistake in the byte stream itself: the client gets its text and the connection is closed.
type ProtocolError struct{ text string }

// Error returns the client's text, without the leading '-'.
func (e *ProtocolError) Error() string { return e.text }

var (
	errCount       = &ProtocolError{"ERR Protocol error: invalid multibulk length"}
	errCountString = &ProtocolError{"ERR Protocol error: too big mbulk count string"}
	errUnauthCount = &ProtocolError{"ERR Protocol error: unauthenticated multibulk length"}
	errBulk        = &ProtocolError{"ERR Protocol error: invalid bulk length"}
	errBulkString  = &ProtocolError{"ERR Protocol error: too big bulk count string"}
	errUnauthBulk  = &ProtocolError{"ERR Protocol error: unauthenticated bulk length"}
	errInlineSize  = &ProtocolError{"ERR Protocol error: too big inline request"}
	errUnbalanced  = &ProtocolError{"ERR Protocol error: unbalanced quotes in request"}
	errCommandSize = &ProtocolError{"ERR Protocol error: too big command"}
)

// errExpectedDollar is for a byte other than '$' where an argument's header begins.
func errExpectedDollar(c byte) *ProtocolError {
	if c == '\r' || c == '\n' {
		c = ' '
	}
	return &ProtocolError{"ERR Protocol error: expected '$', got '" + string([]byte{c}) + "'"}
}
