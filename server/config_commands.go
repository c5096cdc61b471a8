package server

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"quipu/commands"
	"quipu/config"
	"quipu/internal/glob"
	"quipu/protocol"
)

// configHandlers is CONFIG with its subcommands.
func configHandlers() handler {
	entry := func(name string, arity int, flags commands.Flag, since, complexity, syntax, summary string) commands.Command {
		return commands.Command{Name: name, Arity: arity, Flags: flags, Since: since, Group: "server",
			Complexity: complexity, Syntax: syntax, Summary: summary}
	}
	perParameter := "O(N) for N configuration parameters provided"
	set := entry("set", -4, flagsAdmin, "2.0.0", perParameter, "parameter:string value:string [parameter:string value:string ...]", "Change settings")
	set.Tips = []string{"request_policy:all_nodes", "response_policy:all_succeeded"}
	help := entry("help", 2, commands.FlagLoading|commands.FlagStale, "5.0.0", "O(1)", "", "List the subcommands")
	help.Read = commands.Help
	return handler{
		entry: commands.Command{Name: "config", Arity: -2, Since: "2.0.0", Group: "server", Complexity: "That of the subcommand", Summary: "Settings and statistics of the node"},
		run:   missingSubcommand,
		subs: []handler{
			{entry: entry("get", -3, flagsAdmin, "2.0.0", perParameter, "<parameter=parameter:string> ...", "Show settings"), run: configGet},
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
	var found []*config.Setting
	var names []string
	settings := config.Settings()
	for i := range settings {
		for _, pattern := range args[2:] {
			name := settings[i].Name
			switch {
			case strings.EqualFold(string(pattern), name):
				name = string(pattern)
			case !bytes.ContainsAny(pattern, "[*?") || !glob.Match(pattern, []byte(name), true):
				continue
			}
			found, names = append(found, &settings[i]), append(names, name)
			break
		}
	}
	w.Map(len(found))
	for i, f := range found {
		w.BulkString(names[i])
		w.BulkString(f.Get(cfg))
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
	rows, refusal := settingsToChange(args[2:])
	if refusal != "" {
		w.Error(refusal)
		return
	}
	changed := *srv.config()
	changed.NextSource()
	for i, row := range rows {
		if err := row.Set(&changed, string(args[3+2*i])); err != nil {
			reason := err.Error()
			if value := (*config.ValueError)(nil); errors.As(err, &value) {
				reason = value.Reason
			}
			w.Error(protocol.ErrConfigSet(row.Name, reason))
			return
		}
	}
	if changed.RequirePass != srv.config().RequirePass && !srv.inheritsPassword() {
		w.Error(protocol.ErrPassInACL)
		return
	}
	if refusal := srv.change(&changed, rows); refusal != "" {
		w.Error(refusal)
		return
	}
	w.OK()
}

// change has a configuration, in which the settings in rows have changed, take effect, or tells why it cannot. cfgMu is held.
func (srv *Server) change(to *config.Config, rows []*config.Setting) (refusal string) {
	certificates := slices.IndexFunc(rows, (*config.Setting).LoadsCertificates)
	refuse := func(err error) string {
		srv.log.Error("CONFIG SET: certificates for clients were not loaded, the old ones stay", "error", err)
		return protocol.ErrConfigSet(rows[certificates].Name, protocol.ConfigTLS)
	}
	if certificates >= 0 {
		if err := to.ValidateTLS(); err != nil {
			return refuse(err)
		}
	}
	if err := to.Validate(); err != nil {
		return "ERR CONFIG SET failed - " + err.Error()
	}
	if certificates >= 0 {
		if err := srv.useTLS(to); err != nil {
			return refuse(err)
		}
	}
	if to.UsesLocal() {
		srv.useAhead()
	}
	srv.cfg.Store(to)
	srv.publishUsers() // requirepass may have changed
	for _, r := range srv.replicas {
		r.LimitsChanged()
	}
	srv.setLogLevel(to.LogLevel)
	srv.setTiming(to)
	srv.notifier.use(to.Notify)
	return ""
}

// settingsToChange finds the settings that CONFIG SET names, or tells why one of them cannot be changed, whatever its value.
func settingsToChange(pairs [][]byte) (rows []*config.Setting, refusal string) {
	for i := 0; i < len(pairs); i += 2 {
		asked := string(pairs[i])
		row := config.Lookup(strings.ToLower(asked))
		switch {
		case row == nil:
			return nil, protocol.ErrConfigUnknown(pairs[i])
		case row.Name == "dir":
			return nil, protocol.ErrConfigSet(asked, protocol.ConfigProtected)
		case row.Fixed:
			return nil, protocol.ErrConfigSet(asked, protocol.ConfigImmutable)
		case slices.Contains(rows, row):
			return nil, protocol.ErrConfigSet(asked, protocol.ConfigDuplicate)
		}
		rows = append(rows, row)
	}
	return rows, ""
}

func configResetStat(s *Session, _ [][]byte, w *protocol.Writer) {
	s.srv.stats.reset()
	s.srv.limits.reset()
	for _, r := range s.srv.replicas {
		r.ResetStats()
	}
	s.srv.resetTimes()
	w.OK()
}

// configRewrite is refused: a file that an operator keeps under version control or generates is not ours to edit.
func configRewrite(_ *Session, _ [][]byte, w *protocol.Writer) { w.Error(protocol.ErrNoConfigFile) }
