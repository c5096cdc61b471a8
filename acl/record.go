package acl

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A user is kept in the hidden database of the keyspace as one record, whose key has its name:
//
//	content
//	┌────────────┬──────────────┬───────────┬─────────────────────────────────┐
//	│ version u8 │ born uvarint │ n uvarint │ n × (length uvarint, rule bytes) │
//	└────────────┴──────────────┴───────────┴─────────────────────────────────┘
//
// The rules are those that make the user of a new one (User.Rules), so a later version that knows more of them can read the
// record, and every version can tell what it does not know. born is User.Born; that of the default user, who is never deleted,
// is the highest that was given out.
const recordVersion = 1

var errRecord = errors.New("acl: a user's record cannot be read")

// Encode is the user's record; false: its rules take more than a user's may.
func (u *User) Encode() (record []byte, ok bool) {
	rules := u.Rules()
	b := binary.AppendUvarint([]byte{recordVersion}, u.Born)
	b = binary.AppendUvarint(b, uint64(len(rules)))
	for _, rule := range rules {
		b = binary.AppendUvarint(b, uint64(len(rule)))
		b = append(b, rule...)
	}
	return b, len(b) <= MaxRecord
}

// Decode reads a record. The user does not alias it.
func Decode(name string, record []byte) (*User, error) {
	if len(record) == 0 || record[0] != recordVersion {
		return nil, fmt.Errorf("%w: not of version %d", errRecord, recordVersion)
	}
	u := NewUser(name)
	rest := record[1:]
	number := func() uint64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			rest = nil
			return 0
		}
		rest = rest[n:]
		return v
	}
	u.Born = number()
	for n := number(); n > 0; n-- {
		length := number()
		if rest == nil || length > uint64(len(rest)) {
			return nil, errRecord
		}
		rule := string(rest[:length])
		rest = rest[length:]
		if err := u.restore(rule); err != nil {
			return nil, err
		}
	}
	if len(rest) > 0 {
		return nil, errRecord
	}
	return u, nil
}

// Restore makes a user of what Rules has returned.
func Restore(name string, rules [][]byte) (*User, error) {
	u := NewUser(name)
	for _, rule := range rules {
		if err := u.restore(string(rule)); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (u *User) restore(rule string) error {
	if rule == ruleInherits && u.Name == DefaultName {
		u.Inherits = true
		return nil
	}
	if err := u.Apply(rule); err != nil {
		return fmt.Errorf("%w: rule %q: %w", errRecord, rule, err)
	}
	return nil
}
