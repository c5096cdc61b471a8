package acl

import (
	"slices"
	"strings"
)

// Entry is what rules may say of one command.
type Entry struct {
	Name       string // "get", or "config|get" for a subcommand
	Categories []string
	Free       bool // anybody may call it, whatever the rules: AUTH and its like
	subs       []int
	parent     int // -1: none
}

// Catalog is the commands and categories that rules can name. It never changes.
type Catalog struct {
	entries    []Entry          // by number
	byName     map[string]int   // in lower case
	categories map[string][]int // numbers of commands, by category
	names      []string         // of categories, in order
}

// NewCatalog makes a catalog of commands, whose numbers are their places in the list, and of all categories.
func NewCatalog(entries []Entry, categories []string) *Catalog {
	c := &Catalog{entries: slices.Clone(entries), byName: map[string]int{}, categories: map[string][]int{}, names: categories}
	for _, name := range categories {
		c.categories[name] = nil
	}
	for id := range c.entries {
		c.byName[c.entries[id].Name] = id
	}
	for id := range c.entries {
		e := &c.entries[id]
		e.parent = -1
		if container, _, isSub := strings.Cut(e.Name, "|"); isSub {
			e.parent = c.byName[container]
			parent := &c.entries[e.parent]
			parent.subs = append(parent.subs, id)
		}
		for _, name := range e.Categories {
			c.categories[name] = append(c.categories[name], id)
		}
	}
	return c
}

// Categories is the names of all categories, in Redis's order.
func (c *Catalog) Categories() []string { return c.names }

// In is the names of the commands of a category, given in any case; false: there is none of that name.
func (c *Catalog) In(category string) (names []string, ok bool) {
	ids, ok := c.categories[strings.ToLower(category)]
	for _, id := range ids {
		names = append(names, c.entries[id].Name)
	}
	return names, ok
}
