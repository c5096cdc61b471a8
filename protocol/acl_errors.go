package protocol

import (
	"fmt"
	"strconv"
	"strings"
)

// NOPERM: the user may not do this.
const (
	ErrNoPermKey     = "NOPERM this user has no permissions to access one of the keys used as arguments"
	ErrNoPermChannel = "NOPERM this user has no permissions to access one of the channels used as arguments"

	noPermExec = "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command " +
		"is no longer allowed for the following reason: "
	ErrNoPermExecCommand = noPermExec + "no permission to execute the command or subcommand"
	ErrNoPermExecKey     = noPermExec + "no permission to touch the specified keys"
	ErrNoPermExecChannel = noPermExec + "no permission to access one of the channels used as arguments to the command"
)

// Why a rule for a user is refused, for ErrACLRule and for lines of a file.
const (
	ACLSyntax   = "Syntax error"
	ACLUnknown  = "Unknown command or category name in ACL"
	ACLFirstArg = "Allowing first-arg of a subcommand is not supported"
	ACLHash     = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
	ACLAllKeys  = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try " +
		"'resetkeys' to start with an empty list of patterns"
	ACLAllChannels = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try " +
		"'resetchannels' to start with an empty list of channels"
	ACLNoPassword   = "The password you are trying to remove from the user does not exist"
	ACLTooMany      = "The user has as many passwords, selectors, patterns or command rules as it may have"
	ACLTooLong      = "A pattern has at most 1024 bytes, a first argument 128"
	ACLOpenSelector = "Unmatched parenthesis in selector definition."
)

// ACL.
const (
	ErrUserName    = "ERR Usernames can't contain spaces or null characters"
	ErrDefaultUser = "ERR The 'default' user cannot be removed"
	ErrGenPass     = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
	ErrUserRecord  = "ERR the record of the user cannot be read by this version"
	ErrUserTooLong = "ERR the rules of one user take more than 32 KiB"
	ErrNoACLFile   = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER " +
		"command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the " +
		"Redis configuration."
	ErrACLSave = "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
	// ErrPassInACL refuses CONFIG SET requirepass where rules have set the passwords of the default user.
	ErrPassInACL = "ERR CONFIG SET failed (possibly related to argument 'requirepass') - the passwords of the default user have been " +
		"set for all nodes, by ACL SETUSER or ACL LOAD: change them by ACL SETUSER default"
)

// ErrNoPermCommand is for a command, by its full name, that the user may not run.
func ErrNoPermCommand(name string) string {
	return "NOPERM this user has no permissions to run the '" + name + "' command"
}

// DryRunCommand, DryRunKey and DryRunChannel are what ACL DRYRUN answers about what is not allowed.
func DryRunCommand(name string) string {
	return "This user has no permissions to run the '" + name + "' command"
}

// DryRunKey is DryRunCommand for a key, which is shown up to its first zero byte, as in Redis.
func DryRunKey(key string) string {
	return "This user has no permissions to access the '" + string(cstring([]byte(key), len(key))) + "' key"
}

// DryRunChannel is DryRunCommand for a channel.
func DryRunChannel(channel string) string {
	return "This user has no permissions to access the '" + string(cstring([]byte(channel), len(channel))) + "' channel"
}

// ErrACLRule is for a rule of ACL SETUSER that is refused for a reason.
func ErrACLRule(rule, reason string) string {
	return oneLine("ERR Error in ACL SETUSER modifier '" + rule + "': " + reason)
}

// ErrOpenSelector is for ACL SETUSER with a parenthesis that is not closed.
func ErrOpenSelector(word string) string {
	return oneLine("ERR Unmatched parenthesis in acl selector starting at '" + word + "'.")
}

// ErrUserNameLong is for a name of more than limit bytes.
func ErrUserNameLong(limit int) string {
	return "ERR a user's name has at most " + strconv.Itoa(limit) + " bytes"
}

// ErrManyUsers refuses one more user than there may be.
func ErrManyUsers(limit int) string {
	return "ERR there are " + strconv.Itoa(limit) + " users, as many as there may be: delete some with ACL DELUSER"
}

// ErrUserNotFound is for ACL DRYRUN.
func ErrUserNotFound(name []byte) string { return withText("ERR User '", name, "' not found") }

// ErrCommandNotFound is for ACL DRYRUN.
func ErrCommandNotFound(name []byte) string { return withText("ERR Command '", name, "' not found") }

// ErrUnknownCategory is for ACL CAT.
func ErrUnknownCategory(name []byte) string {
	return withText("ERR Unknown category '", cstring(name, 128), "'")
}

// ErrACLFile is for a file of users that cannot be read, or has errors.
func ErrACLFile(problems string) string {
	return oneLine("ERR " + problems + "WARNING: ACL errors detected, no change to the previously active ACL rules was performed")
}

// ErrACLRead is for a file of users that cannot be read.
func ErrACLRead(file, reason string) string {
	return oneLine(fmt.Sprintf("ERR Error loading ACLs, opening file '%s': %s", file, reason))
}

// ACLLineStart is a problem of a line: it does not begin as it must.
func ACLLineStart(file string, line int) string {
	return fmt.Sprintf("%s:%d should start with user keyword followed by the username. ", file, line)
}

// ACLDuplicate is a problem of a line: a user has two.
func ACLDuplicate(user string, line int) string {
	return fmt.Sprintf("WARNING: Duplicate user '%s' found on line %d. ", user, line)
}

// ACLLineName is a problem of a line: nobody can have this name.
func ACLLineName(file string, line int, user string) string {
	return fmt.Sprintf("%s:%d: username '%s' contains invalid characters. ", file, line, user)
}

// ACLLineOpen is a problem of a line: a parenthesis is not closed. (Redis has no blank behind it.)
func ACLLineOpen(file string, line int) string {
	return fmt.Sprintf("%s:%d: %s", file, line, ACLOpenSelector)
}

// ACLLineOperation is a problem of a line: a rule is refused.
func ACLLineOperation(file string, line int, rule, reason string) string {
	return fmt.Sprintf("%s:%d: Error in applying operation '%s': %s. ", file, line, rule, reason)
}

// ACLLineSyntax is a problem of a line.
func ACLLineSyntax(file string, line int, reason string) string {
	return fmt.Sprintf("%s:%d: %s. ", file, line, strings.TrimSuffix(reason, "."))
}

// ACLFileTooLarge is a problem of a file: it has more than users may take.
func ACLFileTooLarge(file string, line int) string {
	return fmt.Sprintf("%s:%d: more users, or longer rules, than there may be. ", file, line)
}
