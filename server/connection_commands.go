package server

import (
	"math"
	"net"
	"strconv"
	"time"

	"quipu/acl"
	"quipu/commands"
	"quipu/protocol"
)

func connectionHandlers() []handler {
	const cat, group = commands.CatConnection, "connection"
	quick := commands.FlagLoading | commands.FlagStale | commands.FlagFast
	return []handler{
		{entry: commands.Command{Name: "hello", Arity: -1, Flags: flagsAnytime, Categories: cat, Summary: "Choose the protocol version, authenticate and name the connection",
			Since: "6.0.0", Group: group, Complexity: "O(1)", Syntax: "[arguments=protover:integer [AUTH <username:string password:string>] [SETNAME clientname:string]]"},
			run: helloCommand},
		{entry: commands.Command{Name: "auth", Arity: -2, Flags: flagsAnytime, Categories: cat, Summary: "Authenticate",
			Since: "1.0.0", Group: group, Complexity: "O(N) for N passwords defined for the user", Syntax: "[username:string@6.0.0] password:string"},
			run: authCommand},
		{entry: commands.Command{Name: "ping", Arity: -1, Flags: commands.FlagFast, Categories: cat, Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"},
			Summary: "See whether the server answers", Since: "1.0.0", Group: group, Complexity: "O(1)", Syntax: "[message:string]"}, run: pingCommand},
		{entry: commands.Command{Name: "echo", Arity: 2, Flags: quick, Categories: cat, Summary: "Reply with the same bytes",
			Since: "1.0.0", Group: group, Complexity: "O(1)", Syntax: "message:string"}, run: echoCommand},
		{entry: commands.Command{Name: "select", Arity: 2, Flags: quick, Categories: cat, Summary: "Choose the database of the connection",
			Since: "1.0.0", Group: group, Complexity: "O(1)", Syntax: "index:integer"}, run: selectCommand},
		{entry: commands.Command{Name: "quit", Arity: -1, Flags: flagsAnytime, Categories: cat, Summary: "End the connection",
			Since: "1.0.0", Group: group, Complexity: "O(1)"}, run: quitCommand, control: true},
		{entry: commands.Command{Name: "reset", Arity: 1, Flags: flagsAnytime, Categories: cat, Summary: "Bring the connection into the state of a new one",
			Since: "6.2.0", Group: group, Complexity: "O(1)"}, run: resetCommand, control: true, ownWritesFirst: true},
	}
}

func pingCommand(s *Session, args [][]byte, w *protocol.Writer) {
	switch {
	case len(args) > 2:
		w.Error(protocol.ErrArity("ping"))
	case s.onlyListens(): // a client that waits for messages finds this among them
		w.Array(2)
		w.BulkString("pong")
		if len(args) == 2 {
			w.Bulk(args[1])
		} else {
			w.BulkString("")
		}
	case len(args) == 2:
		w.Bulk(args[1])
	default:
		w.Pong()
	}
}

func echoCommand(_ *Session, args [][]byte, w *protocol.Writer) { w.Bulk(args[1]) }

func selectCommand(s *Session, args [][]byte, w *protocol.Writer) {
	db, ok := protocol.ParseInt(args[1])
	switch {
	case !ok:
		w.Error(protocol.ErrNotInteger)
	case db != int64(int32(db)):
		w.Error(protocol.ErrOutOfRangeBetween(math.MinInt32, math.MaxInt32))
	case db < 0 || db >= int64(s.srv.config().Databases):
		w.Error(protocol.ErrDBIndex)
	default:
		s.db = int(db)
		w.OK()
	}
}

func quitCommand(s *Session, _ [][]byte, w *protocol.Writer) {
	w.OK()
	s.Close("quit")
}

func resetCommand(s *Session, _ [][]byte, w *protocol.Writer) {
	s.discard()
	s.unsubscribeAll()
	s.endMonitor()
	s.useTracking(nil)
	s.caching = false
	s.db, s.ack, s.reads, s.readonly = 0, ackDefault, consistencyDefault, false
	if s.silent != replySkip { // which also takes the reply of RESET away
		s.silent = replyOn
	}
	s.unauthenticatedSince = time.Now()
	s.beginUser()
	s.useLimits(s.srv.config())
	s.setName("")
	w.Simple("RESET")
	s.out.V = 2
}

func authCommand(s *Session, args [][]byte, w *protocol.Writer) {
	switch len(args) {
	case 2:
		if s.srv.users.Load().Default.NoPass {
			w.Error(protocol.ErrNoPasswordSet)
			return
		}
		if text := s.authenticate(args[0], []byte(acl.DefaultName), args[1]); text != "" {
			w.Error(text)
			return
		}
	case 3:
		if text := s.authenticate(args[0], args[1], args[2]); text != "" {
			w.Error(text)
			return
		}
	default:
		w.Error(protocol.ErrSyntax)
		return
	}
	w.OK()
}

// authenticate returns an error text, or "" when the session is now one of the user. command is what asks for it.
func (s *Session) authenticate(command, user, password []byte) string {
	now := time.Now().Unix()
	address, _, err := net.SplitHostPort(s.remote)
	if err != nil {
		address = s.remote
	}
	cfg := s.srv.config()
	if !s.srv.failures.allow(address, now, cfg.AuthFailures) {
		s.Close("too many failed authentications")
		return protocol.ErrAuthRate
	}
	users := s.srv.users.Load()
	subject := users.Authenticate(string(user), password)
	if subject == nil && !users.Known {
		if users.Find(string(user)) != nil { // else there is nothing to be guessed yet
			s.srv.failures.failed(address, now)
		}
		return protocol.ErrLoading // the log, which is being read, may have this user with this password
	}
	if subject == nil {
		s.srv.failures.failed(address, now)
		s.srv.limits.met(limitAuth, s.remote, "user", logged(user))
		s.noteDenial(acl.DeniedAuth, string(command), string(user), s.multi != nil)
		return protocol.ErrWrongPass
	}
	s.users, s.authenticated = users, true
	s.become(subject)
	s.useLimits(cfg)
	return ""
}

// helloCommand carries out its options one by one, as Redis does: those before a wrong one stay in effect.
func helloCommand(s *Session, args [][]byte, w *protocol.Writer) {
	version := int64(0)
	next := 1
	if len(args) >= 2 {
		v, ok := protocol.ParseInt(args[1])
		if !ok {
			w.Error(protocol.ErrProtoNotNumber)
			return
		}
		if v < 2 || v > 3 {
			w.Error(protocol.ErrNoProto)
			return
		}
		version, next = v, 2
	}
	for next < len(args) {
		left := len(args) - next - 1
		switch {
		case commands.LowerWord(args[next]) == "auth" && left >= 2:
			if text := s.authenticate(args[0], args[next+1], args[next+2]); text != "" {
				w.Error(text)
				return
			}
			next += 3
		case commands.LowerWord(args[next]) == "setname" && left >= 1:
			if text := refuseName(args[next+1], protocol.ErrClientName); text != "" {
				w.Error(text)
				return
			}
			s.setName(string(args[next+1]))
			next += 2
		default:
			w.Error(protocol.ErrHelloOption(args[next]))
			return
		}
	}
	if !s.authed {
		w.Error(protocol.ErrNoAuthHello)
		return
	}
	if version != 0 {
		s.out.V = int(version)
	}
	w.V = s.out.V
	helloReply(s, w)
}

func helloReply(s *Session, w *protocol.Writer) {
	w.Map(7)
	w.BulkString("server")
	w.BulkString("redis")
	w.BulkString("version")
	w.BulkString(redisVersion)
	w.BulkString("proto")
	w.Int(int64(s.out.V))
	w.BulkString("id")
	w.Int(s.id)
	w.BulkString("mode")
	w.BulkString(s.srv.mode())
	w.BulkString("role")
	if s.lane.sole || s.lane.replica.Group.Term() != 0 {
		w.BulkString("master")
	} else {
		w.BulkString("replica")
	}
	w.BulkString("modules")
	w.Array(0)
}

// nameLimit is how many bytes a name may have that a client gives itself: CLIENT LIST shows those of all clients.
const nameLimit = 256

// refuseName returns an error text if a name may not be given, or "". Every byte must be visible ASCII, so that a name cannot
// break the lines of CLIENT LIST; illegal is the text where one is not.
func refuseName(name []byte, illegal string) string {
	for _, b := range name {
		if b < '!' || b > '~' {
			return illegal
		}
	}
	if len(name) > nameLimit {
		return protocol.ErrClientNameLong
	}
	return ""
}

func (s *Session) setName(name string) {
	id := *s.identity.Load()
	id.name = name
	s.identity.Store(&id)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
