package acl

import (
	"bytes"
	"errors"
	"strings"

	"quipu/protocol"
)

// ParseLine makes a user of what stands behind the word user in a line of a file: a name, and rules. The rules that are wrong are
// reported by bad, in order, until it returns false.
func (c *Catalog) ParseLine(words []string, bad func(rule string, err error) (goOn bool)) *User {
	u := NewUser(words[0])
	rules, open := JoinSelectors(words[1:])
	if open != "" {
		bad(open, errOpen)
		return u
	}
	for _, rule := range rules {
		if _, err := c.Try(u, rule); err != nil && !bad(rule, err) {
			break
		}
	}
	return u
}

var errOpen = errors.New(protocol.ACLOpenSelector)

// ParseFile reads the users of a file that SAVE has written, or an operator: a line for each. problems is all that is wrong, as Redis
// puts it, "" for nothing. name is the file's, for these texts.
func (c *Catalog) ParseFile(name string, text []byte) (users []*User, problems string) {
	seen, total := map[string]bool{}, 0
	number := 0
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		number++
		words := strings.Split(strings.Trim(string(line), " \t\r\n"), " ")
		if len(words) == 1 && words[0] == "" {
			continue
		}
		if words[0] != "user" || len(words) < 2 {
			problems += protocol.ACLLineStart(name, number)
			continue
		}
		for i := range words {
			words[i] = strings.Trim(words[i], "\t\r\n")
		}
		if seen[words[1]] {
			problems += protocol.ACLDuplicate(words[1], number)
			continue
		}
		seen[words[1]] = true
		if ValidName(words[1]) != "" {
			problems += protocol.ACLLineName(name, number, words[1])
			continue
		}
		u, text := c.parseFileLine(name, number, words[1:])
		problems += text
		users = append(users, u)
		record, ok := u.Encode()
		if total += len(record); !ok || total > MaxAll || len(users) >= MaxUsers {
			return nil, problems + protocol.ACLFileTooLarge(name, number)
		}
	}
	return users, problems
}

func (c *Catalog) parseFileLine(name string, number int, words []string) (u *User, problems string) {
	syntax := false
	u = c.ParseLine(words, func(rule string, err error) bool {
		switch {
		case errors.Is(err, errOpen):
			problems += protocol.ACLLineOpen(name, number)
		case errors.Is(err, ErrUnknown):
			problems += protocol.ACLLineOperation(name, number, rule, err.Error())
		case !syntax: // one of them is told for each line
			syntax = true
			problems += protocol.ACLLineSyntax(name, number, err.Error())
		}
		return true
	})
	return u, problems
}
