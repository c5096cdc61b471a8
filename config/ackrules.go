package config

import (
	"fmt"
	"strings"
	"time"

	"quipu/internal/glob"
)

// AckRule gives the keys that match a pattern an ack level of their own.
type AckRule struct {
	Glob  string // the pattern, as internal/glob matches it
	Local bool   // ack level local: increments are answered ahead; else when they are applied
}

// parseAckRules reads "glob level glob level …".
func parseAckRules(v string) ([]AckRule, error) {
	words := strings.Fields(v)
	if len(words)%2 != 0 {
		return nil, fmt.Errorf("%q is not a list of patterns, each with quorum or local behind it", v)
	}
	var rules []AckRule
	for i := 0; i < len(words); i += 2 {
		local, err := parseAck(words[i+1])
		if err != nil {
			return nil, err
		}
		rules = append(rules, AckRule{words[i], local})
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

// ackSetting is the ack level of keys that no rule matches, on connections that have not used CLIENT ACK.
func ackSetting() Setting {
	return Setting{
		"ack", "quorum", false, "when increments are answered: quorum, on disk; local, from memory, in the log within local-ack-interval and on disk one or two syncs later",
		func(c *Config, v string) (err error) { c.AckLocal, err = parseAck(v); return err },
		func(c *Config) string { return ackName(c.AckLocal) },
	}
}

// ackRuleSetting may be given several times in one place, the configuration file or the flags, and then adds up; each
// place replaces what the one before it said.
func ackRuleSetting() Setting {
	return Setting{
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
				words = append(words, r.Glob, ackName(r.Local))
			}
			return strings.Join(words, " ")
		},
	}
}

// maxPendingSetting is two limits in one: "1s 64mb".
func maxPendingSetting() Setting {
	return Setting{
		"local-ack-max-pending", "5s 64mb", false, "how long, and how much memory, increments may wait for a log that takes none",
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

// KeyIsLocal reports whether the settings have a key at ack level local.
func (c *Config) KeyIsLocal(key []byte) bool {
	for i := range c.AckRules {
		if glob.Match([]byte(c.AckRules[i].Glob), key, false) {
			return c.AckRules[i].Local
		}
	}
	return c.AckLocal
}

// UsesLocal reports whether any key can be at ack level local without a client's asking for it.
func (c *Config) UsesLocal() bool { return c.AckLocal || len(c.AckRules) > 0 }
