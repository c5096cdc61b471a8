package engine

// Content is the value of a key, opened by Txn.Content to be changed in place. It is valid while the part's lock is
// held and until the next other write to the part.
type Content struct {
	Kind  Kind
	Bytes []byte // aliases the arena

	sh  *shard
	ref uint32
	off uint32  // of Bytes in the record
	was Integer // the value before Content or Edit, for observers
}

// Content opens the bytes of a key for changes that keep their number; a counter has no bytes (nil). ok is false if the
// key is absent. Whoever changes bytes calls Touch with their range first, and Txn.Changed once in the end. Edit is for
// what makes a value longer or shorter.
func (t Txn) Content(key []byte) (c Content, ok bool) {
	sh, _, ref := t.open(key)
	if ref == 0 {
		return Content{}, false
	}
	c = sh.contentAt(ref)
	c.was = sh.integerAt(ref)
	return c, true
}

func (sh *shard) contentAt(ref uint32) Content {
	r := sh.at(ref)
	c := Content{Kind: r.kind(), sh: sh, ref: ref, off: r.contentOffset()}
	if c.Kind != KindInt {
		n, _ := r.length()
		c.Bytes = bytesAt(r.p, c.off, n)
	}
	return c
}

// Touch lets a snapshot in progress keep the n bytes at from, which are about to be changed, and drops
// the tail that this node keeps of the value.
func (c Content) Touch(from, n int) {
	c.sh.touch(c.ref, c.off+uint32(from), uint32(n))
	*(*byte)(c.sh.at(c.ref).p) &^= hasTail
}

// Changed tells the observers that a key's content has been changed. c is the result of the
// last call of Content, Edit, Resize or EditWithTail for the key.
func (t Txn) Changed(key []byte, c Content) {
	t.tell(c.sh, c.ref, key, OpSet, c.was, c.sh.integerAt(c.ref))
	if t.shares(key) {
		t.sketchChanged(c.sh, c.ref, key)
	}
}

// Resize is Edit with the kind that the value then has, other than KindInt.
func (t Txn) Resize(key []byte, size int, kind Kind) Content { return t.edit(key, size, 0, kind) }

// MakeRaw makes the kind of a string KindRaw, as Edit does.
func (c Content) MakeRaw() {
	r := c.sh.at(c.ref)
	if r.kind() == KindString {
		c.sh.touch(c.ref, 0, 1)
		*(*byte)(r.p) = r.header()&^kindMask | byte(KindRaw)
	}
}
