package commands

import (
	"quipu/engine"
	"quipu/engine/shared"
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

// tooLargeToShare refuses to make a sketch of so many bytes at a key that regions share.
func (c *Call) tooLargeToShare(t engine.Txn, key []byte, size int) bool {
	if size <= shared.MaxSketch || !t.SharesKey(t.DB(), key) {
		return false
	}
	c.W.Error(protocol.ErrSharedSize)
	return true
}

// withCopies is a sketch with what other regions have added to it; nil if there is nothing.
func withCopies[S any](s S, open func([]byte) (S, error), v engine.View, key []byte) (all []S) {
	for i, b := range v.SketchCopies(key) {
		if i == 0 {
			all = append(all, s)
		}
		if other, err := open(b); err == nil { // it was checked when it came
			all = append(all, other)
		}
	}
	return all
}
