package transport

import "testing"

// TestSealedChunk: what is read at once, behind an incomplete record of the largest size, fits into what it is opened into.
func TestSealedChunk(t *testing.T) {
	const largest = 5 + 16<<10 + 2<<10 // header, and ciphertext of TLS 1.2
	if sealedChunk+largest > ReadChunk {
		t.Errorf("%d bytes behind a record of %d", sealedChunk, largest)
	}
}
