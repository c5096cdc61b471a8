package commands

import (
	"strconv"

	"quipu/acl"
	"quipu/engine"
	"quipu/protocol"
)

// What ACL SETUSER, DELUSER and LOAD are in the log. No client can name these writes: the node that takes such a command checks it,
// and hashes passwords, before it makes one of them (server/acl_commands.go). What they do depends on nothing but the records of users,
// and not on which commands a node has, so nodes of different versions do the same (package acl).
//
// Arguments, the name aside; a list of users is, for each, its name, the number of its rules, and the rules:
//
//	user-set      n, a list of users in n arguments, name, rule …
//	user-delete   n, a list of users in n arguments, name …
//	user-replace  a list of users
//
// The list of the first two is what the settings of the node say. It is taken over by the first change of all; from then on, what is
// kept is in force on all nodes. The record of the default user is there exactly if anything is kept.

// Numbers in the log.
const (
	logUserSet     = 68
	logUserDelete  = 69
	logUserReplace = 70
)

// UserLevel is the semantics level from which on users are in the log.
const UserLevel uint16 = 2

var userCommands = []Command{
	{Name: "user-set", LogID: logUserSet, Level: UserLevel, Arity: -3, Flags: FlagWrite, Write: runUserSet},
	{Name: "user-delete", LogID: logUserDelete, Level: UserLevel, Arity: -2, Flags: FlagWrite, Write: runUserDelete},
	{Name: "user-replace", LogID: logUserReplace, Level: UserLevel, Arity: -1, Flags: FlagWrite, Write: runUserReplace},
}

// UserSet is the write that changes or creates a user; base is what is taken over if nothing is kept yet.
func (t *Table) UserSet(base []*acl.User, name string, rules []string) (*Command, [][]byte) {
	return t.userWrite(logUserSet, base, append([]string{name}, rules...))
}

// UserDelete is the write that deletes users, and replies with how many there were.
func (t *Table) UserDelete(base []*acl.User, names []string) (*Command, [][]byte) {
	return t.userWrite(logUserDelete, base, names)
}

// UserReplace is the write that replaces all users.
func (t *Table) UserReplace(list []*acl.User) (*Command, [][]byte) {
	cmd := t.ByLogID(logUserReplace)
	return cmd, appendUsers([][]byte{cmd.name}, list)
}

func (t *Table) userWrite(id uint16, base []*acl.User, words []string) (*Command, [][]byte) {
	cmd := t.ByLogID(id)
	list := appendUsers(nil, base)
	args := append([][]byte{cmd.name, []byte(strconv.Itoa(len(list)))}, list...)
	for _, word := range words {
		args = append(args, []byte(word))
	}
	return cmd, args
}

func appendUsers(args [][]byte, list []*acl.User) [][]byte {
	for _, u := range list {
		rules := u.Rules()
		args = append(args, []byte(u.Name), []byte(strconv.Itoa(len(rules))))
		for _, rule := range rules {
			args = append(args, []byte(rule))
		}
	}
	return args
}

// parseUsers reads a list of users; false: it is none.
func parseUsers(args [][]byte) (list []*acl.User, ok bool) {
	for len(args) > 0 {
		if len(args) < 2 {
			return nil, false
		}
		n, err := strconv.Atoi(string(args[1]))
		if err != nil || n < 0 || n > len(args)-2 || len(args[0]) > engine.MaxUserName {
			return nil, false
		}
		u, err := acl.Restore(string(args[0]), args[2:2+n])
		if err != nil {
			return nil, false
		}
		list = append(list, u)
		args = args[2+n:]
	}
	return list, true
}

// users is the kept users while a write changes them: nothing is stored before everything is known to fit.
type users struct {
	t      engine.Txn
	w      *protocol.Writer
	keeper *acl.User            // the default user
	staged map[string]*acl.User // to be stored
	order  []string             // names of staged
}

// beginUsers reads what is kept, and takes over what args[1] and on have for the case that nothing is. false: it has replied.
func beginUsers(c *Call, t engine.Txn) (k *users, rest [][]byte, ok bool) {
	k = &users{t: t, w: c.W, staged: map[string]*acl.User{}}
	n, err := strconv.Atoi(string(c.Args[1]))
	if err != nil || n < 0 || n > len(c.Args)-2 {
		c.W.Error(protocol.ErrSyntax)
		return nil, nil, false
	}
	rest = c.Args[2+n:]
	if k.keeper, ok = k.find(acl.DefaultName); !ok || k.keeper != nil {
		return k, rest, ok
	}
	base, ok := parseUsers(c.Args[2 : 2+n])
	if !ok {
		c.W.Error(protocol.ErrSyntax)
		return nil, nil, false
	}
	k.keeper = acl.DefaultUser()
	for _, u := range base {
		if u.Name == acl.DefaultName {
			k.keeper = u
		} else {
			k.stage(u)
		}
	}
	k.stage(k.keeper)
	return k, rest, true
}

// find is the user of a name, nil for none. false: it has replied that the record cannot be read.
func (k *users) find(name string) (u *acl.User, ok bool) {
	if u := k.staged[name]; u != nil {
		return u, true
	}
	record := k.t.User([]byte(name))
	if record == nil {
		return nil, true
	}
	u, err := acl.Decode(name, record)
	if err != nil {
		k.w.Error(protocol.ErrUserRecord)
		return nil, false
	}
	return u, true
}

func (k *users) stage(u *acl.User) {
	if k.staged[u.Name] == nil {
		k.order = append(k.order, u.Name)
	}
	k.staged[u.Name] = u
}

// bear gives a new user a life of its own.
func (k *users) bear(u *acl.User) {
	k.keeper.Born++
	u.Born = k.keeper.Born
	k.stage(u)
	k.stage(k.keeper)
}

// store keeps what is staged, all or nothing; false: it has replied that some user's rules are too long. before is called when it is
// certain that all are stored.
func (k *users) store(before func()) bool {
	records := make([][]byte, len(k.order))
	for i, name := range k.order {
		ok := false
		if records[i], ok = k.staged[name].Encode(); !ok {
			k.w.Error(protocol.ErrUserTooLong)
			return false
		}
	}
	before()
	for i, name := range k.order {
		k.t.StoreUser([]byte(name), records[i])
	}
	return true
}

// names is the names of the users that are kept.
func (k *users) names() (names [][]byte) {
	k.t.EachUser(func(name, _ []byte) { names = append(names, append([]byte(nil), name...)) })
	return names
}

func runUserSet(c *Call, t engine.Txn) {
	k, rest, ok := beginUsers(c, t)
	if !ok {
		return
	}
	if len(rest) == 0 || len(rest[0]) > engine.MaxUserName {
		c.W.Error(protocol.ErrSyntax)
		return
	}
	name := string(rest[0])
	u, ok := k.find(name)
	switch {
	case !ok:
		return
	case name == acl.DefaultName:
		u = k.keeper
	case u == nil && len(k.names())+len(k.staged) >= acl.MaxUsers:
		c.W.Error(protocol.ErrManyUsers(acl.MaxUsers))
		return
	case u == nil:
		u = acl.NewUser(name)
		k.bear(u)
	}
	for _, rule := range rest[1:] {
		if err := u.Apply(string(rule)); err != nil {
			c.W.Error(protocol.ErrACLRule(string(rule), err.Error()))
			return
		}
	}
	k.stage(u)
	if k.store(func() {}) {
		c.W.OK()
	}
}

func runUserDelete(c *Call, t engine.Txn) {
	k, rest, ok := beginUsers(c, t)
	if !ok || !k.store(func() {}) {
		return
	}
	deleted := int64(0)
	for _, name := range rest {
		if string(name) != acl.DefaultName && t.User(name) != nil {
			t.ForgetUser(name)
			deleted++
		}
	}
	c.W.Int(deleted)
}

// runUserReplace gives all users new lives: as in Redis, who is connected as one of them is closed, but for the default user.
func runUserReplace(c *Call, t engine.Txn) {
	list, ok := parseUsers(c.Args[1:])
	k := &users{t: t, w: c.W, keeper: acl.DefaultUser(), staged: map[string]*acl.User{}}
	old, readable := k.find(acl.DefaultName)
	switch {
	case !readable:
		return
	case !ok:
		c.W.Error(protocol.ErrSyntax)
		return
	case len(list) > acl.MaxUsers:
		c.W.Error(protocol.ErrManyUsers(acl.MaxUsers))
		return
	}
	for _, u := range list {
		if u.Name == acl.DefaultName {
			k.keeper = u
		}
	}
	if k.keeper.Born = 0; old != nil {
		k.keeper.Born = old.Born
	}
	k.stage(k.keeper)
	for _, u := range list {
		if u.Name != acl.DefaultName {
			k.bear(u)
		}
	}
	gone := k.names()
	if k.store(func() {
		for _, name := range gone {
			t.ForgetUser(name)
		}
	}) {
		c.W.OK()
	}
}
