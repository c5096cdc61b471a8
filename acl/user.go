// Package acl is who may do what: users, the rules that make them, and whether a rule allows a call. It works on values, without
// sockets and state; what it promises is what Redis 7.0 does with the same rules.
//
// A rule goes through three steps, because it has to mean the same on every node and in every version:
//
//   - Normalize checks a rule where a client or a file brings it: names of commands and categories are known, patterns are
//     well formed. A password becomes its hash, so that no log or snapshot ever has one.
//   - User.Apply changes a user by a normalized rule. It knows no commands, so all nodes do the same, whichever version they
//     run. Rules about commands are kept as text, those without effect left out.
//   - Compile makes a Subject of a user: sets of the commands that this node has. A name that it does not have is passed over.
package acl

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"
)

// DefaultName is the user of connections that have not named one.
const DefaultName = "default"

// Limits of a user. They decide what a logged command does, and never change.
const (
	MaxUsers     = 1024
	MaxName      = 128 // bytes, engine.MaxUserName
	MaxPasswords = 32
	MaxSelectors = 16
	MaxPatterns  = 256      // of keys and of channels, in a selector
	MaxCommands  = 512      // rules about commands, in a selector
	MaxRecord    = 32 << 10 // bytes that a user's rules take
	MaxAll       = 4 << 20  // bytes that the rules of all users take in one file
)

// User is what is kept of a user. What the root selector or any other selector allows, the user may do.
type User struct {
	Name   string
	Born   uint64 // tells lives of a name apart: a user that is deleted and created again is another one
	On     bool
	NoPass bool
	// Inherits says that the passwords are those of the setting requirepass of each node: none has been set by a rule. Only the
	// default user has it.
	Inherits  bool
	Sanitize  string   // sanitize-payload or skip-sanitize-payload, shown and without effect: nothing is restored here
	Passwords []string // SHA-256 in hex
	Root      Selector
	Selectors []Selector
}

// Selector is a set of rules that allow a call, or do not.
type Selector struct {
	AllKeys     bool
	Keys        []KeyPattern
	AllChannels bool
	Channels    []string
	AllCommands bool     // what Commands begins with: all commands, or none
	Commands    []string // rules: + or -, then a command in lower case, a subcommand behind |, or a category behind @
}

// KeyPattern is a pattern of keys, and what it allows to do with them.
type KeyPattern struct {
	Pattern string
	May     Access
}

// Access is what is done with a key.
type Access uint8

// Kinds of access, which add up.
const (
	Read Access = 1 << iota
	Write
)

// NewUser is a user as SETUSER makes it before the first rule: off, and nothing is allowed.
func NewUser(name string) *User { return &User{Name: name} }

// DefaultUser is the default user before any rule: it may do everything, with the password of requirepass.
func DefaultUser() *User {
	return &User{Name: DefaultName, On: true, Inherits: true, Root: Selector{AllKeys: true, AllChannels: true, AllCommands: true}}
}

// Clone is a copy that shares nothing.
func (u *User) Clone() *User {
	c := *u
	c.Passwords = slices.Clone(u.Passwords)
	c.Root = u.Root.clone()
	c.Selectors = make([]Selector, len(u.Selectors))
	for i := range u.Selectors {
		c.Selectors[i] = u.Selectors[i].clone()
	}
	return &c
}

func (s *Selector) clone() Selector {
	c := *s
	c.Keys, c.Channels, c.Commands = slices.Clone(s.Keys), slices.Clone(s.Channels), slices.Clone(s.Commands)
	return c
}

// WithPassword is the user with the passwords that it has on a node whose requirepass is this one.
func (u *User) WithPassword(requirepass string) *User {
	if !u.Inherits {
		return u
	}
	c := *u
	c.Inherits, c.NoPass, c.Passwords = false, requirepass == "", nil
	if requirepass != "" {
		c.Passwords = []string{Hash(requirepass)}
	}
	return &c
}

// Hash is a password as it is kept: its SHA-256 in hex.
func Hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// Accepts reports whether a password is the user's, or the user needs none. It takes the same time whichever of the passwords
// it is, and whether it is one.
func (u *User) Accepts(password []byte) bool {
	sum := sha256.Sum256(password)
	var given [2 * sha256.Size]byte
	hex.Encode(given[:], sum[:])
	same := 0
	for _, p := range u.Passwords {
		same |= subtle.ConstantTimeCompare(given[:], []byte(p))
	}
	return u.NoPass || same == 1
}

// Flags is what GETUSER shows as the user's flags.
func (u *User) Flags() (flags []string) {
	flags = []string{"off"}
	if u.On {
		flags[0] = "on"
	}
	if u.NoPass {
		flags = append(flags, "nopass")
	}
	if u.Sanitize != "" {
		flags = append(flags, u.Sanitize)
	}
	return flags
}

// Describe is the user's line as LIST and SAVE write it, from which LOAD makes the same user.
func (u *User) Describe() string {
	words := append([]string{"user", u.Name}, u.Flags()...)
	for _, p := range u.Passwords {
		words = append(words, "#"+p)
	}
	words = append(words, u.Root.describe()...)
	for i := range u.Selectors {
		words = append(words, "("+strings.Join(u.Selectors[i].describe(), " ")+")")
	}
	return strings.Join(words, " ")
}

func (s *Selector) describe() (words []string) {
	text := s.KeyText()
	if strings.HasPrefix(text, "~* ") || strings.HasSuffix(text, " ~*") || strings.Contains(text, " ~* ") {
		text = s.keyText("%RW~") // in Redis the line has ~*, behind which it refuses another pattern when it loads its own file
	}
	if text != "" {
		words = append(words, text)
	}
	if !s.AllChannels {
		words = append(words, "resetchannels")
	}
	if text := s.ChannelText(); text != "" {
		words = append(words, text)
	}
	return append(words, s.CommandText())
}

// KeyText is the selector's patterns of keys, as rules.
func (s *Selector) KeyText() string { return s.keyText("~") }

// keyText is KeyText with what stands before a pattern for reading and writing.
func (s *Selector) keyText(both string) string {
	if s.AllKeys {
		return "~*"
	}
	words := make([]string, len(s.Keys))
	for i, k := range s.Keys {
		words[i] = k.rule(both)
	}
	return strings.Join(words, " ")
}

// rule is the pattern as a rule; both is what stands before one for reading and writing.
func (k *KeyPattern) rule(both string) string {
	switch k.May {
	case Read:
		return "%R~" + k.Pattern
	case Write:
		return "%W~" + k.Pattern
	}
	return both + k.Pattern
}

// ChannelText is the selector's patterns of channels, as rules.
func (s *Selector) ChannelText() string {
	if s.AllChannels {
		return "&*"
	}
	words := make([]string, len(s.Channels))
	for i, c := range s.Channels {
		words[i] = "&" + c
	}
	return strings.Join(words, " ")
}

// CommandText is the selector's commands, as rules.
func (s *Selector) CommandText() string {
	base := "-@all"
	if s.AllCommands {
		base = "+@all"
	}
	return strings.Join(append([]string{base}, s.Commands...), " ")
}
