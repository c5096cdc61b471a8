package config

import (
	"slices"
	"strings"
	"unicode"
)

// Section is a part of the table of settings, as manuals and the commented configuration have it.
type Section struct {
	Title    string
	Intro    string // a sentence or two, or empty
	Settings []Setting
}

// sections are where parts of the table begin: a new setting belongs to the part that it stands in.
var sections = []struct{ first, title, intro string }{
	{"port", "Where clients connect, and where the data is", ""},
	{"requirepass", "Who may connect", "Users of all nodes are changed with ACL SETUSER; those of the settings are in force until then."},
	{"loglevel", "Log, memory and connections", ""},
	{"node-id", "Nodes of a cluster", "docs/cluster.md has the steps. Addresses that are not on loopback need certificates: quipu tls init makes them."},
	{"tls-port", "TLS for clients", "The files are PEM; SIGHUP has them read again. Those of Redis's names that have one value take no other."},
	{"cluster-enabled", "Clients of Redis Cluster", ""},
	{"ack", "When writes are answered, and what reads see", ""},
	{"http-addr", "HTTP and the feed", ""},
	{"write-timeout", "The log", ""},
	{"proto-max-bulk-len", "Limits on what clients send and leave unread", ""},
	{"appendonly", "Settings of Redis that have one value", "Programs ask for them. In a configuration file of Redis, values that would mean less are ignored with a warning."},
	{"region", "Regions", "Clusters that count the same keys: docs/regions.md."},
}

// Sections is the table of all settings in parts, in its order.
func Sections() []Section {
	var list []Section
	for i := range settings {
		for _, s := range sections {
			if s.first == settings[i].Name {
				list = append(list, Section{Title: s.title, Intro: s.intro})
			}
		}
		last := &list[len(list)-1]
		last.Settings = append(last.Settings, settings[i])
	}
	return list
}

// Values are the words that the setting takes, where it takes no others. They are those of its summary and default that it does not
// refuse: a list beside them could say something else.
func (s *Setting) Values() []string {
	takes := func(word string) bool { c := Config{}; return s.Set(&c, word) == nil }
	if takes("no-such-word") {
		return nil
	}
	var values []string
	for _, word := range append(strings.FieldsFunc(s.Summary+" "+s.Default, func(r rune) bool { return !unicode.IsLetter(r) && r != '-' }), "yes", "no") {
		if !slices.Contains(values, word) && takes(word) {
			values = append(values, word)
		}
	}
	slices.Sort(values)
	return values
}

// Path reports whether the setting is a path of a file or a folder, or empty.
func (s *Setting) Path() bool {
	return s.Name == "dir" || s.Name == "aclfile" || s.Name == "unixsocket" || strings.HasSuffix(s.Name, "-file") || strings.HasSuffix(s.Name, "-dir")
}
