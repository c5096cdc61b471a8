// Package manual makes all that tells people how the program is used, out of one description of its command line and the table of
// settings: help, manual pages, the commented configuration file, and completion for shells.
package manual

import (
	"flag"
	"strings"

	"quipu/config"
)

// Program is a command line.
type Program struct {
	Name, Summary string
	Commands      []Command
}

// Command is one subcommand.
type Command struct {
	Name    string
	Usage   string // what may follow the name, for people
	Summary string
	Words   []Word // what may follow the name, where that is one of a few words
	Files   bool   // whether a file may follow, behind the word where there is one
	Flags   []Flag
	Server  bool // whether the settings are flags of it
}

// Word is one of the words that may follow a subcommand.
type Word struct{ Name, Args, Summary string }

// Flag is a flag of a subcommand, or a setting as one.
type Flag struct {
	Name, Arg, Summary string // Arg is a name for its value; empty: it has none
	Values             []string
	Path               bool // whether the value is a path
}

// Flags are those of a set, as package flag has them.
func Flags(set *flag.FlagSet) []Flag {
	var list []Flag
	set.VisitAll(func(f *flag.Flag) {
		arg, usage := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			usage += " (default " + f.DefValue + ")"
		}
		list = append(list, Flag{Name: f.Name, Arg: arg, Summary: usage, Path: arg == "file" || arg == "directory"})
	})
	return list
}

// flags are all flags of a subcommand; those of the server are the settings.
func (c *Command) flags() []Flag {
	if !c.Server {
		return c.Flags
	}
	list := []Flag{{Name: "help", Summary: "all settings"}}
	for _, s := range config.Settings() {
		list = append(list, Flag{s.Name, "value", s.Summary, s.Values(), s.Path()})
	}
	return list
}

// notes are the sections behind the subcommands: in `quipu server --help` and in quipu(1).
var notes = []struct {
	title string
	items [][2]string // a term, and what it means; without a term, a paragraph
}{
	{"Settings", [][2]string{
		{"", "Each setting can be given as --name value, as a line \"name value\" of the configuration file, or as QUIPU_NAME in the environment, with _ for -; the first of these counts. " +
			"In a running node, CONFIG GET shows them and CONFIG SET changes those that are not fixed at start."},
	}},
	{"Environment", [][2]string{
		{"QUIPU_NAME", "a setting, such as QUIPU_MAXMEMORY=2gb"},
		{"QUIPU_REQUIREPASS", "also the password that quipu cluster, backup and ping use if they are given none"},
		{"NOTIFY_SOCKET, WATCHDOG_USEC", "where and how often a service manager such as systemd is told how the node is doing"},
	}},
	{"Signals", [][2]string{
		{"SIGTERM, SIGINT", "stop: what was read from clients is answered, a snapshot is written, and another node, where there is one, takes the lead"},
		{"SIGHUP", "read all certificates again"},
		{"SIGKILL", "loses nothing that was answered, but for increments at ack level local of the last moments"},
	}},
	{"Exit status", [][2]string{
		{"0", "after a stop, or success"},
		{"1", "after a failure; of quipu cluster status: the cluster is degraded"},
		{"2", "the command line or the configuration cannot work; of quipu cluster status: no quorum, or nobody answers"},
	}},
}

// wrap breaks text into lines of at most width characters where its words allow.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// fixedNote is what is said of a setting that a node has to be started again for.
func fixedNote(s *config.Setting) string {
	if s.Fixed {
		return " (fixed at start)"
	}
	return ""
}
