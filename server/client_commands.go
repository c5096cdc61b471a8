package server

import (
	"strings"
	"time"

	"quipu/commands"
	"quipu/protocol"
)

// clientHandlers is CLIENT with its subcommands.
func clientHandlers() handler {
	const cat, group = commands.CatConnection, "connection"
	entry := func(name string, arity int, flags commands.Flag, since, complexity, syntax, summary string) commands.Command {
		return commands.Command{Name: name, Arity: arity, Flags: flags, Categories: cat, Since: since, Group: group,
			Complexity: complexity, Syntax: syntax, Summary: summary}
	}
	own := func(c commands.Command) commands.Command {
		c.Own = true
		return c
	}
	unstable := func(c commands.Command) commands.Command {
		c.Tips = []string{"nondeterministic_output"}
		return c
	}
	subs := []handler{
		{entry: entry("id", 2, flagsControl, "5.0.0", "O(1)", "", "Number of this connection"), run: clientID},
		{entry: unstable(entry("info", 2, flagsControl, "6.2.0", "O(1)", "", "Facts about this connection")), run: clientInfo, ownWritesFirst: true},
		{entry: unstable(entry("list", -2, flagsAdmin, "2.4.0", "O(N) for N client connections",
			"[TYPE <normal_master_replica_pubsub@5.0.0=NORMAL|MASTER|REPLICA|PUBSUB>] [ID <id@6.2.0=client-id:integer ...>]", "Facts about all connections")), run: clientList, slow: true, ownWritesFirst: true},
		{entry: entry("kill", -3, flagsAdmin, "2.4.0", "O(N) for N client connections",
			"<filter=ip:port:string@-2.8.12|<new-format=[ID client-id:integer@2.8.12]|"+
				"[TYPE <normal_master_slave_pubsub@2.8.12=NORMAL|MASTER@3.2.0|SLAVE|REPLICA@5.0.0|PUBSUB>]|"+
				"[USER username]|[ADDR ip:port:string]|[LADDR ip:port:string@6.2.0]|[SKIPME yes/no]> ...>",
			"Close connections"), run: clientKill},
		{entry: entry("getname", 2, flagsControl, "2.6.9", "O(1)", "", "Name of this connection"), run: clientGetName},
		{entry: entry("setname", 3, flagsControl, "2.6.9", "O(1)", "connection-name:string", "Name this connection"), run: clientSetName},
		{entry: own(entry("setinfo", 4, flagsControl, "7.2.0", "O(1)", "<LIB-NAME libname:string | LIB-VER libver:string>", "Tell the client library's name and version")), run: clientSetInfo},
		{entry: entry("reply", 3, flagsControl, "3.2.0", "O(1)", "<on_off_skip=ON|OFF|SKIP>", "Turn replies on or off"), run: clientReplyQueued, flow: clientReply},
		{entry: entry("no-evict", 3, flagsAdmin, "7.0.0", "O(1)", "<enabled=ON|OFF>", "Never close this connection for maxmemory-clients"), run: clientSwitch("no-evict")},
		{entry: own(entry("no-touch", 3, flagsControl, "7.2.0", "O(1)", "<ON | OFF>", "Do not count this connection's commands as use of their keys")), run: clientSwitch("no-touch")},
		{entry: entry("pause", -3, flagsAdmin, "2.9.50", "O(1)", "timeout:integer [mode@6.2.0=WRITE|ALL]", "Hold back commands for some time"), run: clientPause},
		{entry: entry("unpause", 2, flagsAdmin, "6.2.0", "O(N) for N paused clients", "", "End CLIENT PAUSE"), run: clientUnpause},
		{entry: entry("unblock", -3, flagsAdmin, "5.0.0", "O(N) for N client connections",
			"client-id:integer [timeout_error=TIMEOUT|ERROR]", "End another client's wait for replicas"), run: clientUnblock},
		{entry: own(entry("ack", 3, flagsControl, "7.4.0", "O(N) for N keys with pending increments", "<QUORUM|LOCAL|DEFAULT>",
			"Choose when this connection's increments are answered")), flow: clientAck},
		{entry: own(entry("read", 3, flagsControl, "7.4.0", "O(1)", "<LINEARIZABLE|LEADER|LOCAL|DEFAULT>",
			"Choose how much this connection's reads see, where there are several nodes")), run: clientRead},
		{entry: entry("help", 2, commands.FlagLoading|commands.FlagStale, "5.0.0", "O(1)", "", "List the subcommands")},
	}
	subs[len(subs)-1].entry.Read = commands.Help
	subs = append(subs, trackingHandlers(entry)...)
	return handler{
		entry: commands.Command{Name: "client", Arity: -2, Since: "2.4.0", Group: group, Complexity: "That of the subcommand", Summary: "Connections of clients"},
		run:   missingSubcommand, subs: subs,
	}
}

// missingSubcommand is reached only when a container is called without a subcommand and its arity allows that.
func missingSubcommand(_ *Session, args [][]byte, w *protocol.Writer) {
	w.Error(protocol.ErrArity(strings.ToLower(string(args[0]))))
}

func clientID(s *Session, _ [][]byte, w *protocol.Writer) { w.Int(s.id) }

func clientInfo(s *Session, _ [][]byte, w *protocol.Writer) {
	s.seen.lastActive.Store(time.Now().UnixNano())
	s.publishState()
	w.Verbatim("txt", s.describe(time.Now())+"\n")
}

func clientList(s *Session, args [][]byte, w *protocol.Writer) {
	var list []*Session
	all := s.srv.clients.all()
	switch {
	case len(args) == 2:
		list = all
	case len(args) == 4 && commands.LowerWord(args[2]) == "type":
		kind, ok := clientType(args[3])
		if !ok {
			w.Error(protocol.ErrClientType(args[3]))
			return
		}
		for _, other := range all {
			if other.kind() == kind {
				list = append(list, other)
			}
		}
	case len(args) > 3 && commands.LowerWord(args[2]) == "id":
		for _, arg := range args[3:] {
			id, ok := protocol.ParseInt(arg)
			if !ok {
				w.Error(protocol.ErrClientID)
				return
			}
			if other := s.srv.clients.find(id); other != nil {
				list = append(list, other) // as often, and where, it is named
			}
		}
	default:
		w.Error(protocol.ErrSyntax)
		return
	}
	var b strings.Builder
	now := time.Now()
	for _, other := range list {
		if !other.kill.Load() {
			b.WriteString(other.describe(now))
			b.WriteByte('\n')
		}
	}
	w.Verbatim("txt", b.String())
}

// clientType reads a TYPE argument. No client of this server is a master or a replica.
func clientType(arg []byte) (string, bool) {
	kind := commands.LowerWord(arg)
	switch kind {
	case "normal", "master", "replica", "pubsub":
		return kind, true
	case "slave":
		return "replica", true
	}
	return "", false
}

// killFilter is what CLIENT KILL was asked to close.
type killFilter struct {
	id          int64   // 0: any
	user        *string // nil: any
	addr, laddr *string // nil: any
	kind        string  // empty: any
	skipSelf    bool
}

func (f *killFilter) matches(s, self *Session) bool {
	return (f.id == 0 || s.id == f.id) && (f.addr == nil || s.remote == *f.addr) && (f.laddr == nil || s.local == *f.laddr) &&
		(f.user == nil || s.seen.user.Load().Name == *f.user) && (f.kind == "" || f.kind == s.kind()) && (!f.skipSelf || s != self)
}

func clientKill(s *Session, args [][]byte, w *protocol.Writer) {
	if len(args) == 3 {
		addr := string(args[2])
		filter := killFilter{addr: &addr}
		if s.killMatching(&filter) == 0 {
			w.Error(protocol.ErrNoSuchClient)
			return
		}
		w.OK()
		return
	}
	filter, text := s.parseKillFilter(args[2:])
	if text != "" {
		w.Error(text)
		return
	}
	w.Int(int64(s.killMatching(&filter)))
}

func (s *Session) parseKillFilter(args [][]byte) (f killFilter, text string) {
	f.skipSelf = true
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			return f, protocol.ErrSyntax
		}
		value := args[i+1]
		switch commands.LowerWord(args[i]) {
		case "id":
			id, ok := protocol.ParseInt(value)
			if !ok || id < 1 {
				return f, protocol.ErrClientIDZero
			}
			f.id = id
		case "type":
			kind, ok := clientType(value)
			if !ok {
				return f, protocol.ErrClientType(value)
			}
			f.kind = kind
		case "addr":
			addr := string(value)
			f.addr = &addr
		case "laddr":
			addr := string(value)
			f.laddr = &addr
		case "user":
			user := string(value)
			if f.user = &user; s.srv.users.Load().Find(user) == nil {
				return f, protocol.ErrNoSuchUser(value)
			}
		case "skipme":
			switch commands.LowerWord(value) {
			case "yes":
				f.skipSelf = true
			case "no":
				f.skipSelf = false
			default:
				return f, protocol.ErrSyntax
			}
		default:
			return f, protocol.ErrSyntax
		}
	}
	return f, ""
}

func (s *Session) killMatching(f *killFilter) (killed int) {
	for _, other := range s.srv.clients.all() {
		switch {
		case !f.matches(other, s):
			continue
		case other == s:
			killed++
			s.Close("killed")
			continue
		case other.end("killed"):
			killed++
		}
	}
	return killed
}

// end has the session closed at once, from any goroutine. false: it is on its way out already.
func (s *Session) end(reason string) bool {
	if !s.kill.CompareAndSwap(false, true) {
		return false
	}
	s.link.Interrupt()
	s.worker.loop.Post(func() {
		s.Close(reason)
		s.waiting = waitNothing
		s.link.Resume()
	})
	return true
}

func clientGetName(s *Session, _ [][]byte, w *protocol.Writer) {
	if name := s.identity.Load().name; name != "" {
		w.BulkString(name)
		return
	}
	w.Null()
}

func clientSetName(s *Session, args [][]byte, w *protocol.Writer) {
	if text := refuseName(args[2], protocol.ErrClientName); text != "" {
		w.Error(text)
		return
	}
	s.setName(string(args[2]))
	w.OK()
}

func clientSetInfo(s *Session, args [][]byte, w *protocol.Writer) {
	id := *s.identity.Load()
	var field *string
	switch commands.LowerWord(args[2]) {
	case "lib-name":
		field = &id.libName
	case "lib-ver":
		field = &id.libVersion
	default:
		w.Error(protocol.ErrClientInfoOption(args[2]))
		return
	}
	if text := refuseName(args[3], protocol.ErrClientInfoValue(args[2])); text != "" {
		w.Error(text)
		return
	}
	*field = string(args[3])
	s.identity.Store(&id)
	w.OK()
}

// clientReplyQueued is CLIENT REPLY within a transaction. In Redis OFF and SKIP take effect in the middle of EXEC's reply,
// of which the client then gets the length and not all elements; here they are refused.
func clientReplyQueued(s *Session, args [][]byte, w *protocol.Writer) {
	switch commands.LowerWord(args[2]) {
	case "on":
		s.silent = replyOn
		w.OK()
	case "off", "skip":
		w.Error(protocol.ErrNotInMulti)
	default:
		w.Error(protocol.ErrSyntax)
	}
}

// clientReply answers only CLIENT REPLY ON; the other two take effect in silence.
func clientReply(s *Session, args [][]byte) bool {
	switch commands.LowerWord(args[2]) {
	case "on":
		s.silent = replyOn
		s.beginReply().OK()
		s.endReply()
	case "off":
		s.silent = replyOff
	case "skip":
		if s.silent != replyOff {
			s.silent = replySkipNext
		}
	default:
		s.replyError(protocol.ErrSyntax)
	}
	return true
}

// clientSwitch is CLIENT NO-EVICT, which keeps maxmemory-clients from closing the connection, and CLIENT NO-TOUCH, which keeps the
// connection's commands from being counted for hot keys.
func clientSwitch(name string) func(s *Session, args [][]byte, w *protocol.Writer) {
	return func(s *Session, args [][]byte, w *protocol.Writer) {
		flag := &s.seen.noEvict
		if name == "no-touch" {
			flag = &s.seen.noTouch
		}
		switch commands.LowerWord(args[2]) {
		case "on":
			flag.Store(true)
		case "off":
			flag.Store(false)
		default:
			w.Error(protocol.ErrSyntax)
			return
		}
		w.OK()
	}
}

func clientPause(s *Session, args [][]byte, w *protocol.Writer) {
	all := true
	if len(args) > 4 {
		w.Error(protocol.ErrSubcommandSyntax(args[1], "client"))
		return
	}
	if len(args) == 4 {
		switch commands.LowerWord(args[3]) {
		case "write":
			all = false
		case "all":
		default:
			w.Error(protocol.ErrPauseMode)
			return
		}
	}
	ms, ok := protocol.ParseInt(args[2])
	switch {
	case !ok:
		w.Error(protocol.ErrTimeoutNumber)
	case ms < 0:
		w.Error(protocol.ErrTimeoutNegative)
	default:
		s.srv.setPause(min(time.Duration(min(ms, int64(pauseMax/time.Millisecond)))*time.Millisecond, pauseMax), all)
		w.OK()
	}
}

func clientUnpause(s *Session, _ [][]byte, w *protocol.Writer) {
	s.srv.endPause()
	w.OK()
}

// clientUnblock replies 1 if it has ended a wait, else 0.
func clientUnblock(s *Session, args [][]byte, w *protocol.Writer) {
	failed := false
	switch {
	case len(args) > 4:
		w.Error(protocol.ErrSubcommandSyntax(args[1], "client"))
		return
	case len(args) == 4 && commands.LowerWord(args[3]) == "error":
		failed = true
	case len(args) == 4 && commands.LowerWord(args[3]) != "timeout":
		w.Error(protocol.ErrUnblockReason)
		return
	}
	id, ok := protocol.ParseInt(args[2])
	if !ok {
		w.Error(protocol.ErrNotInteger)
		return
	}
	ended := false
	if other := s.srv.clients.find(id); other != nil {
		if b := other.blocked.Load(); b != nil && failed {
			ended = other.unblock(b, func(w *protocol.Writer) { w.Error(protocol.ErrUnblocked) })
		} else if b != nil {
			ended = other.unblock(b, b.timeout)
		}
	}
	w.Int(int64(boolInt(ended)))
}
