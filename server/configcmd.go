package server

import (
	"strings"

	"quipu/commands"
	"quipu/protocol"
)

// configHandlers is CONFIG with its subcommands.
func configHandlers() handler {
	entry := func(name string, arity int, flags commands.Flag, since, complexity, syntax, summary string) commands.Command {
		return commands.Command{Name: name, Arity: arity, Flags: flags, Since: since, Group: "server",
			Complexity: complexity, Syntax: syntax, Summary: summary}
	}
	perParameter := "O(N) when N is the number of configuration parameters provided"
	set := entry("set", -4, flagsAdmin, "2.0.0", perParameter, "parameter:string value:string [parameter:string value:string ...]", "Change settings")
	set.Tips = []string{"request_policy:all_nodes", "response_policy:all_succeeded"}
	help := entry("help", 2, commands.FlagLoading|commands.FlagStale, "5.0.0", "O(1)", "", "Show helpful text about the different subcommands")
	help.Read = commands.Help
	return handler{
		entry: commands.Command{Name: "config", Arity: -2, Since: "2.0.0", Group: "server", Complexity: "Depends on subcommand.", Summary: "A container for server configuration commands"},
		run:   missingSubcommand,
		subs: []handler{
			{entry: entry("get", -3, flagsAdmin, "2.0.0", perParameter, "parameter:string [parameter:string ...]", "Show settings"), run: configGet},
			{entry: set, run: configSet},
			{entry: entry("resetstat", 2, flagsAdmin, "2.0.0", "O(1)", "", "Reset the statistics that INFO shows"), run: configResetStat},
			{entry: entry("rewrite", 2, flagsAdmin, "2.8.0", "O(1)", "", "Write the settings into the configuration file"), run: configRewrite},
			{entry: help},
		},
	}
}

// configGet shows each setting once, under the name it was asked for where that was no pattern.
func configGet(s *Session, args [][]byte, w *protocol.Writer) {
	cfg := s.srv.config()
	var found []*setting
	var names []string
	for i := range settings {
		for _, pattern := range args[2:] {
			if !commands.MatchGlob(pattern, []byte(settings[i].name), true) {
				continue
			}
			name := settings[i].name
			if strings.EqualFold(string(pattern), name) {
				name = string(pattern)
			}
			found, names = append(found, &settings[i]), append(names, name)
			break
		}
	}
	w.Map(len(found))
	for i, f := range found {
		w.BulkString(names[i])
		w.BulkString(f.get(cfg))
	}
}

// configSet changes all the settings named, or none.
func configSet(s *Session, args [][]byte, w *protocol.Writer) {
	if len(args)%2 != 0 {
		w.Error(protocol.ErrSyntax)
		return
	}
	srv := s.srv
	srv.cfgMu.Lock()
	defer srv.cfgMu.Unlock()
	changed := *srv.config()
	seen := map[string]bool{}
	for i := 2; i < len(args); i += 2 {
		name := strings.ToLower(string(args[i]))
		row := lookupSetting(name)
		if row == nil {
			w.Error(protocol.ErrConfigUnknown(args[i]))
			return
		}
		reason := ""
		switch {
		case seen[name]:
			reason = protocol.ConfigDuplicate
		case row.fixed:
			reason = protocol.ConfigImmutable
		default:
			if err := row.set(&changed, string(args[i+1])); err != nil {
				reason = err.Error()
			}
		}
		if reason != "" {
			w.Error(protocol.ErrConfigSet(row.name, reason))
			return
		}
		seen[name] = true
	}
	if err := changed.validate(); err != nil {
		w.Error("ERR CONFIG SET failed - " + err.Error())
		return
	}
	srv.cfg.Store(&changed)
	srv.setLogLevel(changed.LogLevel)
	w.OK()
}

func configResetStat(s *Session, _ [][]byte, w *protocol.Writer) {
	s.srv.stats.reset()
	s.srv.resetCalls()
	w.OK()
}

// configRewrite is refused: a file that its owner keeps under version control or generates is not ours to edit.
func configRewrite(_ *Session, _ [][]byte, w *protocol.Writer) { w.Error(protocol.ErrNoConfigFile) }
