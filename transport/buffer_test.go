package transport

import "testing"

// TestTrimInput checks when the memory of an input buffer is given back.
func TestTrimInput(t *testing.T) {
	large := make([]byte, 10, 8<<20)
	if got := trimInput(large); len(got) != 10 || cap(got) > 1024 {
		t.Errorf("10 bytes keep %d", cap(got))
	}
	if got := trimInput(large[:0]); got != nil {
		t.Errorf("no bytes keep %d", cap(got))
	}
	if got := trimInput(large[:4<<20]); cap(got) != cap(large) {
		t.Error("a buffer in use was copied")
	}
}
