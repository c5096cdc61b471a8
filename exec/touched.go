package exec

import (
	"hash/maphash"

	"quipu/commands"
	"quipu/engine"
)

// touchedKeys is the set of keys that the operations of an entry may change, for the guards of transactions that stand
// behind them. Looking through the operations anew for each guard would take quadratic time when many clients watch; so
// the set is kept, by hash, and grows with the entry. Two keys with one hash of 64 bits make a transaction abort without
// need, which WATCH allows.
type touchedKeys struct {
	table  *commands.Table
	from   int // up to here in the entry's buffer, operations are in the set
	all    bool
	hashes map[uint64]struct{}
}

func newTouchedKeys(table *commands.Table, from int) *touchedKeys {
	return &touchedKeys{table: table, from: from, hashes: map[uint64]struct{}{}}
}

func touchedHash(db int, key []byte) uint64 {
	return maphash.Bytes(runSeed, key) + uint64(db)*0x9e3779b97f4a7c15
}

// has reports whether an operation in buf may change the key. buf has the operations of the last call, and maybe more.
func (k *touchedKeys) has(buf []byte, db int, key []byte) bool {
	d := decoder{table: k.table, databases: engine.MaxDatabases, rest: buf[k.from:]}
	k.from = len(buf)
	if err := k.add(&d); err != nil {
		panic("BUG: a batch cannot read its own entry: " + err.Error())
	}
	_, found := k.hashes[touchedHash(db, key)]
	return found || k.all
}

// add adds the keys that operations may change. A write that names no keys, such as FLUSHDB, or a key of another database
// touches everything.
func (k *touchedKeys) add(d *decoder) error {
	var o op
	see := func(db int, key []byte) { k.hashes[touchedHash(db, key)] = struct{}{} }
	for !k.all {
		more, err := d.next(&o)
		if err != nil || !more {
			return err
		}
		switch o.code {
		case opRun:
			see(o.db, o.key)
		case opCounted:
			if engine.EachCounted(o.body, d.databases, see) != nil {
				err = errPayload
			}
		case opTxn:
			err = k.add(d.inside(&o, scopeTxn))
		case opConditional:
			err = k.add(d.inside(&o, scopeConditional))
		case opCommand:
			if k.all = !o.cmd.HasKeys() || o.cmd.CrossesDatabases(o.args); k.all {
				return nil
			}
			o.cmd.EachKeyFlags(o.args, func(key []byte, flags commands.KeyFlag) {
				if flags&commands.KeyRO == 0 {
					see(o.db, key)
				}
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
