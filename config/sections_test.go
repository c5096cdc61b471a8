package config

import (
	"fmt"
	"slices"
	"testing"
)

// TestSections: each setting is in one section, each section begins somewhere, and none is empty.
func TestSections(t *testing.T) {
	list := Sections()
	if len(list) != len(sections) {
		t.Errorf("%d sections of %d begin at a setting", len(list), len(sections))
	}
	var names, want []string
	for i, s := range list {
		if s.Title != sections[i].title || s.Settings[0].Name != sections[i].first {
			t.Errorf("section %q begins with %s", s.Title, s.Settings[0].Name)
		}
		for _, setting := range s.Settings {
			names = append(names, setting.Name)
		}
	}
	for _, s := range settings {
		want = append(want, s.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("the sections have %q", names)
	}
}

func TestValues(t *testing.T) {
	for name, want := range map[string]string{
		"protected-mode": "[no yes]", "loglevel": "[debug notice verbose warning]", "transport": "[auto epoll net]", "tls-auth-clients": "[no optional yes]",
		"read-consistency": "[leader linearizable local]", "ack": "[local quorum]", "appendfsync": "[always]", "maxmemory-policy": "[noeviction]",
		"port": "[]", "dir": "[]", "maxmemory": "[]", "write-timeout": "[]", "bind": "[]", "tls-protocols": "[]", "region-peers": "[]", "user": "[]",
	} {
		if got := fmt.Sprint(Lookup(name).Values()); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
