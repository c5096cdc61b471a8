package transport

import "testing"

// TestFairShare: how much is read from each socket goes by what the turn before found.
func TestFairShare(t *testing.T) {
	for _, c := range []struct{ reads, brief, ready, want int }{
		{0, 0, 0, ReadChunk},
		{1, 1, 1, ReadChunk},         // nobody to share with
		{100, 50, 100, minShare},     // half have much to say
		{100, 100, 8, turnInput / 8}, // what many that are brief have to say, nobody can tell from what comes next
		{100, 0, 100, ReadChunk},     // all have much to say
		{100, 24, 100, ReadChunk},    // nearly all
		{100, 25, 100, minShare}, {4, 1, 2, ReadChunk},
	} {
		l := &eventLoop{reads: c.reads, brief: c.brief}
		if got := l.fairShare(c.ready); got != c.want {
			t.Errorf("%d of %d brief, %d ready: %d bytes, want %d", c.brief, c.reads, c.ready, got, c.want)
		}
		if l.reads != 0 || l.brief != 0 {
			t.Error("the turn before is counted again")
		}
	}
}
