package acl

import (
	"errors"
	"slices"
	"strings"

	"quipu/protocol"
)

// Why a rule is refused, in the words of Redis, which Error returns.
var (
	ErrSyntax      = errors.New(protocol.ACLSyntax)
	ErrUnknown     = errors.New(protocol.ACLUnknown)
	ErrFirstArg    = errors.New(protocol.ACLFirstArg)
	ErrHash        = errors.New(protocol.ACLHash)
	ErrAllKeys     = errors.New(protocol.ACLAllKeys)
	ErrAllChannels = errors.New(protocol.ACLAllChannels)
	ErrNoPassword  = errors.New(protocol.ACLNoPassword)
	ErrTooMany     = errors.New(protocol.ACLTooMany)
	ErrTooLong     = errors.New(protocol.ACLTooLong)
)

// IfInherits is what a node puts before a rule about the passwords of the default user: those that it has until now, if they
// are the ones of requirepass. So adding a password leaves that of the node's setting valid, as in Redis.
const IfInherits = "="

// Apply changes the user by a rule that Normalize has made, or that begins with IfInherits. What it cannot do has an error that
// depends on the user as it is; the user is then of no use any more.
func (u *User) Apply(rule string) error {
	switch rule {
	case "":
	case "on", "off":
		u.On = rule == "on"
	case "nopass":
		u.NoPass, u.Inherits, u.Passwords = true, false, nil
	case "resetpass":
		u.NoPass, u.Inherits, u.Passwords = false, false, nil
	case "sanitize-payload", "skip-sanitize-payload":
		u.Sanitize = rule
	case "clearselectors":
		u.Selectors = nil
	case "reset":
		*u = User{Name: u.Name, Born: u.Born, Sanitize: "sanitize-payload"}
	default:
		switch rule[0] {
		case IfInherits[0]:
			return u.ownPasswords(rule[1:])
		case '#', '!':
			return u.password(rule)
		case '(':
			return u.selector(rule)
		}
		return u.Root.apply(rule)
	}
	return nil
}

// ownPasswords ends Inherits: the user has the password with this hash, or needs none.
func (u *User) ownPasswords(hash string) error {
	switch {
	case !u.Inherits:
	case hash == "":
		u.NoPass, u.Inherits = true, false
	case validHash(hash):
		u.Passwords, u.Inherits = []string{hash}, false
	default:
		return ErrHash
	}
	return nil
}

func validHash(hash string) bool {
	return len(hash) == 64 && strings.Trim(hash, "0123456789abcdef") == ""
}

func (u *User) password(rule string) error {
	hash := rule[1:]
	at := slices.Index(u.Passwords, hash)
	switch {
	case !validHash(hash):
		return ErrHash
	case rule[0] == '!' && at < 0:
		return ErrNoPassword
	case rule[0] == '!':
		u.Passwords = slices.Delete(u.Passwords, at, at+1)
		return nil
	case at < 0 && len(u.Passwords) >= MaxPasswords:
		return ErrTooMany
	case at < 0:
		u.Passwords = append(u.Passwords, hash)
	}
	u.NoPass, u.Inherits = false, false
	return nil
}

func (u *User) selector(rule string) error {
	var s Selector
	for _, word := range strings.Fields(strings.TrimSuffix(rule[1:], ")")) {
		if err := s.apply(word); err != nil {
			return err
		}
	}
	if len(u.Selectors) >= MaxSelectors {
		return ErrTooMany
	}
	u.Selectors = append(u.Selectors, s)
	return nil
}

func (s *Selector) apply(rule string) error {
	switch rule {
	case "allkeys":
		s.AllKeys, s.Keys = true, nil
	case "resetkeys":
		s.AllKeys, s.Keys = false, nil
	case "allchannels":
		s.AllChannels, s.Channels = true, nil
	case "resetchannels":
		s.AllChannels, s.Channels = false, nil
	case "+@all", "-@all":
		s.AllCommands, s.Commands = rule[0] == '+', nil
	default:
		switch rule[0] {
		case '~', '%':
			return s.keys(rule)
		case '&':
			return s.channels(rule[1:])
		case '+', '-':
			return s.command(rule)
		}
		return ErrSyntax
	}
	return nil
}

func (s *Selector) keys(rule string) error {
	k, ok := parseKeyPattern(rule)
	switch {
	case !ok:
		return ErrSyntax
	case s.AllKeys:
		return ErrAllKeys
	}
	for i := range s.Keys {
		if s.Keys[i].Pattern == k.Pattern {
			s.Keys[i].May |= k.May
			return nil
		}
	}
	if len(s.Keys) >= MaxPatterns {
		return ErrTooMany
	}
	s.Keys = append(s.Keys, k)
	return nil
}

// parseKeyPattern reads ~pattern and %RW~pattern. As in Redis, % may have no ~ and then has an empty pattern.
func parseKeyPattern(rule string) (k KeyPattern, ok bool) {
	if rule[0] == '~' {
		return KeyPattern{rule[1:], Read | Write}, true
	}
	at := 1
	for ; at < len(rule) && rule[at] != '~'; at++ {
		switch {
		case (rule[at] == 'R' || rule[at] == 'r') && k.May&Read == 0:
			k.May |= Read
		case (rule[at] == 'W' || rule[at] == 'w') && k.May&Write == 0:
			k.May |= Write
		default:
			return k, false
		}
	}
	k.Pattern = rule[min(at+1, len(rule)):]
	return k, k.May != 0
}

func (s *Selector) channels(pattern string) error {
	switch {
	case s.AllChannels:
		return ErrAllChannels
	case slices.Contains(s.Channels, pattern):
		return nil
	case len(s.Channels) >= MaxPatterns:
		return ErrTooMany
	}
	s.Channels = append(s.Channels, pattern)
	return nil
}

// command adds a rule, and leaves those out that have no effect any more: about what the rule is about, as it is the later one,
// and those at the front that say what is so anyway.
func (s *Selector) command(rule string) error {
	s.Commands = slices.DeleteFunc(s.Commands, func(r string) bool { return covers(rule[1:], r[1:]) })
	s.Commands = append(s.Commands, rule)
	idle := 0
	for idle < len(s.Commands) && (s.Commands[idle][0] == '+') == s.AllCommands {
		idle++
	}
	s.Commands = slices.Delete(s.Commands, 0, idle)
	if len(s.Commands) > MaxCommands {
		return ErrTooMany
	}
	return nil
}

// covers reports whether a rule about name decides all that one about other does: it is the same, or its container.
func covers(name, other string) bool {
	return strings.EqualFold(name, other) ||
		name[:min(1, len(name))] != "@" && len(other) > len(name) && other[len(name)] == '|' && other[:len(name)] == name
}

// Rules is what makes the user of a new one, by Apply. For Born it does not matter.
func (u *User) Rules() []string {
	rules := u.Flags()
	if u.Inherits {
		rules = append(rules, ruleInherits)
	}
	for _, p := range u.Passwords {
		rules = append(rules, "#"+p)
	}
	rules = append(rules, u.Root.rules()...)
	for i := range u.Selectors {
		rules = append(rules, "("+strings.Join(u.Selectors[i].rules(), " ")+")")
	}
	return rules
}

// ruleInherits stands for Inherits in a record.
const ruleInherits = "requirepass"

func (s *Selector) rules() (rules []string) {
	if s.AllKeys {
		rules = append(rules, "allkeys")
	}
	for _, k := range s.Keys {
		rules = append(rules, k.rule("%RW~")) // ~* would be all keys, behind which there is no pattern any more
	}
	if s.AllChannels {
		rules = append(rules, "allchannels")
	}
	for _, c := range s.Channels {
		rules = append(rules, "&"+c)
	}
	if s.AllCommands {
		rules = append(rules, "+@all")
	}
	return append(rules, s.Commands...)
}
