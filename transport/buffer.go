package transport

// trimInput gives back the memory of an input buffer of which little is still in use.
func trimInput(in []byte) []byte {
	switch {
	case len(in) == 0:
		return nil
	case cap(in) > ReadChunk && len(in) < cap(in)/4:
		return append([]byte(nil), in...)
	}
	return in
}
