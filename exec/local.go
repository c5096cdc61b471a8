package exec

import (
	"quipu/engine"
)

// Level says which of this node's pending increments a command sees.
type Level uint8

// Levels.
const (
	LevelQuorum Level = iota // none: only what is committed
	LevelByKey               // those of the keys that are at level local
	LevelLocal               // all of them
)

func (l Level) view(v engine.View) engine.View {
	if l == LevelQuorum {
		return v
	}
	return v.Local(l == LevelLocal)
}

// level is the one a read was added at.
func (it *item) level() Level {
	switch {
	case it.flags&itemLocal != 0:
		return LevelLocal
	case it.flags&itemByKey != 0:
		return LevelByKey
	}
	return LevelQuorum
}

// Barrier adds a reply that is true only if all that stands before it is applied: it fails as a write does.
func (b *Batch) Barrier(reply []byte, o Origin) {
	b.Literal(reply, o)
	b.items[len(b.items)-1].flags |= itemBarrier
}
