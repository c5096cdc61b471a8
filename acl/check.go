package acl

import (
	"bytes"
	"strings"

	"quipu/internal/glob"
)

// Reason is why a call is denied. Where no selector allows a call, the highest reason is the one that is told.
type Reason uint8

// Reasons, in Redis's order.
const (
	Allowed Reason = iota
	DeniedCommand
	DeniedKey
	DeniedAuth // of a log's entry: no such user, or a wrong password
	DeniedChannel
	Reasons // how many there are
)

// Call is what a command does with these arguments.
type Call struct {
	ID      int    // of the command in the catalog
	Arg     []byte // the argument behind the command's words; nil: none
	Keys    []KeyUse
	Channel []Channel
	// AllKeys is what the command does with keys of any name: it needs the pattern *.
	AllKeys Access
}

// keptKeys is for how many keys a Call keeps room.
const keptKeys = 256

// Forget makes the call one of nothing, so that it can be used again and keeps no argument alive.
func (c *Call) Forget() {
	clear(c.Keys)
	clear(c.Channel)
	*c = Call{Keys: c.Keys[:0], Channel: c.Channel[:0]}
	if cap(c.Keys) > keptKeys {
		c.Keys = nil
	}
	if cap(c.Channel) > keptKeys {
		c.Channel = nil
	}
}

// KeyUse is a key, and what is done with it; neither for a command that only asks whether there is one.
type KeyUse struct {
	Key []byte
	Use Access
}

// Channel is a channel, or a pattern of channels.
type Channel struct {
	Name    []byte
	Pattern bool
}

// Subject is a user as calls are judged by. It never changes.
type Subject struct {
	*User
	grants []grant // of the root selector, then of the others
	free   bool    // nothing is denied
	from   *Catalog
}

// grant is a selector with its commands as sets.
type grant struct {
	*Selector
	all       bool             // all commands, also of no number
	allowed   []uint64         // a bit for each command
	firstArgs map[int][]string // of a command that is not allowed: with which first argument it is
	patterns  []grantPattern   // of keys
	channels  []grantPattern
}

// grantPattern is a pattern as glob.Match takes it.
type grantPattern struct {
	pattern []byte
	may     Access
}

// Compile makes a subject of a user, which must not change any more.
func (c *Catalog) Compile(u *User) *Subject {
	s := &Subject{User: u, from: c}
	s.grants = append(s.grants, c.grant(&u.Root))
	for i := range u.Selectors {
		s.grants = append(s.grants, c.grant(&u.Selectors[i]))
	}
	for i := range s.grants {
		g := &s.grants[i]
		s.free = s.free || g.all && g.AllKeys && g.AllChannels
	}
	return s
}

func (c *Catalog) grant(s *Selector) grant {
	g := grant{Selector: s, allowed: make([]uint64, (len(c.entries)+63)/64), firstArgs: map[int][]string{}}
	if g.all = s.AllCommands; g.all {
		for i := range g.allowed {
			g.allowed[i] = ^uint64(0)
		}
	}
	for _, k := range s.Keys {
		g.patterns = append(g.patterns, grantPattern{[]byte(k.Pattern), k.May})
	}
	for _, ch := range s.Channels {
		g.channels = append(g.channels, grantPattern{pattern: []byte(ch)})
	}
	for _, rule := range s.Commands {
		allow, name := rule[0] == '+', rule[1:]
		if category, ok := strings.CutPrefix(name, "@"); ok {
			for _, id := range c.categories[category] {
				g.set(c, id, allow)
			}
		} else if id, ok := c.byName[name]; ok {
			g.set(c, id, allow)
		} else if container, arg, ok := strings.Cut(name, "|"); ok && allow {
			if id, ok := c.byName[container]; ok && len(c.entries[id].subs) == 0 {
				g.firstArgs[id] = append(g.firstArgs[id], arg)
			}
		}
	}
	return g
}

// set allows or denies a command, and with it its subcommands.
func (g *grant) set(c *Catalog, id int, allow bool) {
	delete(g.firstArgs, id)
	g.all = g.all && allow
	for _, n := range append([]int{id}, c.entries[id].subs...) {
		if allow {
			g.allowed[n/64] |= 1 << (n % 64)
		} else {
			g.allowed[n/64] &^= 1 << (n % 64)
		}
	}
}

// Unrestricted reports whether nothing is denied to the user, whatever the call.
func (s *Subject) Unrestricted() bool { return s.free }

// Check judges a call. at is the place in call.Keys or call.Channel of what was denied.
func (s *Subject) Check(call *Call) (reason Reason, at int) {
	reason = DeniedCommand
	for i := range s.grants {
		r, n := s.grants[i].check(s.from, call)
		switch {
		case r == Allowed:
			return Allowed, 0
		case r > reason || r == reason && n > at:
			reason, at = r, n
		}
	}
	return reason, at
}

// AllowsChannel reports whether any selector allows a channel, whatever is done with it.
func (s *Subject) AllowsChannel(c Channel) bool {
	for i := range s.grants {
		if g := &s.grants[i]; g.AllChannels || g.allowsChannel(&c) {
			return true
		}
	}
	return false
}

func (g *grant) check(c *Catalog, call *Call) (Reason, int) {
	switch {
	case !g.allowsCommand(c, call):
		return DeniedCommand, 0
	case call.AllKeys != 0 && !g.allowsAllKeys(call.AllKeys):
		return DeniedKey, 0
	case !g.AllKeys:
		for i := range call.Keys {
			if !g.allowsKey(&call.Keys[i]) {
				return DeniedKey, i
			}
		}
	}
	if !g.AllChannels {
		for i := range call.Channel {
			if !g.allowsChannel(&call.Channel[i]) {
				return DeniedChannel, i
			}
		}
	}
	return Allowed, 0
}

func (g *grant) allowsCommand(c *Catalog, call *Call) bool {
	return g.all || c.entries[call.ID].Free || g.allowed[call.ID/64]>>(call.ID%64)&1 != 0 || g.allowsArg(call)
}

func (g *grant) allowsArg(call *Call) bool {
	if call.Arg == nil {
		return false
	}
	for _, arg := range g.firstArgs[call.ID] {
		if strings.EqualFold(arg, string(call.Arg)) {
			return true
		}
	}
	return false
}

func (g *grant) allowsKey(k *KeyUse) bool {
	for i := range g.patterns {
		p := &g.patterns[i]
		if p.may&k.Use == k.Use && glob.Match(p.pattern, k.Key, false) {
			return true
		}
	}
	return false
}

func (g *grant) allowsAllKeys(use Access) bool {
	for i := range g.Keys {
		if p := &g.Keys[i]; p.Pattern == "*" && p.May&use == use {
			return true
		}
	}
	return g.AllKeys
}

// allowsChannel compares a pattern with the rules as it is: it may name more than a rule does that it matches.
func (g *grant) allowsChannel(c *Channel) bool {
	for i := range g.channels {
		p := g.channels[i].pattern
		if c.Pattern && bytes.Equal(p, c.Name) || !c.Pattern && glob.Match(p, c.Name, false) {
			return true
		}
	}
	return false
}
