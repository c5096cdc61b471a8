package commands

import (
	"quipu/engine"
	"quipu/protocol"
)

// isSketch reports whether a value is a sketch of a kind. Where it is not, it replies so, with the text for a missing key
// if there is none.
func (c *Call) isSketch(v engine.Value, found bool, kind engine.Kind, missing string) bool {
	switch {
	case !found:
		c.W.Error(missing)
	case v.Kind != kind:
		c.W.Error(protocol.ErrWrongType)
	default:
		return true
	}
	return false
}
