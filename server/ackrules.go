package server

import (
	"fmt"
	"strings"
	"time"

	"quipu/commands"
	"quipu/internal/glob"
	"quipu/protocol"
)

// ackRule gives the keys that match a pattern a level of their own.
type ackRule struct {
	glob  string
	local bool
}

// parseAckRules reads "glob level glob level …".
func parseAckRules(v string) ([]ackRule, error) {
	words := strings.Fields(v)
	if len(words)%2 != 0 {
		return nil, fmt.Errorf("%q is not a list of patterns, each with quorum or local behind it", v)
	}
	var rules []ackRule
	for i := 0; i < len(words); i += 2 {
		local, err := parseAck(words[i+1])
		if err != nil {
			return nil, err
		}
		rules = append(rules, ackRule{words[i], local})
	}
	return rules, nil
}

func parseAck(v string) (local bool, err error) {
	switch strings.ToLower(v) {
	case "quorum":
		return false, nil
	case "local":
		return true, nil
	}
	return false, fmt.Errorf("%q is neither quorum nor local", v)
}

func ackName(local bool) string {
	if local {
		return "local"
	}
	return "quorum"
}

// ackSetting is the level of what no rule and no CLIENT ACK says otherwise about.
func ackSetting() setting {
	return setting{
		"ack", "quorum", false, "when increments are answered: quorum, on disk; local, from memory, and on disk soon after",
		func(c *Config, v string) (err error) { c.AckLocal, err = parseAck(v); return err },
		func(c *Config) string { return ackName(c.AckLocal) },
	}
}

// ackRuleSetting may be given several times in one place, the configuration file or the flags, and then adds up; each
// place replaces what the one before it said.
func ackRuleSetting() setting {
	return setting{
		"ack-rule", "", false, "pattern and level of the keys that match, as in \"views:* local\"; the first that matches counts",
		func(c *Config, v string) error {
			rules, err := parseAckRules(v)
			if err != nil {
				return err
			}
			if c.rulesFrom != c.source {
				c.rulesFrom, c.AckRules = c.source, nil
			}
			c.AckRules = append(c.AckRules[:len(c.AckRules):len(c.AckRules)], rules...)
			return nil
		},
		func(c *Config) string {
			var words []string
			for _, r := range c.AckRules {
				words = append(words, r.glob, ackName(r.local))
			}
			return strings.Join(words, " ")
		},
	}
}

// maxPendingSetting is two limits in one: "1s 64mb".
func maxPendingSetting() setting {
	return setting{
		"local-ack-max-pending", "1s 64mb", false, "how long, and how much memory, increments may wait for a log that takes none",
		func(c *Config, v string) error {
			words := strings.Fields(v)
			if len(words) != 2 {
				return fmt.Errorf("%q is not a duration and a size such as 1s 64mb", v)
			}
			age, err := time.ParseDuration(words[0])
			if err != nil || age < 10*time.Millisecond || age > time.Hour {
				return fmt.Errorf("%q is not a duration such as 1s, from 10ms to 1h", words[0])
			}
			size, err := parseBytes(words[1])
			if err != nil {
				return err
			}
			if size < 64<<10 || size > 1<<40 {
				return fmt.Errorf("%d bytes is not from %d to %d", size, 64<<10, int64(1)<<40)
			}
			c.LocalMaxAge, c.LocalMaxBytes = age, size
			return nil
		},
		func(c *Config) string { return fmt.Sprintf("%v %d", c.LocalMaxAge, c.LocalMaxBytes) },
	}
}

// keyIsLocal is the level of a key by the settings.
func (c *Config) keyIsLocal(key []byte) bool {
	for i := range c.AckRules {
		if glob.Match([]byte(c.AckRules[i].glob), key, false) {
			return c.AckRules[i].local
		}
	}
	return c.AckLocal
}

// ackChoice is what a connection has chosen with CLIENT ACK.
type ackChoice uint8

const (
	ackDefault ackChoice = iota
	ackQuorum
	ackLocal
)

// isLocal reports whether the session's increments of a key are answered from memory.
func (s *Session) isLocal(key []byte) bool {
	switch s.ack {
	case ackQuorum:
		return false
	case ackLocal:
		return true
	}
	cfg := s.srv.config()
	if len(cfg.AckRules) == 0 {
		return cfg.AckLocal
	}
	return cfg.keyIsLocal(key)
}

// readLevel is the level at which the session reads. One that watches keys reads what EXEC will find.
func (s *Session) readLevel() commands.Level {
	if s.watcher != nil || s.ack == ackQuorum {
		return commands.LevelQuorum
	}
	cfg := s.srv.config()
	switch {
	case s.ack == ackLocal:
		return commands.LevelLocal
	case len(cfg.AckRules) > 0:
		return commands.LevelByKey
	case cfg.AckLocal:
		return commands.LevelLocal
	}
	return commands.LevelQuorum
}

// clientAck chooses the level of the connection, and answers once all that this node has counted in memory so far is
// in the log. The choice holds for the commands behind it also where that fails.
func clientAck(s *Session, args [][]byte) bool {
	switch strings.ToLower(string(args[2])) {
	case "quorum":
		s.ack = ackQuorum
	case "local":
		s.ack = ackLocal
	case "default":
		s.ack = ackDefault
	default:
		s.replyError(protocol.ErrAckLevel)
		return true
	}
	// The first client at level local waits for the writes before it, which have no fences.
	first := s.ack == ackLocal && s.srv.local.used.CompareAndSwap(false, true)
	if first || s.srv.keyspace.HasPending() {
		s.drainAll().Barrier([]byte("+OK\r\n"), s.origin())
		return true
	}
	s.beginReply().OK()
	s.endReply()
	return true
}

// usesLocal reports whether any key can be at level local without a client's asking for it.
func (c *Config) usesLocal() bool { return c.AckLocal || len(c.AckRules) > 0 }
