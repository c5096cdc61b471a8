package acl

import (
	"strings"

	"quipu/internal/glob"
	"quipu/protocol"
)

// Normalize checks a rule as a client or a file has it, and returns it as Apply takes it: words in lower case, passwords as their
// hashes. The error does not depend on any user.
func (c *Catalog) Normalize(rule string) (string, error) {
	switch low := strings.ToLower(rule); low {
	case "", "on", "off", "nopass", "resetpass", "sanitize-payload", "skip-sanitize-payload", "clearselectors", "reset":
		return low, nil
	}
	switch rule[0] {
	case '>':
		return "#" + Hash(rule[1:]), nil
	case '<':
		return "!" + Hash(rule[1:]), nil
	case '#', '!':
		if !validHash(rule[1:]) {
			return "", ErrHash
		}
		return rule, nil
	case '(':
		return c.normalizeSelector(rule)
	}
	return c.normalizePart(rule)
}

// Try normalizes a rule and applies it to the user. normal is "" if the rule is wrong whatever the user is. A pattern that is both wrong
// and of no effect is refused as the latter, as in Redis.
func (c *Catalog) Try(u *User, rule string) (normal string, err error) {
	if normal, err = c.Normalize(rule); err == nil {
		return normal, u.Apply(normal)
	}
	return "", u.Root.firstError(rule, err)
}

// firstError is why Redis refuses a rule that is wrong for a reason of its own.
func (s *Selector) firstError(rule string, err error) error {
	switch {
	case s.AllKeys && (rule[0] == '~' || rule[0] == '%'):
		return ErrAllKeys
	case s.AllChannels && rule[0] == '&':
		return ErrAllChannels
	}
	return err
}

// normalizeSelector also applies the rules of the selector, which begins with nothing whatever the user is.
func (c *Catalog) normalizeSelector(rule string) (string, error) {
	if rule[len(rule)-1] != ')' || len(rule) < 2 {
		return "", ErrSyntax
	}
	if strings.ContainsAny(rule, `"'`) {
		return "", ErrSyntax // Redis takes quotes for those of a configuration file, and would have another pattern than it says
	}
	words := strings.Fields(rule[1 : len(rule)-1])
	var s Selector
	for i, word := range words {
		if strings.HasSuffix(word, ")") {
			return "", ErrSyntax // Redis takes it, and in its own file for the end of the selector
		}
		normal, err := c.normalizePart(word)
		if err != nil {
			return "", s.firstError(word, err)
		}
		if err := s.apply(normal); err != nil {
			return "", err
		}
		words[i] = normal
	}
	return "(" + strings.Join(words, " ") + ")", nil
}

// normalizePart is Normalize for what may stand in a selector.
func (c *Catalog) normalizePart(rule string) (string, error) {
	switch low := strings.ToLower(rule); low {
	case "allkeys", "resetkeys", "allchannels", "resetchannels", "+@all", "-@all":
		return low, nil
	case "~*":
		return "allkeys", nil
	case "&*":
		return "allchannels", nil
	case "allcommands":
		return "+@all", nil
	case "nocommands":
		return "-@all", nil
	}
	switch rule[0] {
	case '~', '%':
		k, ok := parseKeyPattern(rule)
		if !ok || hasSpaces(rule) {
			return "", ErrSyntax
		}
		if len(k.Pattern) > glob.MaxPattern {
			return "", ErrTooLong
		}
		return k.rule("%RW~"), nil
	case '&':
		if hasSpaces(rule) {
			return "", ErrSyntax
		}
		if len(rule) > 1+glob.MaxPattern {
			return "", ErrTooLong
		}
		return rule, nil
	case '+', '-':
		return c.normalizeCommand(rule)
	}
	return "", ErrSyntax
}

func (c *Catalog) normalizeCommand(rule string) (string, error) {
	sign, name := rule[:1], strings.ToLower(rule[1:])
	if category, ok := strings.CutPrefix(name, "@"); ok {
		if _, known := c.categories[category]; !known {
			return "", ErrUnknown
		}
		return sign + name, nil
	}
	if _, ok := c.byName[name]; ok && strings.Count(name, "|") <= 1 {
		return sign + name, nil
	}
	at := strings.LastIndexByte(name, '|')
	if sign == "-" || at < 0 {
		return "", ErrUnknown
	}
	id, ok := c.byName[name[:at]]
	switch {
	case !ok:
		return "", ErrUnknown
	case strings.Contains(name[:at], "|"):
		return "", ErrFirstArg
	case at+1 == len(name):
		return "", ErrSyntax
	case len(c.entries[id].subs) > 0:
		return "", ErrUnknown
	case hasSpaces(rule):
		return "", ErrSyntax
	case len(name)-at > maxFirstArg:
		return "", ErrTooLong
	}
	return sign + name[:at] + "|" + rule[1+at+1:], nil // the case of an argument is shown as it was given
}

const maxFirstArg = 128 // bytes

// hasSpaces reports blanks and zeros, as Redis counts them.
func hasSpaces(s string) bool { return strings.ContainsAny(s, " \t\n\v\f\r\x00") }

// ValidName returns the error text for a name that no user can have, or "".
func ValidName(name string) string {
	switch {
	case hasSpaces(name):
		return protocol.ErrUserName
	case len(name) > MaxName:
		return protocol.ErrUserNameLong(MaxName)
	}
	return ""
}

// JoinSelectors joins the words of each rule in parentheses; bad is the first one that is not closed, "" for none.
func JoinSelectors(words []string) (rules []string, bad string) {
	open, begin := -1, ""
	for _, word := range words {
		switch {
		case open >= 0 && strings.HasPrefix(word, "(") && !strings.HasSuffix(word, ")"):
			return nil, word // Redis forgets the first one, and complains only if this one is not closed either
		case open >= 0:
			rules[open] += " " + word
		case strings.HasPrefix(word, "("):
			open, begin = len(rules), word
			rules = append(rules, word)
		default:
			rules = append(rules, word)
			continue
		}
		if strings.HasSuffix(word, ")") {
			open = -1
		}
	}
	if open >= 0 {
		return nil, begin
	}
	return rules, ""
}

// ChangesPasswords reports whether a normalized rule is about passwords.
func ChangesPasswords(rule string) bool {
	return rule == "nopass" || rule == "resetpass" || rule == "reset" || rule != "" && (rule[0] == '#' || rule[0] == '!')
}
