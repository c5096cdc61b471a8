package exec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"quipu/commands"
	"quipu/engine"
)

// The payload of a log entry is a sequence of operations, executed in order:
//
//	run         0x01 | db uvarint | delta varint | count u32 | key bytes
//	command     0x02 | db uvarint | LogID uvarint | n uvarint | n × bytes
//	transaction 0x03 | deadline i64 | length u32 | command operations, length bytes in all
//	drain       0x04 | part u8 | origin bytes | incarnation u64 | from u64 | to u64 | n u32 | length u32 | n items, length bytes in all
//	item             db uvarint | key bytes | delta varint | deadline uvarint
//
// bytes is a uvarint length and as many bytes; u32 and i64 are little-endian. The arguments of a command do not
// include its name. A run is count increments of delta, each of which is applied unless it overflows. A transaction is
// skipped when deadline is not 0 and at or before the entry's stamp: the earliest expiry of the keys its client watched.
//
// A drain is what a node has counted in memory (engine/pending.go): increments of keys of one part, from one position of
// their origin to a later one. It is applied whole or, if the origin is not at from, not at all (engine/origins.go). An item
// whose deadline is not 0 and at or before the stamp was for a key that has expired since, and is dropped.
const (
	opRun     = 0x01
	opCommand = 0x02
	opTxn     = 0x03
	opDrain   = 0x04
)

const (
	runCountBytes   = 4
	txnHeaderBytes  = 1 + 8 + 4
	txnLengthOffset = 1 + 8
)

var errPayload = errors.New("commands: malformed operation in a log entry")

// op is one decoded operation; its slices alias the payload.
type op struct {
	code     byte
	db       int
	delta    int64  // run
	count    uint32 // run, drain
	key      []byte // run
	cmd      *commands.Command
	args     [][]byte // command; args[0] is the name
	deadline int64    // transaction
	body     []byte   // transaction: its operations; drain: its items
	part     int      // drain
	drain    engine.DrainID
}

// decoder reads the operations of a payload one after the other. It trusts nothing: whatever the bytes, it returns an
// error or an operation that can be executed, and allocates no more than its arguments' headers.
type decoder struct {
	table     *commands.Table
	databases int  // there are; an operation may name no other
	nested    bool // in a transaction's body: only commands
	trusted   bool // the items of drains need no check: this process wrote them, or somebody else checks
	rest      []byte
	args      [][]byte // scratch for op.args
}

// next decodes one operation into o and reports false at the end of the payload. An error means that the entry was
// not written by this version of the program: the node must stop rather than guess.
func (d *decoder) next(o *op) (bool, error) {
	if len(d.rest) == 0 {
		return false, nil
	}
	code := d.rest[0]
	d.rest = d.rest[1:]
	o.code = code
	switch {
	case code == opCommand:
		return true, d.command(o)
	case code == opRun && !d.nested:
		return true, d.run(o)
	case code == opTxn && !d.nested:
		return true, d.transaction(o)
	case code == opDrain && !d.nested:
		return true, d.drain(o)
	}
	return false, fmt.Errorf("%w: unknown operation %#x", errPayload, code)
}

func (d *decoder) run(o *op) (err error) {
	if o.db, err = d.database(); err != nil {
		return err
	}
	delta, n := binary.Varint(d.rest)
	if n <= 0 || len(d.rest) < n+runCountBytes {
		return errPayload
	}
	o.delta = delta
	o.count = binary.LittleEndian.Uint32(d.rest[n:])
	d.rest = d.rest[n+runCountBytes:]
	o.key, err = d.bytes()
	if err == nil && (o.count == 0 || len(o.key) > engine.MaxKey) {
		err = errPayload
	}
	return err
}

func (d *decoder) command(o *op) (err error) {
	if o.db, err = d.database(); err != nil {
		return err
	}
	id, err := d.uvarint()
	if err != nil {
		return err
	}
	if id > math.MaxUint16 {
		return errPayload
	}
	if o.cmd = d.table.ByLogID(uint16(id)); o.cmd == nil {
		return fmt.Errorf("%w: unknown command number %d", errPayload, id)
	}
	n, err := d.uvarint()
	if err != nil || n > uint64(len(d.rest)) {
		return errPayload
	}
	if !o.cmd.ArityOK(int(n) + 1) {
		return fmt.Errorf("%w: %d arguments for %s", errPayload, n, o.cmd.FullName())
	}
	d.args = append(d.args[:0], o.cmd.NameBytes())
	longest := 0
	for range n {
		arg, err := d.bytes()
		if err != nil {
			return err
		}
		d.args = append(d.args, arg)
		longest = max(longest, len(arg))
	}
	if longest > engine.MaxKey && o.cmd.LongKey(d.args) {
		return fmt.Errorf("%w: key too long for %s", errPayload, o.cmd.FullName())
	}
	o.args = d.args
	return nil
}

func (d *decoder) transaction(o *op) error {
	if len(d.rest) < txnHeaderBytes-1 {
		return errPayload
	}
	o.deadline = int64(binary.LittleEndian.Uint64(d.rest))
	length := binary.LittleEndian.Uint32(d.rest[txnLengthOffset-1:])
	d.rest = d.rest[txnHeaderBytes-1:]
	if uint64(length) > uint64(len(d.rest)) {
		return errPayload
	}
	o.body, d.rest = d.rest[:length:length], d.rest[length:]
	return nil
}

func (d *decoder) database() (int, error) {
	db, err := d.uvarint()
	if err != nil || db >= uint64(d.databases) {
		return 0, errPayload
	}
	return int(db), nil
}

func (d *decoder) uvarint() (uint64, error) {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		return 0, errPayload
	}
	d.rest = d.rest[n:]
	return v, nil
}

func (d *decoder) bytes() ([]byte, error) {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > uint64(len(d.rest)-n) {
		return nil, errPayload
	}
	end := n + int(v)
	b := d.rest[n:end:end]
	d.rest = d.rest[end:]
	return b, nil
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendRun(dst []byte, db int, delta int64, key []byte) (out []byte, countAt, keyAt int) {
	dst = append(dst, opRun)
	dst = binary.AppendUvarint(dst, uint64(db))
	dst = binary.AppendVarint(dst, delta)
	countAt = len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, 1)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	keyAt = len(dst)
	return append(dst, key...), countAt, keyAt
}

func appendCommand(dst []byte, db int, cmd *commands.Command, args [][]byte) []byte {
	dst = append(dst, opCommand)
	dst = binary.AppendUvarint(dst, uint64(db))
	dst = binary.AppendUvarint(dst, uint64(cmd.LogID))
	dst = binary.AppendUvarint(dst, uint64(len(args)-1))
	for _, arg := range args[1:] {
		dst = appendBytes(dst, arg)
	}
	return dst
}

// appendTxn begins a transaction; its length is filled in once its commands stand behind it.
func appendTxn(dst []byte, deadline int64) []byte {
	dst = append(dst, opTxn)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(deadline))
	return binary.LittleEndian.AppendUint32(dst, 0)
}

// parts adds what must be locked to run the commands of a transaction's body, and leaves the decoder at its end.
func (d *decoder) parts(parts *engine.PartSet) error {
	var o op
	for {
		more, err := d.next(&o)
		if err != nil || !more {
			return err
		}
		o.cmd.AddPartsOrAll(o.args, parts)
	}
}

// touches reports whether an operation may change a key for which match says true. Drains are left out: of what this
// node has pending, Keyspace.UnderWay knows better.
func (d *decoder) touches(match func(db int, key []byte) bool) (found bool, err error) {
	var o op
	see := func(key []byte, flags commands.KeyFlag) {
		found = found || flags&commands.KeyRO == 0 && match(o.db, key)
	}
	for !found {
		more, err := d.next(&o)
		if err != nil || !more {
			return false, err
		}
		switch o.code {
		case opRun:
			found = match(o.db, o.key)
		case opTxn:
			body := decoder{table: d.table, databases: d.databases, nested: true, rest: o.body}
			if found, err = body.touches(match); err != nil {
				return false, err
			}
		case opCommand:
			if !o.cmd.HasKeys() || o.cmd.CrossesDatabases(o.args) {
				return true, nil
			}
			o.cmd.EachKeyFlags(o.args, see)
		}
	}
	return true, nil
}
