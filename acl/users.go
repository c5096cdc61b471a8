package acl

import (
	"maps"
	"slices"
)

// Users is all users of a node at a moment. It never changes.
type Users struct {
	byName  map[string]*Subject
	Default *Subject
	// Kept says that the users are those of the log. Before the first change they are those of the settings of the node.
	Kept bool
	// Known says that the log has been read: users that are not kept might still be found in it.
	Known bool
	// Open says that nobody has to authenticate: the default user is on and needs no password.
	Open bool
}

// NewUsers compiles users; the default user is added if it is not among them. requirepass is the setting.
func NewUsers(list []*User, c *Catalog, requirepass string) *Users {
	all := &Users{byName: make(map[string]*Subject, len(list)+1)}
	for _, u := range list {
		all.byName[u.Name] = c.Compile(u.WithPassword(requirepass))
	}
	if all.byName[DefaultName] == nil {
		all.byName[DefaultName] = c.Compile(DefaultUser().WithPassword(requirepass))
	}
	all.Default = all.byName[DefaultName]
	all.Open = all.Default.On && all.Default.NoPass
	return all
}

// Find is the user of a name, or nil.
func (a *Users) Find(name string) *Subject { return a.byName[name] }

// Names is the names of all users, in order.
func (a *Users) Names() []string { return slices.Sorted(maps.Keys(a.byName)) }

// Lines is the lines of all users, as LIST shows them.
func (a *Users) Lines() (lines []string) {
	for _, name := range a.Names() {
		lines = append(lines, a.byName[name].Describe())
	}
	return lines
}

// Authenticate is the user that a name and a password are those of, or nil. It takes as long for a name that nobody has.
func (a *Users) Authenticate(name string, password []byte) *Subject {
	s := a.byName[name]
	if s == nil {
		nobody.Accepts(password)
		return nil
	}
	if !s.Accepts(password) || !s.On {
		return nil
	}
	return s
}

var nobody = User{Passwords: []string{Hash("")}}
