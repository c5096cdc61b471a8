package engine

// Content is the value of a key, opened by Txn.Content to be changed in place. It is valid while the part's lock is
// held and until the next other write to the part.
type Content struct {
	Kind  Kind
	Bytes []byte // aliases the arena

	sh  *shard
	ref uint32
	off uint32 // of Bytes in the record
}

// Content opens the bytes of a key for changes that keep their number; those of a counter are nil. ok is false if the
// key is absent. Whoever changes bytes calls Touch with their range before, and Txn.Changed once afterwards. Edit is for
// what makes a value longer or shorter.
func (t Txn) Content(key []byte) (c Content, ok bool) {
	sh, _, ref := t.open(key)
	if ref == 0 {
		return Content{}, false
	}
	r := sh.at(ref)
	return Content{Kind: r.kind(), Bytes: r.value().Bytes, sh: sh, ref: ref, off: r.contentOffset()}, true
}

// Touch lets a snapshot in progress keep the n bytes at from, which are about to be changed.
func (c Content) Touch(from, n int) { c.sh.touch(c.ref, c.off+uint32(from), uint32(n)) }

// Changed tells the hook that a key's content has been changed in place.
func (t Txn) Changed(key []byte) { t.ks.tell(int(t.db), key, OpSet, 0) }

// Resize is Edit with the kind that the value then has, other than KindInt.
func (t Txn) Resize(key []byte, size int, kind Kind) []byte { return t.edit(key, size, kind) }

// MakeRaw makes the kind of a string KindRaw, as Edit does.
func (c Content) MakeRaw() {
	r := c.sh.at(c.ref)
	if r.kind() == KindString {
		c.sh.touch(c.ref, 0, 1)
		*(*byte)(r.p) = r.header()&^kindMask | byte(KindRaw)
	}
}

// Fill overwrites bytes of a string at from with what follows from the rest of it: a cache within the value, which
// belongs to this node alone, since reads are not in the log. The kind becomes KindRaw. The hook is told, as by Redis, if
// there are any bytes. Of the strings that Checksum takes for a HyperLogLog it leaves out just these bytes
// and the difference of kinds, so no other may be filled. An absent key is left alone.
func (v View) Fill(key []byte, from int, b []byte) {
	sh := v.ks.shard(v.part(key), int(v.db))
	if sh == nil {
		return
	}
	ref, _ := sh.lookup(v.ks.hash(key), key, v.now)
	if ref == 0 {
		return
	}
	r := sh.at(ref)
	c := Content{Kind: r.kind(), sh: sh, ref: ref, off: r.contentOffset()}
	if !c.Kind.isString() {
		return
	}
	c.MakeRaw()
	if len(b) > 0 {
		c.Touch(from, len(b))
		copy(r.content()[from:], b)
		v.ks.tell(int(v.db), key, OpSet, 0)
	}
}

func (k Kind) isString() bool { return k == KindString || k == KindRaw }
