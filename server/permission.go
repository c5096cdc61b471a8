package server

import (
	"time"

	"quipu/acl"
	"quipu/commands"
	"quipu/protocol"
)

// Whether the user of a session may run a command is decided in the gate, from the command's entry alone: its number and
// categories, the places of its keys and what it does with them. So a forwarded command is judged where its client is, by the
// users that this node has applied; the node that leads asks nothing more of another member. A transaction is judged when its
// commands are queued, and once more by EXEC.

// denied is the error text for a command that the session's user may not run, "" for all others. Only for restricted users.
func (s *Session) denied(cmd *commands.Command, args [][]byte) string {
	reason, object := s.judge(s.restricted, cmd, args)
	if reason == acl.Allowed {
		return ""
	}
	s.noteDenial(reason, object, s.subject.Name, s.multi != nil)
	switch reason {
	case acl.DeniedKey:
		return protocol.ErrNoPermKey
	case acl.DeniedChannel:
		return protocol.ErrNoPermChannel
	}
	return protocol.ErrNoPermCommand(object)
}

// deniedInExec is denied for a queued command when EXEC runs.
func (s *Session) deniedInExec(cmd *commands.Command, args [][]byte) string {
	reason, object := s.judge(s.restricted, cmd, args)
	switch reason {
	case acl.Allowed:
		return ""
	case acl.DeniedKey:
		s.noteDenial(reason, object, s.subject.Name, true)
		return protocol.ErrNoPermExecKey
	case acl.DeniedChannel:
		s.noteDenial(reason, object, s.subject.Name, true)
		return protocol.ErrNoPermExecChannel
	}
	s.noteDenial(reason, object, s.subject.Name, true)
	return protocol.ErrNoPermExecCommand
}

// judge decides about a call. object is what is denied: the command's full name, or the key.
func (s *Session) judge(u *acl.Subject, cmd *commands.Command, args [][]byte) (reason acl.Reason, object string) {
	call := &s.worker.call
	defer call.Forget()
	if cmd.IsOnce() && len(args) > 4 {
		// Two commands: whoever may not use ONCE may not, whatever is inside, and it makes nothing lawful.
		callOf(call, cmd, args[:4])
		if reason, _ = u.Check(call); reason != acl.Allowed {
			return reason, cmd.FullName()
		}
		inner := s.srv.table.Find(args[4:])
		if inner == nil {
			return acl.Allowed, "" // and refused when it runs
		}
		cmd, args = inner, args[4:]
	}
	callOf(call, cmd, args)
	reason, at := u.Check(call)
	switch {
	case reason == acl.DeniedKey && at < len(call.Keys):
		return reason, string(call.Keys[at].Key)
	case reason == acl.DeniedKey:
		return reason, "*"
	case reason == acl.DeniedChannel:
		return reason, string(call.Channel[at].Name)
	}
	return reason, cmd.FullName()
}

// callOf fills call with what a command does.
func callOf(call *acl.Call, cmd *commands.Command, args [][]byte) {
	call.Forget()
	call.ID = cmd.ID()
	behind := 1
	if cmd.Parent != nil {
		behind = 2
	}
	if len(args) > behind {
		call.Arg = args[behind]
	}
	if cmd.Flags&commands.FlagAllKeys != 0 {
		call.AllKeys = acl.Read
	}
	if cmd.Flags&commands.FlagPubSub != 0 {
		addChannels(call, cmd, args)
	}
	cmd.EachKeyFlags(args, func(key []byte, flags commands.KeyFlag) {
		if flags&commands.KeyNotKey == 0 {
			call.Keys = append(call.Keys, acl.KeyUse{Key: key, Use: accessOf(flags)})
		}
	})
}

// accessOf is what a command does with the user's data under a key. A command that only asks whether there is a key, or of what
// type, does nothing with it.
func accessOf(flags commands.KeyFlag) (use acl.Access) {
	if flags&commands.KeyAccess != 0 {
		use |= acl.Read
	}
	if flags&(commands.KeyInsert|commands.KeyDelete|commands.KeyUpdate) != 0 {
		use |= acl.Write
	}
	return use
}

// noteDenial has ACL LOG show what was denied.
func (s *Session) noteDenial(reason acl.Reason, object, user string, inMulti bool) {
	s.publishState()
	now := time.Now()
	s.srv.stats.denied[reason].Add(1)
	s.srv.denials.Add(acl.LogEntry{
		Reason: reason, InMulti: inMulti, Object: object, Username: user, Client: s.describe(now), At: now,
	}, s.srv.config().ACLLogMax)
}
