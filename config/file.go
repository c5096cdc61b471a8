package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quipu/protocol"
)

// maxInclude is how deep files may include others: one that includes itself ends here.
const maxInclude = 16

// Ignored are directives of redis.conf that stand in the configuration file and change nothing, for one reason.
type Ignored struct {
	Names []string // each once, in the order of the file
	Why   string
}

// loadFile reads the lines of a configuration file, which is one of ours or of Redis's; depth counts those that include it.
func (c *Config) loadFile(path string, depth int) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := c.loadLine(line, depth); err != nil {
			return fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
	}
	return nil
}

// loadLine carries out a line "name value …", in which words are quoted as in redis.conf.
func (c *Config) loadLine(line string, depth int) error {
	words, ok := protocol.SplitLine(line)
	if !ok {
		return fmt.Errorf("a quote is not closed, or a word goes on behind one: write \\\" for a quote within double quotes")
	}
	name, words := strings.ToLower(words[0]), words[1:]
	if name == "include" {
		return c.include(words, depth)
	}
	if name == "user" && slices.ContainsFunc(words, func(w string) bool { return strings.ContainsAny(w, " \t") && len(words) > 1 }) {
		return fmt.Errorf("user: a rule has a blank in it: write a password with one as #, followed by its SHA-256 in hexadecimal")
	}
	row := directiveOf(name)
	if Lookup(name) != nil {
		err := c.Set(name, strings.Join(words, " "))
		if err != nil && row != nil && row.ignored {
			c.ignore(name, row.why)
			return nil
		}
		return err
	}
	switch {
	case row == nil:
		return c.Set(name, "") // which says that there is no such setting
	case row.ignored:
		c.ignore(name, row.why)
	case !slices.Contains(row.harmless, strings.ToLower(strings.Join(words, " "))):
		return fmt.Errorf("%s of redis.conf is refused: %s", name, row.why)
	}
	return nil
}

func (c *Config) include(words []string, depth int) error {
	if len(words) == 0 {
		return fmt.Errorf("include: which file? write include /path/of/file.conf")
	}
	if depth == maxInclude {
		return fmt.Errorf("include: %d files include each other", maxInclude)
	}
	for _, pattern := range words {
		paths := []string{pattern}
		if strings.ContainsAny(pattern, "*?[") { // as in Redis, a pattern that fits nothing is no error, and a file that is missing is
			paths, _ = filepath.Glob(pattern) // a bad pattern fits nothing
		}
		for _, path := range paths {
			if err := c.loadFile(path, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// ignore notes a directive, beside others that are ignored for the same reason.
func (c *Config) ignore(name, why string) {
	i := slices.IndexFunc(c.Ignored, func(g Ignored) bool { return g.Why == why })
	if i < 0 {
		i = len(c.Ignored)
		c.Ignored = append(c.Ignored, Ignored{Why: why})
	}
	if g := &c.Ignored[i]; !slices.Contains(g.Names, name) {
		g.Names = append(g.Names, name)
	}
}

// Quote is a value as a line of a configuration file has it: in quotes where it would be read as something else without them.
func Quote(value string) string {
	if words, ok := protocol.SplitLine(value); ok && len(words) == 1 && words[0] == value {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(value) + `"`
}
