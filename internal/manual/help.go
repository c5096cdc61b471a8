package manual

import (
	"fmt"
	"io"
	"strings"

	"quipu/config"
)

const helpWidth = 100 // characters

// Help is what `quipu help` says: the subcommands, and where there is more.
func (p *Program) Help(w io.Writer) {
	fmt.Fprintf(w, "%s is %s.\n\n", p.Name, p.Summary)
	for _, c := range p.Commands {
		fmt.Fprintf(w, "  %s\n", strings.TrimSpace(p.Name+" "+c.Name+" "+c.Usage))
		for _, line := range wrap(c.Summary, helpWidth-6) {
			fmt.Fprintf(w, "      %s\n", line)
		}
	}
	fmt.Fprintf(w, "\nSettings of %s server:\n", p.Name)
	describe(w)
}

// ServerHelp is what `quipu server --help` says: everything about running a node.
func (p *Program) ServerHelp(w io.Writer) {
	for _, c := range p.Commands {
		if c.Server {
			fmt.Fprintf(w, "%s\n\n%s.\n", strings.TrimSpace(p.Name+" "+c.Name+" "+c.Usage), c.Summary)
		}
	}
	for _, n := range notes {
		fmt.Fprintf(w, "\n%s:\n", n.title)
		for _, item := range n.items {
			indent := "  "
			if item[0] != "" {
				fmt.Fprintf(w, "  %s\n", item[0])
				indent = "      "
			}
			for _, line := range wrap(item[1], helpWidth-len(indent)) {
				fmt.Fprintf(w, "%s%s\n", indent, line)
			}
		}
	}
	describe(w)
}

// describe prints every setting with its default.
func describe(w io.Writer) {
	for _, section := range config.Sections() {
		fmt.Fprintf(w, "\n%s:\n", section.Title)
		for _, line := range wrap(section.Intro, helpWidth-2) {
			if line != "" {
				fmt.Fprintf(w, "  %s\n", line)
			}
		}
		for i := range section.Settings {
			s := &section.Settings[i]
			fmt.Fprintf(w, "  --%s %s\n", s.Name, shownValue(s.Default))
			for _, line := range wrap(s.Summary+fixedNote(s), helpWidth-6) {
				fmt.Fprintf(w, "      %s\n", line)
			}
		}
	}
}

// shownValue is a default as a line of the configuration file has it.
func shownValue(v string) string {
	if v == "" {
		return `""`
	}
	return v
}

// Conf is the commented configuration file: each setting with its default, as a comment.
func Conf() string {
	var b strings.Builder
	b.WriteString(`# Configuration of a Quipu node: lines "name value", read once at start.
#
# Every setting stands here with its default, as a comment without a blank behind the #.
# Take the # away to change one. A value with quotes or more than one blank in a row stands
# in double quotes, in which \" is a quote and \\ a backslash; sizes are 100mb or 2gb,
# times 10ms, 5s or 1h. Settings that are not fixed at start can be changed in a running
# node: CONFIG SET name value. "include FILE" reads another file in place of the line.
# Environment variables (QUIPU_NAME) and flags (--name value) count more than this file.
# See quipu.conf(5).
#
# Keep passwords from others: chown root:quipu, chmod 640.
`)
	for _, section := range config.Sections() {
		fmt.Fprintf(&b, "\n# ======== %s ========\n", section.Title)
		if section.Intro != "" {
			b.WriteString("#\n")
			for _, line := range wrap(section.Intro, helpWidth-12) {
				fmt.Fprintf(&b, "# %s\n", line)
			}
		}
		for i := range section.Settings {
			s := &section.Settings[i]
			b.WriteString("\n")
			for _, line := range wrap(s.Summary+fixedNote(s), helpWidth-12) {
				fmt.Fprintf(&b, "# %s\n", line)
			}
			fmt.Fprintf(&b, "#%s %s\n", s.Name, shownValue(s.Default))
		}
	}
	return b.String()
}
