package server

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"quipu/acl"
	"quipu/commands"
	"quipu/config"
	"quipu/engine"
	"quipu/protocol"
)

// Users are kept in the log (commands/acl.go), so they are the same on all nodes. Before the first change of all, each node has
// those of its settings: of aclfile, or the lines user; without either, the default user alone, who may do everything. That first
// change, on whichever node, takes the users of that node's settings over; from then on the settings are not looked at any more,
// but for requirepass (see acl.User.Inherits) and by ACL LOAD.
//
// Server.users is all users, compiled; nobody changes it in place. It is replaced by the goroutine that applies the log, before
// anybody gets a reply from the entry, and when requirepass changes. Sessions look at the pointer once a burst of input
// (Session.useUsers).
//
// While the log is being read at a start, what it has is not known: those who connect are not taken for authenticated, and may run
// no command of category admin, unless they know requirepass (Session.mayWhileLoading). AUTH of a user that is not known yet is
// answered with -LOADING: with -WRONGPASS clients would give up. When the log has been read (usersAreKnown), everybody is judged anew.

// userState is what Server.users is made of.
type userState struct {
	mu       sync.Mutex  // guards all of these; part locks may be taken under it
	settings []*acl.User // of aclfile or the lines user
	kept     []*acl.User // in the log; nil: none yet
	known    bool        // the log has been read
}

// catalogOf is the commands of a table as rules name them.
func catalogOf(table *commands.Table) *acl.Catalog {
	var entries []acl.Entry
	for _, cmd := range table.All() {
		entries = append(entries, acl.Entry{
			Name: cmd.FullName(), Categories: cmd.ACLCategories(), Free: cmd.Flags&commands.FlagNoAuth != 0,
		})
	}
	return acl.NewCatalog(entries, commands.CategoryNames())
}

// loadSettingUsers reads the users of the settings.
func (srv *Server) loadSettingUsers(cfg *config.Config) (err error) {
	st := &srv.userState
	if cfg.ACLFile != "" {
		var problems string
		if st.settings, problems = srv.readACLFile(cfg.ACLFile); problems != "" {
			return fmt.Errorf("users: %s", strings.TrimPrefix(problems, "ERR "))
		}
	}
	for _, line := range cfg.Users {
		words := strings.Fields(line)
		if len(words) == 0 || acl.ValidName(words[0]) != "" {
			return fmt.Errorf("setting user: %q has no valid name", line)
		}
		u := srv.catalog.ParseLine(words, func(rule string, bad error) bool {
			err = fmt.Errorf("setting user: %s: rule %q: %w", words[0], rule, bad)
			return false
		})
		if err != nil {
			return err
		}
		st.settings = append(st.settings, u)
	}
	if err := checkUsers(st.settings); err != nil {
		return fmt.Errorf("setting user: %w", err)
	}
	srv.publishUsers()
	return nil
}

// checkUsers returns an error for users that could not be kept: too many, too long, or two of a name.
func checkUsers(list []*acl.User) error {
	names := map[string]bool{}
	for _, u := range list {
		if names[u.Name] {
			return fmt.Errorf("%s is there twice", u.Name)
		}
		names[u.Name] = true
		if _, ok := u.Encode(); !ok {
			return fmt.Errorf("%s has rules of more than %d bytes", u.Name, acl.MaxRecord)
		}
	}
	if names[acl.DefaultName] = true; len(names) > acl.MaxUsers {
		return fmt.Errorf("there are more than %d", acl.MaxUsers)
	}
	return nil
}

// readACLFile reads a file of users; text is an error text, or "".
func (srv *Server) readACLFile(path string) (users []*acl.User, text string) {
	info, err := os.Stat(path)
	var content []byte
	if err == nil && info.Size() > 2*acl.MaxAll {
		err = errors.New("the file is too large")
	}
	if err == nil {
		content, err = os.ReadFile(path)
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, protocol.ErrACLRead(path, "No such file or directory")
	case err != nil:
		return nil, protocol.ErrACLRead(path, err.Error())
	}
	users, problems := srv.catalog.ParseFile(path, content)
	if problems != "" {
		return nil, protocol.ErrACLFile(problems)
	}
	return users, ""
}

// readUsers is called when the users in the log may have changed.
func (srv *Server) readUsers(ks *engine.Keyspace) {
	var list []*acl.User
	ks.View(0, 0, false).EachUser(func(name, record []byte) {
		u, err := acl.Decode(string(name), record)
		if err != nil { // nobody can be this user, rather than anybody do what a rule forbids
			srv.log.Error("a user cannot be read, and is off", "user", string(name), "error", err)
			u = acl.NewUser(string(name))
		}
		list = append(list, u)
	})
	srv.userState.mu.Lock()
	srv.userState.kept = list
	known := srv.userState.known
	srv.userState.mu.Unlock()
	srv.publishUsers()
	if known {
		srv.log.Info("users have changed", "users", len(list))
		srv.dismiss(false)
	}
}

// inForce is the users that count: those in the log, or before the first change of all those of the settings. mu is held.
func (st *userState) inForce() []*acl.User {
	if st.kept != nil {
		return st.kept
	}
	return st.settings
}

// publishUsers compiles the users anew.
func (srv *Server) publishUsers() {
	st := &srv.userState
	st.mu.Lock()
	defer st.mu.Unlock()
	users := acl.NewUsers(st.inForce(), srv.catalog, srv.config().RequirePass)
	users.Kept, users.Known = st.kept != nil, st.known
	srv.users.Store(users)
}

// usersAreKnown is called when the log has been read.
func (srv *Server) usersAreKnown() {
	st := &srv.userState
	st.mu.Lock()
	st.known = true
	kept := st.kept != nil
	st.mu.Unlock()
	srv.publishUsers()
	cfg := srv.config()
	switch {
	case kept && (cfg.ACLFile != "" || len(cfg.Users) > 0):
		srv.log.Info("the users of the log are in force, not those of aclfile or user in the configuration; ACL LOAD takes those of aclfile")
	case kept && cfg.RequirePass != "" && !srv.inheritsPassword():
		srv.log.Warn("requirepass is without effect: ACL commands have set the passwords of the default user")
	}
	srv.dismiss(true)
}

// inheritsPassword reports whether the passwords of the default user are those of requirepass.
func (srv *Server) inheritsPassword() bool {
	st := &srv.userState
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, u := range st.inForce() {
		if u.Name == acl.DefaultName {
			return u.Inherits
		}
	}
	return true
}

// settingUsers is what the first change of users takes over.
func (srv *Server) settingUsers() []*acl.User {
	st := &srv.userState
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.kept != nil {
		return nil
	}
	return st.settings
}

// dismiss closes the clients whose users are gone, or may not listen any more to what they listen to; with everybody also those that have logged in before the users were known. Those that wait
// for replies get them first.
func (srv *Server) dismiss(everybody bool) {
	users := srv.users.Load()
	for _, s := range srv.clients.all() {
		if u := s.seen.user.Load(); !everybody && sameUser(u, users.Find(u.Name)) && !s.listens() {
			continue
		}
		s.worker.loop.Post(func() {
			if s.useUsers(s.srv.users.Load()); s.closing {
				s.waiting = waitNothing
			}
			s.link.Resume()
		})
	}
}

// sameUser reports whether u, who is connected, still is who it was; now is the user of that name, or nil.
func sameUser(u, now *acl.Subject) bool {
	return now != nil && (now.Born == u.Born || u.Name == acl.DefaultName)
}

// useUsers judges the session by the users that there are now.
func (s *Session) useUsers(users *acl.Users) {
	before := s.users
	s.users = users
	if !before.Known && users.Known {
		loggedIn := s.authenticated
		s.authenticated = s.authenticated && !users.Kept || users.Open
		if loggedIn && !s.authenticated {
			s.Close("it logged in before the users were known") // a client does not look for NOAUTH any more; it connects again
		}
	}
	now := users.Find(s.subject.Name)
	if !sameUser(s.subject, now) {
		s.authenticated, now = false, users.Default
		s.Close("its user was deleted")
	} else if s.subs != nil && now != s.subject && !s.mayListen(now) {
		s.unsubscribeAll()
		s.shutBox()
		s.Close("its user may not listen any more to what it listens to")
	}
	s.become(now)
}

// become makes the session one of a user.
func (s *Session) become(u *acl.Subject) {
	s.subject = u
	if s.seen.user.Load() != u {
		s.seen.user.Store(u)
	}
	s.restricted = u
	if u.Unrestricted() {
		s.restricted = nil
	}
	s.authed = s.authenticated || s.users.Open
	s.seen.authed.Store(s.authed)
}

// beginUser is becoming the default user, as at the beginning of a connection.
func (s *Session) beginUser() {
	s.users = s.srv.users.Load()
	s.authenticated = s.users.Open && s.users.Known
	s.become(s.users.Default)
}

// mayWhileLoading reports whether a command may run while the node is not ready.
func (s *Session) mayWhileLoading(cmd *commands.Command) bool {
	return cmd.Flags&commands.FlagLoading != 0 && (s.users.Known || s.authenticated || cmd.Flags&commands.FlagAdmin == 0)
}
