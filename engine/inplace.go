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

// Content opens the bytes of a key for changes that keep their number; those of a counter are nil. ok is false if the
// key is absent. Whoever changes bytes calls Touch with their range before, and Txn.Changed once afterwards. Edit is for
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
	return Content{Kind: r.kind(), Bytes: r.value().Bytes, sh: sh, ref: ref, off: r.contentOffset()}
}

// Touch lets a snapshot in progress keep the n bytes at from, which are about to be changed, and ends the annex.
func (c Content) Touch(from, n int) {
	c.sh.touch(c.ref, c.off+uint32(from), uint32(n))
	*(*byte)(c.sh.at(c.ref).p) &^= hasAnnex
}

// Annex returns what was derived from a string and kept behind it, with undefined bytes to follow; no bytes if there is
// nothing. It aliases the arena and is not to be changed.
func Annex(content []byte) []byte { return content[len(content):cap(content):cap(content)] }

// SetAnnex keeps bytes behind a string that were derived from it. They are gone when the string changes, moves to
// another record or is loaded from a snapshot, so nothing that is replicated or seen by clients may depend on them. It
// returns false if the record has no room for them, which EditAnnexed makes.
func (c Content) SetAnnex(annex []byte) bool {
	r := c.sh.at(c.ref)
	n, capacity := r.length()
	if r.header()&wide != 0 || n+uint32(len(annex)) > capacity {
		return false
	}
	copy(bytesAt(r.p, c.off+n, uint32(len(annex))), annex)
	*(*byte)(r.p) |= hasAnnex
	return true
}

// EditAnnexed is Edit of the Content that was opened for a key, or of none if the key was absent, with room for an annex
// behind the value. It returns what Txn.Content would then.
func (t Txn) EditAnnexed(key []byte, c Content, size, annex int) Content {
	if c.sh == nil {
		return t.edit(key, size, annex, KindRaw)
	}
	return c.sh.resizeValue(t.ks.hash(key), c.ref, size, annex, KindRaw)
}

// Changed tells the observers that a key's content has been changed. c is what Content, Edit or one of its kin returned
// last.
func (t Txn) Changed(key []byte, c Content) {
	t.tell(c.sh, key, OpSet, c.was, c.sh.integerAt(c.ref))
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

// Fill overwrites bytes of a string at from with what follows from the rest of it: a cache within the value, which
// belongs to this node alone, since reads are not in the log. The kind becomes KindRaw. The observers are told, as by Redis, if
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
	c := sh.contentAt(ref)
	if !c.Kind.isString() {
		return
	}
	c.MakeRaw()
	if len(b) > 0 {
		sh.touch(ref, c.off+uint32(from), uint32(len(b))) // the annex stays: it does not depend on a cache
		copy(c.Bytes[from:], b)
		sh.tell(key, OpSet, Integer{}, Integer{}, v.now, nil)
	}
}

func (k Kind) isString() bool { return k == KindString || k == KindRaw }
