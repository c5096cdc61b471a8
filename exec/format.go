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
//	run          0x01 | db uvarint | delta varint | count u32 | key bytes
//	command      0x02 | db uvarint | LogID uvarint | n uvarint | n × bytes
//	transaction  0x03 | deadline i64 | length u32 | command operations, length bytes in all
//	conditional  0x04 | kind u8 | origin bytes | epoch bytes | from bytes | to bytes | length u32 | operations, length bytes in all
//	counted      0x05 | length u32 | length bytes, see engine/counted.go; only inside of a conditional operation
//
// bytes is a uvarint length and as many bytes; u32 and i64 are little-endian. The arguments of a command do not
// include its name. A run is count increments of delta, each of which is applied unless it overflows. A transaction is
// skipped when deadline is not 0 and at or before the entry's stamp: the earliest expiry of the keys its client watched.
//
// A conditional operation is applied whole if what is stored for its origin is epoch and from, and stores to; else it
// changes nothing (engine/origin.go). Its body may have operations of all other kinds.
const (
	opRun         = 0x01
	opCommand     = 0x02
	opTxn         = 0x03
	opConditional = 0x04
	opCounted     = 0x05
)

const (
	runCountBytes   = 4
	txnHeaderBytes  = 1 + 8 + 4
	txnLengthOffset = 1 + 8
)

// scope is where an operation stands, which decides what it may be.
type scope uint8

const (
	scopeEntry scope = iota
	scopeTxn
	scopeConditional
)

var errPayload = errors.New("exec: malformed operation in a log entry")

// op is one decoded operation; its slices alias the payload.
type op struct {
	code     byte
	db       int
	delta    int64  // run
	count    uint32 // run
	key      []byte // run
	cmd      *commands.Command
	args     [][]byte      // command; args[0] is the name
	deadline int64         // transaction
	body     []byte        // transaction, conditional: its operations; counted: its parts
	origin   engine.Origin // conditional
}

// decoder reads the operations of a payload one after the other. It trusts nothing: whatever the bytes, it returns an
// error or an operation that can be executed, and allocates no more than its arguments' headers. The body of a counted
// section it leaves to who reads it: on the node that sealed it, that is nobody (engine.Txn.ApplyCounted).
type decoder struct {
	table     *commands.Table
	databases int // number of databases: an operation must name a lower one
	scope     scope
	rest      []byte
	args      [][]byte // scratch for op.args
}

// next decodes one operation into o and reports false at the end of the payload. An error means that the entry was
// not written by this version of the program: the node must stop rather than guess.
func (d *decoder) next(o *op) (more bool, err error) {
	if len(d.rest) == 0 {
		return false, nil
	}
	code := d.rest[0]
	d.rest = d.rest[1:]
	o.code = code
	switch {
	case code == opCommand:
		return true, d.command(o)
	case code == opRun && d.scope != scopeTxn:
		return true, d.run(o)
	case code == opTxn && d.scope != scopeTxn:
		return true, d.transaction(o)
	case code == opConditional && d.scope == scopeEntry:
		return true, d.conditional(o)
	case code == opCounted && d.scope == scopeConditional:
		o.body, err = d.body()
		return true, err
	}
	return false, fmt.Errorf("%w: unknown operation %#x", errPayload, code)
}

// inside returns a decoder of o's body, with scratch memory of its own.
func (d *decoder) inside(o *op, s scope) *decoder {
	return &decoder{table: d.table, databases: d.databases, scope: s, rest: o.body}
}

// nextIsRun reports whether a run follows.
func (d *decoder) nextIsRun() bool { return len(d.rest) > 0 && d.rest[0] == opRun }

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

func (d *decoder) transaction(o *op) (err error) {
	if len(d.rest) < txnLengthOffset-1 {
		return errPayload
	}
	o.deadline = int64(binary.LittleEndian.Uint64(d.rest))
	d.rest = d.rest[txnLengthOffset-1:]
	o.body, err = d.body()
	return err
}

func (d *decoder) conditional(o *op) (err error) {
	if len(d.rest) == 0 {
		return errPayload
	}
	o.origin.Kind = engine.OriginKind(d.rest[0])
	d.rest = d.rest[1:]
	for _, field := range []*[]byte{&o.origin.Name, &o.origin.Epoch, &o.origin.From, &o.origin.To} {
		if *field, err = d.bytes(); err != nil {
			return err
		}
	}
	if !o.origin.Valid() {
		return fmt.Errorf("%w: an origin that cannot be", errPayload)
	}
	o.body, err = d.body()
	return err
}

// body reads a length of 4 bytes and as many bytes.
func (d *decoder) body() ([]byte, error) {
	if len(d.rest) < 4 {
		return nil, errPayload
	}
	length := binary.LittleEndian.Uint32(d.rest)
	d.rest = d.rest[4:]
	if uint64(length) > uint64(len(d.rest)) {
		return nil, errPayload
	}
	b := d.rest[:length:length]
	d.rest = d.rest[length:]
	return b, nil
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

// AppendCounted appends what ks has answered ahead, as one conditional operation, if there is anything: see
// engine.Keyspace.Counted for limit and all.
func AppendCounted(dst []byte, ks *engine.Keyspace, limit int) (out []byte, all bool) {
	return appendCounted(dst, nil, ks, limit)
}

// appendCounted is AppendCounted, with front before the operation.
func appendCounted(dst, front []byte, ks *engine.Keyspace, limit int) (out []byte, all bool) {
	length, section := 0, 0
	dst, all = ks.Counted(dst, limit, func(dst []byte, o *engine.Origin) []byte {
		dst = appendConditional(append(dst, front...), o)
		length = len(dst)
		dst = append(dst, 0, 0, 0, 0, opCounted, 0, 0, 0, 0)
		section = len(dst)
		return dst
	})
	if len(dst) > section && section > 0 {
		binary.LittleEndian.PutUint32(dst[length:], uint32(len(dst)-length-4))
		binary.LittleEndian.PutUint32(dst[section-4:], uint32(len(dst)-section))
	}
	return dst, all
}

// appendConditional appends the front of a conditional operation; the length of its body and the body follow.
func appendConditional(dst []byte, o *engine.Origin) []byte {
	dst = append(dst, opConditional, byte(o.Kind))
	for _, field := range [][]byte{o.Name, o.Epoch, o.From, o.To} {
		dst = appendBytes(dst, field)
	}
	return dst
}
