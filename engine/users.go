package engine

import "bytes"

// Users are kept in the hidden database beside positions (origin.go), one record each. What is in a record is package acl's affair:
//
//	key                 content, KindRaw
//	┌─────┬──────────┐  ┌─────────────────────┐
//	│ 'u' │ name     │  │ record, never empty │
//	└─────┴──────────┘  └─────────────────────┘

// OriginUser is the kind of a user's record, which is no origin.
const OriginUser OriginKind = 'u'

// MaxUserName is the longest name of a user, in bytes.
const MaxUserName = 128

// userKey is the key of a user's record, appended to scratch.
func userKey(scratch, name []byte) []byte { return append(append(scratch, byte(OriginUser)), name...) }

// User returns a copy of a user's record, nil if there is none. The caller holds no parts, or all.
func (v View) User(name []byte) (record []byte) {
	if len(name) > MaxUserName {
		return nil
	}
	var scratch [MaxUserName + 1]byte
	key := userKey(scratch[:0], name)
	part := Part(key)
	v.lock(part)
	defer v.unlock(part)
	if val, ok := v.WithDB(v.ks.databases).In(part).Get(key); ok {
		record = bytes.Clone(val.Bytes)
	}
	return record
}

// EachUser calls fn for all users, in no order. The slices are valid during the call. The caller holds no parts, or all.
func (v View) EachUser(fn func(name, record []byte)) {
	for part := range Parts {
		v.lock(part)
		if sh := v.ks.shard(part, v.ks.databases); sh != nil {
			sh.eachRecord(func(_ uint32, r record) {
				if key := r.key(); OriginKind(key[0]) == OriginUser {
					fn(key[1:], r.content())
				}
			})
		}
		v.unlock(part)
	}
}

// StoreUser writes a user's record. The caller holds no parts, or all.
func (t Txn) StoreUser(name, record []byte) {
	var scratch [MaxUserName + 1]byte
	key := userKey(scratch[:0], name)
	part := Part(key)
	t.lock(part)
	defer t.unlock(part)
	sh, h, ref := t.WithDB(t.ks.databases).In(part).open(key)
	old := uint32(0)
	if ref == 0 {
		ref = sh.add(h, key, KindRaw, 0, len(record), 0)
	} else {
		ref, old = sh.change(h, ref, KindRaw, 0, len(record), 0, 0)
	}
	copy(sh.at(ref).content(), record)
	sh.retire(old)
	t.ks.userChanges.Add(1)
}

// ForgetUser removes a user's record, if there is one. The caller holds no parts, or all.
func (t Txn) ForgetUser(name []byte) {
	if len(name) > MaxUserName {
		return
	}
	var scratch [MaxUserName + 1]byte
	key := userKey(scratch[:0], name)
	part := Part(key)
	t.lock(part)
	defer t.unlock(part)
	sh := t.ks.shard(part, t.ks.databases)
	if sh == nil {
		return
	}
	h := t.ks.hash(key)
	if ref, _ := sh.lookup(h, key, t.now); ref != 0 {
		sh.discard(h, ref)
		sh.compact()
		t.ks.userChanges.Add(1)
	}
}

// UserChanges rises whenever a user's record may have changed.
func (ks *Keyspace) UserChanges() uint64 { return ks.userChanges.Load() }
