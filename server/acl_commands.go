package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quipu/acl"
	"quipu/commands"
	"quipu/exec"
	"quipu/protocol"
	"quipu/replica"
)

// aclHandlers is ACL with its subcommands.
func aclHandlers() handler {
	entry := func(name string, arity int, flags commands.Flag, since, complexity, syntax, summary string) commands.Command {
		return commands.Command{Name: name, Arity: arity, Flags: flags, Since: since, Group: "server",
			Complexity: complexity, Syntax: syntax, Summary: summary}
	}
	change := func(write func(s *Session, args [][]byte, w *protocol.Writer) (*commands.Command, [][]byte), c commands.Command) handler {
		return handler{entry: c, write: write, flow: userWrite}
	}
	help := entry("help", 2, commands.FlagLoading|commands.FlagStale, "6.0.0", "O(1)", "", "List the subcommands")
	help.Read = commands.Help
	return handler{
		entry: commands.Command{Name: "acl", Arity: -2, Since: "6.0.0", Group: "server", Complexity: "That of the subcommand", Summary: "Users and what they may do"},
		run:   missingSubcommand,
		subs: []handler{
			{entry: entry("cat", -2, flagsControl, "6.0.0", "O(1)", "[categoryname:string]", "The categories, or the commands of one"), run: aclCat},
			change(aclDelUser, entry("deluser", -3, flagsAdmin, "6.0.0", "O(N) for N users", "username:string [username:string ...]", "Delete users and close their connections")),
			{entry: entry("dryrun", -4, flagsAdmin, "7.0.0", "O(1)", "username:string command:string [arg:string ...]", "Whether a user may run a command, without running it"), run: aclDryRun},
			{entry: entry("getuser", 3, flagsAdmin, "6.0.0", "O(N) for N rules of the user", "username:string", "The rules of a user"), run: aclGetUser},
			{entry: entry("genpass", -2, flagsControl, "6.0.0", "O(1)", "[bits:integer]", "A random password"), run: aclGenPass},
			{entry: entry("list", 2, flagsAdmin, "6.0.0", "O(N) for N users", "", "All users, as lines of a file"), run: aclList},
			change(aclLoad, entry("load", 2, flagsAdmin, "6.0.0", "O(N) for N users", "", "Replace all users by those of this node's file")),
			{entry: entry("log", -2, flagsAdmin, "6.0.0", "O(N) for N entries", "[operation=count:integer|RESET]", "What this node has denied lately"), run: aclLog},
			{entry: entry("save", 2, flagsAdmin, "6.0.0", "O(N) for N users", "", "Write all users into this node's file"), run: aclSaveInExec, flow: aclSave},
			change(aclSetUser, entry("setuser", -3, flagsAdmin, "6.0.0", "O(N) for N rules", "username:string [rule:string ...]", "Create a user, or change it by rules")),
			{entry: entry("users", 2, flagsAdmin, "6.0.0", "O(N) for N users", "", "The names of all users"), run: aclUsers},
			{entry: entry("whoami", 2, flagsControl, "6.0.0", "O(1)", "", "The user of this connection"), run: aclWhoAmI},
			{entry: help},
		},
	}
}

// userWrite runs a command that changes users: it goes into the log as another write. The client's earlier commands come first, and
// its later ones are judged by what has come of it.
func userWrite(s *Session, args [][]byte) bool {
	if s.awaitPending() || s.awaitLevel() {
		return false
	}
	s.barrierPassed = false
	write := s.srv.handlers[s.last.ID()].write
	w := s.beginReply()
	cmd, logged := write(s, args, w)
	if cmd == nil {
		s.endReply()
		return true
	}
	size := 0
	for _, arg := range logged {
		size += len(arg)
	}
	b := s.submission(size)
	b.Hold(cmd, logged)
	b.Write(cmd, logged, s.as())
	s.waiting, s.changesUsers = waitPending, true
	return true
}

// usersLimit is how long the reply to a change of users waits for this node to apply what the leader has.
const usersLimit = time.Second

// finishLater has a change of users answered when this node has applied it: who is told OK may go on to authenticate here. It reports
// false if it has.
func (s *Session) finishLater(b *replica.SubBatch, sub *exec.Submission) bool {
	s.changesUsers = false
	g := s.lane.replica.Group
	if s.lane.sole || b.Reads || g.AppliedIndex() >= b.Index {
		return false
	}
	done, replies, index, outcome := *sub, bytes.Clone(b.Replies(sub)), b.Index, b.Outcome
	s.srv.tasks.run(func() {
		ctx, cancel := context.WithTimeout(context.Background(), usersLimit)
		defer cancel()
		_ = awaitIndex(ctx, g.AppliedIndex, index) // it is applied on the leader, whatever this node does
		s.worker.loop.Post(func() {
			s.finishWith(&done, replies, index, false, outcome)
			s.link.Resume()
		})
	})
	return true
}

// levelLimit is how long a change of users waits for the semantics level that it needs: a new cluster is raised to it by itself, a
// moment after it is ready.
const levelLimit = time.Second

// awaitLevel makes the session wait for that level, once for a command.
func (s *Session) awaitLevel() bool {
	g := s.lane.replica.Group
	if s.barrierPassed || g.Level() >= commands.UserLevel || !s.srv.isReady() {
		return false
	}
	s.barrierPassed = true
	s.waiting = waitTask
	s.srv.tasks.run(func() {
		for until := time.Now().Add(levelLimit); g.Level() < commands.UserLevel && time.Now().Before(until) && !s.srv.draining.Load(); {
			time.Sleep(5 * time.Millisecond)
		}
		s.worker.loop.Post(func() {
			if s.waiting == waitTask {
				s.waiting = waitNothing
			}
			s.link.Resume()
		})
	})
	return true
}

// refuseUsers is the error text if users cannot be changed now.
func (s *Session) refuseUsers(cmd *commands.Command, name string) string {
	g := s.lane.replica.Group
	switch {
	case s.lane != &s.worker.lanes[0]:
		return protocol.ErrCrossSlot // a transaction with keys of another group
	case !s.srv.isReady():
		return protocol.ErrLoading
	case cmd.Level > g.Level():
		return protocol.ErrLevel(name, cmd.Level, g.Level())
	}
	return refuseWrites(s.lane.replica)
}

// toLog is what a write says goes into the log, or nothing and a reply.
func (s *Session) toLog(name string, w *protocol.Writer, cmd *commands.Command, logged [][]byte) (*commands.Command, [][]byte) {
	text := s.refuseUsers(cmd, name)
	size := 0
	for _, arg := range logged {
		size += len(arg) + argumentOverhead
	}
	if text == "" && size > 2*acl.MaxAll {
		text = protocol.ErrCommandTooBig
	}
	if text != "" {
		w.Error(text)
		return nil, nil
	}
	return cmd, logged
}

// aclSetUser checks the rules, which does not depend on the user, and then what they do to the user as this node knows it: an
// error is told with the rule as it was written, which the log does not have where it is a password. What another node may have
// changed meanwhile is judged where the log is applied.
func aclSetUser(s *Session, args [][]byte, w *protocol.Writer) (*commands.Command, [][]byte) {
	name := string(args[2])
	if text := acl.ValidName(name); text != "" {
		w.Error(text)
		return nil, nil
	}
	words := make([]string, 0, len(args)-3)
	for _, arg := range args[3:] {
		words = append(words, string(arg))
	}
	rules, open := acl.JoinSelectors(words)
	if open != "" {
		w.Error(protocol.ErrOpenSelector(open))
		return nil, nil
	}
	u := acl.NewUser(name)
	if have := s.srv.users.Load().Find(name); have != nil {
		u = have.Clone()
	}
	logged := make([]string, 0, len(rules)+1)
	knows := s.lane.sole || s.lane.replica.Group.Term() != 0
	for _, rule := range rules {
		normal, err := s.srv.catalog.Try(u, rule)
		if normal != "" && !knows {
			err = nil // the user may be another one by now, but a later rule may be wrong whatever the user is
		}
		if err != nil {
			w.Error(protocol.ErrACLRule(rule, err.Error()))
			return nil, nil
		}
		if name == acl.DefaultName && acl.ChangesPasswords(normal) && len(logged) == 0 {
			logged = append(logged, s.srv.ownPassword())
		}
		logged = append(logged, normal)
	}
	cmd, loggedArgs := s.srv.table.UserSet(s.srv.settingUsers(), name, logged)
	return s.toLog("acl|setuser", w, cmd, loggedArgs)
}

// ownPassword is the rule that gives the default user what requirepass says, if the rules say nothing.
func (srv *Server) ownPassword() string {
	if pass := srv.config().RequirePass; pass != "" {
		return acl.IfInherits + acl.Hash(pass)
	}
	return acl.IfInherits
}

func aclDelUser(s *Session, args [][]byte, w *protocol.Writer) (*commands.Command, [][]byte) {
	var names []string
	for _, arg := range args[2:] {
		if string(arg) == acl.DefaultName {
			w.Error(protocol.ErrDefaultUser)
			return nil, nil
		}
		names = append(names, string(arg))
	}
	cmd, logged := s.srv.table.UserDelete(s.srv.settingUsers(), names)
	return s.toLog("acl|deluser", w, cmd, logged)
}

func aclLoad(s *Session, _ [][]byte, w *protocol.Writer) (*commands.Command, [][]byte) {
	path := s.srv.config().ACLFile
	if path == "" {
		w.Error(protocol.ErrNoACLFile)
		return nil, nil
	}
	list, text := s.srv.readACLFile(path)
	if text != "" {
		w.Error(text)
		return nil, nil
	}
	cmd, logged := s.srv.table.UserReplace(list)
	return s.toLog("acl|load", w, cmd, logged)
}

// aclSave writes the file on another goroutine, because it syncs.
func aclSave(s *Session, _ [][]byte) bool {
	path := s.srv.config().ACLFile
	if path == "" {
		s.replyError(protocol.ErrNoACLFile)
		return true
	}
	if s.awaitPending() {
		return false
	}
	reply := s.replyLater(waitTask)
	s.srv.tasks.run(func() {
		result := s.saveUsers(path)
		s.worker.loop.Post(func() { reply(result) })
	})
	return true
}

// aclSaveInExec is ACL SAVE in a transaction, whose replies do not wait for another goroutine.
func aclSaveInExec(s *Session, _ [][]byte, w *protocol.Writer) {
	path := s.srv.config().ACLFile
	if path == "" {
		w.Error(protocol.ErrNoACLFile)
		return
	}
	s.saveUsers(path)(w)
}

// saveUsers writes all users into a file, and returns what replies.
func (s *Session) saveUsers(path string) func(w *protocol.Writer) {
	err := replaceFile(path, strings.Join(s.srv.users.Load().Lines(), "\n")+"\n")
	if err != nil {
		s.srv.log.Error("ACL SAVE failed", "file", path, "error", err)
		return func(w *protocol.Writer) { w.Error(protocol.ErrACLSave) }
	}
	return (*protocol.Writer).OK
}

// replaceFile writes a file so that it is there whole or as it was, whatever happens.
func replaceFile(path, text string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func aclCat(s *Session, args [][]byte, w *protocol.Writer) {
	switch len(args) {
	case 2:
		bulkStrings(w, s.srv.catalog.Categories())
	case 3:
		names, ok := s.srv.catalog.In(string(args[2]))
		if !ok {
			w.Error(protocol.ErrUnknownCategory(args[2]))
			return
		}
		bulkStrings(w, names)
	default:
		w.Error(protocol.ErrSubcommandSyntax(args[1], "acl"))
	}
}

func bulkStrings(w *protocol.Writer, list []string) {
	w.Array(len(list))
	for _, text := range list {
		w.BulkString(text)
	}
}

func aclDryRun(s *Session, args [][]byte, w *protocol.Writer) {
	u := s.srv.users.Load().Find(string(args[2]))
	if u == nil {
		w.Error(protocol.ErrUserNotFound(args[2]))
		return
	}
	call := args[3:]
	cmd := s.srv.table.Find(call)
	switch {
	case cmd == nil:
		w.Error(protocol.ErrCommandNotFound(call[0]))
		return
	case !cmd.ArityOK(len(call)):
		w.Error(protocol.ErrArity(cmd.FullName()))
		return
	}
	switch reason, object := s.judge(u, cmd, call); reason {
	case acl.Allowed:
		w.OK()
	case acl.DeniedKey:
		w.BulkString(protocol.DryRunKey(object))
	case acl.DeniedChannel:
		w.BulkString(protocol.DryRunChannel(object))
	default:
		w.BulkString(protocol.DryRunCommand(object))
	}
}

func aclGenPass(_ *Session, args [][]byte, w *protocol.Writer) {
	bits := int64(256)
	switch {
	case len(args) == 3:
		n, ok := protocol.ParseInt(args[2])
		if !ok {
			w.Error(protocol.ErrNotInteger)
			return
		}
		if bits = n; bits <= 0 || bits > 4096 {
			w.Error(protocol.ErrGenPass)
			return
		}
	case len(args) > 3:
		w.Error(protocol.ErrSubcommandSyntax(args[1], "acl"))
		return
	}
	digits := int(bits+3) / 4
	random := make([]byte, (digits+1)/2)
	_, _ = rand.Read(random) // which never fails
	w.BulkString(hex.EncodeToString(random)[:digits])
}

func aclGetUser(s *Session, args [][]byte, w *protocol.Writer) {
	u := s.srv.users.Load().Find(string(args[2]))
	if u == nil {
		w.Null()
		return
	}
	w.Map(6)
	w.BulkString("flags")
	flags := u.Flags()
	w.Set(len(flags))
	for _, f := range flags {
		w.BulkString(f)
	}
	w.BulkString("passwords")
	bulkStrings(w, u.Passwords)
	describeSelector(w, &u.Root)
	w.BulkString("selectors")
	w.Array(len(u.Selectors))
	for i := range u.Selectors {
		w.Map(3)
		describeSelector(w, &u.Selectors[i])
	}
}

// describeSelector writes three fields of a map.
func describeSelector(w *protocol.Writer, sel *acl.Selector) {
	w.BulkString("commands")
	w.BulkString(sel.CommandText())
	w.BulkString("keys")
	w.BulkString(sel.KeyText())
	w.BulkString("channels")
	w.BulkString(sel.ChannelText())
}

func aclList(s *Session, _ [][]byte, w *protocol.Writer) { bulkStrings(w, s.srv.users.Load().Lines()) }

func aclUsers(s *Session, _ [][]byte, w *protocol.Writer) { bulkStrings(w, s.srv.users.Load().Names()) }

func aclWhoAmI(s *Session, _ [][]byte, w *protocol.Writer) { w.BulkString(s.subject.Name) }

func aclLog(s *Session, args [][]byte, w *protocol.Writer) {
	count := int64(10)
	switch {
	case len(args) == 3 && commands.LowerWord(args[2]) == "reset":
		s.srv.denials.Reset()
		w.OK()
		return
	case len(args) == 3:
		n, ok := protocol.ParseInt(args[2])
		if !ok {
			w.Error(protocol.ErrNotInteger)
			return
		}
		count = n
	case len(args) > 3:
		w.Error(protocol.ErrSubcommandSyntax(args[1], "acl"))
		return
	}
	list := s.srv.denials.Newest(int(min(max(count, 0), 1<<16)))
	now := time.Now()
	w.Array(len(list))
	for i := range list {
		e := &list[i]
		context := "toplevel"
		if e.InMulti {
			context = "multi"
		}
		w.Map(7)
		w.BulkString("count")
		w.Int(e.Count)
		for _, field := range [][2]string{{"reason", e.Reason.Word()}, {"context", context}, {"object", e.Object}, {"username", e.Username}} {
			w.BulkString(field[0])
			w.BulkString(field[1])
		}
		w.BulkString("age-seconds")
		w.Double(max(0, float64(now.Sub(e.At).Milliseconds())/1000))
		w.BulkString("client-info")
		w.BulkString(e.Client)
	}
}
