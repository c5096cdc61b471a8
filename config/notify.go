package config

import (
	"strings"

	"quipu/protocol"
)

// Notify says which events of keys are told on channels: the setting notify-keyspace-events.
type Notify uint32

// Kinds of events, and the two kinds of channels they are told on.
const (
	NotifyGeneric Notify = 1 << iota
	NotifyString
	NotifyExpired
	NotifyModule
	NotifyNew
	NotifyKeyspace // on __keyspace@db__:key
	NotifyKeyevent // on __keyevent@db__:event
	notifyList
	notifySet
	notifyHash
	notifySorted
	notifyEvicted
	notifyStream
	notifyMiss

	notifyAll = NotifyGeneric | NotifyString | notifyList | notifySet | notifyHash | notifySorted | NotifyExpired | notifyEvicted | notifyStream | NotifyModule
)

// notifyLetters are in the order in which Redis shows them.
var notifyLetters = []struct {
	letter byte
	kind   Notify
}{
	{'g', NotifyGeneric}, {'$', NotifyString}, {'l', notifyList}, {'s', notifySet}, {'h', notifyHash}, {'z', notifySorted}, {'x', NotifyExpired},
	{'e', notifyEvicted}, {'t', notifyStream}, {'d', NotifyModule}, {'n', NotifyNew}, {'K', NotifyKeyspace}, {'E', NotifyKeyevent}, {'m', notifyMiss},
}

func notifySetting() Setting {
	return Setting{"notify-keyspace-events", "", false, "which events of keys are published, by the letters of Redis: K or E, and A or some of g$xdn; empty: none", setNotify, getNotify}
}

func setNotify(c *Config, v string) error {
	var kinds Notify
next:
	for i := range len(v) {
		if v[i] == 'A' {
			kinds |= notifyAll
			continue
		}
		for _, l := range notifyLetters {
			if v[i] == l.letter {
				kinds |= l.kind
				continue next
			}
		}
		return &ValueError{"an event class is not one of the characters " + protocol.NotifyClasses, protocol.ConfigNotify}
	}
	c.Notify = kinds
	return nil
}

// getNotify shows the kinds as Redis does: with all of A, n is not shown.
func getNotify(c *Config) string {
	var b strings.Builder
	all := c.Notify&notifyAll == notifyAll
	if all {
		b.WriteByte('A')
	}
	for _, l := range notifyLetters {
		if c.Notify&l.kind != 0 && !(all && l.kind&(notifyAll|NotifyNew) != 0) {
			b.WriteByte(l.letter)
		}
	}
	return b.String()
}
