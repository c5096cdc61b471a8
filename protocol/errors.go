package protocol

import (
	"fmt"
	"strconv"
	"strings"
)

// Every error text a client can see is here, once, without the leading '-' (Writer.Error adds it). The first word is the
// class clients branch on: ERR, or one of its own. Texts Redis has too are Redis 7.0's to the byte.

// Values and types.
const (
	ErrSyntax          = "ERR syntax error"
	ErrWrongType       = "WRONGTYPE Operation against a key holding the wrong kind of value"
	ErrNotInteger      = "ERR value is not an integer or out of range"
	ErrNotFloat        = "ERR value is not a valid float"
	ErrNotPositive     = "ERR value is out of range, must be positive"
	ErrOffsetRange     = "ERR offset is out of range"
	ErrOverflow        = "ERR increment or decrement would overflow"
	ErrDecrOverflow    = "ERR decrement would overflow" // DECRBY by the smallest integer, which has no negative
	ErrNotFinite       = "ERR increment would produce NaN or Infinity"
	ErrStringTooLong   = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
	ErrTimeoutNumber   = "ERR timeout is not an integer or out of range"
	ErrTimeoutNegative = "ERR timeout is negative"
)

// HyperLogLogs, of PF* and as sources of UC.MERGE.
const (
	ErrNotHyperLogLog     = "WRONGTYPE Key is not a valid HyperLogLog string value."
	ErrCorruptHyperLogLog = "INVALIDOBJ Corrupted HLL object detected"
)

// Keys and the keyspace.
const (
	ErrNoSuchKey       = "ERR no such key"
	ErrSameObject      = "ERR source and destination objects are the same"
	ErrDBIndex         = "ERR DB index is out of range"
	ErrInvalidCursor   = "ERR invalid cursor"
	ErrExpireNXAndXXGT = "ERR NX and XX, GT or LT options at the same time are not compatible"
	ErrExpireGTAndLT   = "ERR GT and LT options at the same time are not compatible"
	ErrNoLFU           = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when " +
		"switching between policies at runtime LRU and LFU data will take some time to adjust."
)

// Transactions.
const (
	ErrNestedMulti         = "ERR MULTI calls can not be nested"
	ErrExecWithoutMulti    = "ERR EXEC without MULTI"
	ErrDiscardWithoutMulti = "ERR DISCARD without MULTI"
	ErrWatchInMulti        = "ERR WATCH inside MULTI is not allowed"
	ErrNotInMulti          = "ERR Command not allowed inside a transaction"
	ErrExecAbort           = "EXECABORT Transaction discarded because of previous errors."
)

// Authentication, HELLO and CLIENT.
const (
	ErrNoAuth      = "NOAUTH Authentication required."
	ErrNoAuthHello = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> " +
		"<pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
	ErrWrongPass     = "WRONGPASS invalid username-password pair or user is disabled."
	ErrNoPasswordSet = "ERR AUTH <password> called without any password configured for the default user. Are you sure your " +
		"configuration is correct?"
	ErrNoProto        = "NOPROTO unsupported protocol version"
	ErrProtoNotNumber = "ERR Protocol version is not an integer or out of range"
	ErrClientName     = "ERR Client names cannot contain spaces, newlines or special characters."
	ErrClientNameLong = "ERR a client's name, its library's and that one's version have at most 256 bytes each"
	ErrNoSuchClient   = "ERR No such client"
	ErrClientID       = "ERR Invalid client ID"                      // CLIENT LIST ID
	ErrClientIDZero   = "ERR client-id should be greater than 0"     // CLIENT KILL ID
	ErrPauseMode      = "ERR CLIENT PAUSE mode must be WRITE or ALL" // CLIENT PAUSE
	ErrReadLevel      = "ERR CLIENT READ level must be LINEARIZABLE, LEADER, LOCAL or DEFAULT"
	ErrAckLevel       = "ERR CLIENT ACK level must be QUORUM, LOCAL or DEFAULT"
	ErrUnblockReason  = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"
	ErrUnblocked      = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
)

// COMMAND, CONFIG, FUNCTION and DEBUG.
const (
	ErrCommandInvalid      = "ERR Invalid command specified"
	ErrCommandNoKeys       = "ERR The command has no key arguments"
	ErrCommandArity        = "ERR Invalid number of arguments specified for command"
	ErrCommandArguments    = "ERR Invalid arguments specified for command"
	ErrSaving              = "ERR Background save already in progress"
	ErrRewriting           = "ERR Background append only file rewriting already in progress"
	ErrNoShutdown          = "ERR No shutdown in progress."
	ErrNoConfigFile        = "ERR The server is running without a config file"
	ErrFunctionFlushOption = "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"
	ErrNoScript            = "NOSCRIPT No matching script. Please use EVAL."
	ErrDebugNotAllowed     = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can " +
		"run it from a local connection, otherwise you need to set this option in the configuration file, and then restart " +
		"the server."
)

// Reasons for ErrConfigSet; ConfigNotBetween and ConfigNotOneOf make more.
const (
	ConfigImmutable = "can't set immutable config"
	ConfigProtected = "can't set protected config"
	ConfigDuplicate = "duplicate parameter"
	ConfigTLS       = "Unable to update TLS configuration. Check server logs."
	ConfigNotBool   = "argument must be 'yes' or 'no'"
	ConfigNotMemory = "argument must be a memory value"

	ConfigPercentiles     = "Invalid latency-tracking-info-percentiles parameters"
	ConfigPercentileRange = "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"

	ConfigNotify     = "Invalid event class character. Use '" + NotifyClasses + "'."
	NotifyClasses    = "Ag$lshzxeKEtmdn"
	ConfigNotInteger = "argument couldn't be parsed into an integer"
)

// Clusters.
const (
	ErrClusterDisabled  = "ERR This instance has cluster support disabled"
	ErrKeysInSlot       = "ERR keys are not counted by slot here: slots do not move between nodes"
	ErrNotAMaster       = "ERR The specified node is not a master"
	ErrForgetMyself     = "ERR I tried hard but I can't forget myself..."
	ErrFailoverOnMaster = "ERR You should send CLUSTER FAILOVER to a replica"
	ErrBackupLog        = "TRYAGAIN no backup: the log takes nothing now, so it is not certain what was answered before"
	ErrNoFeed           = "ERR there is no feed here: the setting feed-ring is 0"
	ErrFeedGroups       = "ERR the feed follows one Raft group, and this node has several"
	ErrFeedCursor       = "ERR a cursor of the feed is one that FEED READ or FEED SNAPSHOT has given, or $"
	ErrFeedPosition     = "ERR a position of FEED SNAPSHOT is 0, or one that it has given"
	ErrNoBackup         = "ERR no backup is open on this connection: begin with BACKUP BEGIN"
	ErrMeet             = "ERR no member has this address: start that node with an empty directory and the cluster's peer addresses in join, and it joins by itself"
	ErrMasterPort       = "ERR Invalid master port"
	ErrReplicaOf        = "ERR this server does not follow another one: REPLICAOF supports NO ONE only"
)

// The state of the server.
const (
	ErrMaxClients = "ERR max number of clients reached"
	ErrOOM        = "OOM command not allowed when used memory > 'maxmemory'."
	ErrLoading    = "LOADING Redis is loading the dataset in memory"

	// ErrMisconf refuses writes while the disk is (nearly) full. Nothing was applied.
	ErrMisconf = "MISCONF Quipu refuses writes because its disk is full or nearly full; nothing was written. Reads go on. " +
		"Free space in its data directory, and writes resume by themselves."
	// ErrDenied is protected mode.
	ErrDenied = "DENIED Quipu is in protected mode: it has no password, so it only accepts connections from this machine. " +
		"To connect from another one, set a password (requirepass) or configure TLS with client certificates, or, if " +
		"nobody else can reach this port, set protected-mode to no."
)

// Outcomes of a write other than applied, and of what stands behind it.
const (
	// ErrUnknown is a write whose fate this node does not know: it timed out, or the node lost the leadership or stopped
	// while it was in flight.
	ErrUnknown = "UNKNOWN outcome unknown: the command may or may not have been applied, and may still be"
	// ErrCrossSlot is a command, or a transaction, with keys of several replicas.
	ErrCrossSlot = "CROSSSLOT Keys in request don't hash to the same slot"
	// ErrTryAgain is a command that was certainly not run.
	ErrTryAgain = "TRYAGAIN not applied: the server could not take the command now; it is safe to send it again"
	// ErrTryAgainRead is a read that was queued behind a write with an unknown outcome.
	ErrTryAgainRead = "TRYAGAIN not run: a write before this command has an unknown outcome; it is safe to send it again"
	// ErrClusterDown is a command that needs a leader while there is none.
	ErrClusterDown = "CLUSTERDOWN not applied: this node knows of no leader"
	// ErrClusterDownRead is a read that no leader answered in time.
	ErrClusterDownRead = "CLUSTERDOWN not run: this node knows of no leader; it is safe to send it again"
	// ErrLargeReplies is a read that was forwarded together with others whose replies are very large.
	ErrLargeReplies = "TRYAGAIN not run: other replies that were asked for at the same time are too large; it is safe to send it again"
	// ErrOnceApplied is a write of a producer that was executed before. This and the next ones: command ONCE.
	ErrOnceApplied = "APPLIED before; the reply is not kept"
	// ErrOnceStale is a write whose number is too low for what is kept.
	ErrOnceStale = "STALE not applied now; the number is 64 or more below the highest one, so it is not known whether it was before"
	// ErrFenced is a write of an earlier epoch of a producer.
	ErrFenced = "FENCED not applied now: the producer was opened again since; a process with the later epoch has taken over"
	// ErrNoProducer is a write of a producer that is not there.
	ErrNoProducer = "NOPRODUCER not applied now: the producer is not open with this epoch, or has expired; begin with ONCE OPEN"
	// ErrShuttingDown is a write that arrives during a graceful stop.
	ErrShuttingDown = "TRYAGAIN not applied: the server is shutting down"
)

// Limits. The connection goes on after those of the first group and is closed after the second.
const (
	ErrCommandTooBig  = "ERR command or transaction is too big"
	ErrPatternTooLong = "ERR glob pattern is too long (the limit is 1024 bytes)"

	ErrCommandTimeout = "ERR client closed: half a command and nothing behind it for too long"
	ErrAuthTimeout    = "ERR client closed: it did not authenticate in time"
	ErrAuthRate       = "WRONGPASS too many failed authentications from this address, try again later"
	ErrUnauthOutput   = "ERR client closed: too much output without authentication"
)

// Mistakes in a call of ONCE.
const (
	ErrProducerName    = "ERR a producer's name has 1 to 128 bytes, and is not OPEN or INFO"
	ErrOnceNumber      = "ERR epoch and number are integers from 1 on"
	ErrOnceTTL         = "ERR TTL is a number of seconds from 1 to 31536000"
	ErrOnceCommand     = "ERR ONCE takes a command that writes keys which it names"
	ErrOnceInMulti     = "ERR ONCE in a transaction stands first, without a command"
	ErrIngestInMulti   = "ERR INGEST is the first command of a MULTI"
	ErrSourceName      = "ERR a source has a name of 1 to 255 bytes, which is not that of a subcommand of INGEST"
	ErrPositionTooLong = "ERR incarnations and positions have at most 255 bytes"
	ErrOnceTxn         = "ERR a transaction with ONCE has only commands that write keys which they name"
)

// Errors of regions. What a client is to do is in the text.
const (
	ErrSharedFlush     = "SHARED database 0 has counters that regions share, and cannot be emptied: delete keys by name, in each region"
	ErrSharedSize      = "SHARED a sketch that regions share has at most 832 KiB: make it smaller, or take a key that does not match region-keys"
	ErrNoRegion        = "NOREGION this cluster is no region: start its nodes with the setting region"
	ErrRegionArgs      = "ERR these are no arguments of a region: see docs/regions.md"
	ErrRegionUnknown   = "REGIONHELLO an incarnation is not known here: send REGION HELLO first"
	ErrRegionKeys      = "REGION the patterns of region-keys differ: set the same in all regions"
	ErrRegionName      = "REGION this region has that name itself, which its data have for good: start one of the two with an empty directory and another name"
	ErrRegionLost      = "REGIONLOST this incarnation was declared lost: its operator may begin another one with REGION RENEW"
	ErrRegionOlder     = "REGION a later incarnation of this region is known elsewhere: these data are an older copy, stop this node"
	ErrRegionSibling   = "REGION everything would count twice: two of the regions began with counters of the same data, as of one backup. Start one of the two anew with an empty directory: it is told all that the other has"
	ErrRegionRestored  = "REGION another cluster has said that it is this incarnation of the region: the data are restored, or there are two of them. Leave one running, and send it REGION RENEW if its data are restored"
	ErrRegionProtocol  = "REGION there is no version of the protocol that both know: use the same version of the program"
	ErrRegionFrame     = "ERR the frame is malformed, or of another kind, or none of this sender's"
	ErrRegionElsewhere = "REGION another node leads, and has the links to other regions: ask that one, see CLUSTER STATUS"
	ErrRegionHistory   = "REGION another history of this region was told here: these data are an older copy. REGION RENEW keeps them as they are, as another incarnation"
	ErrRegionNotLost   = "ERR no incarnation of that region is lost, and so nothing can be forgotten: REGION LOST declares one lost that is gone for good"
	ErrRegionNotOthers = "ERR there is no other region of that name, or it is lost already"
)

// ErrShared refuses a write that would make something else of a key that regions share than a counter or a sketch, or give it another name.
func ErrShared(command string) string {
	return "SHARED '" + command + "' is not possible for keys that match region-keys, which regions share: take a key that does not match"
}

// ErrSharedValue refuses to set a shared counter to what is no integer.
func ErrSharedValue(command string) string {
	return "SHARED '" + command + "' sets keys that match region-keys to integers only: take a key that does not match"
}

// ErrManySources refuses INGEST from a new source when there are limit sources already.
func ErrManySources(limit int) string {
	return "MAXSOURCES not applied: there are " + strconv.Itoa(limit) + " sources; remove some with INGEST FORGET"
}

// ErrStalePosition refuses a transaction with INGEST whose source is somewhere else.
func ErrStalePosition(incarnation, position []byte) string {
	return withText(withText("STALE not applied: the source is at incarnation '", incarnation, "', position '"), position, "': go on from there")
}

// ErrManyProducers refuses ONCE OPEN when there are limit producers already.
func ErrManyProducers(limit int) string {
	return "MAXPRODUCERS not opened: there are " + strconv.Itoa(limit) + " producers; others have to expire first"
}

// ErrKeyTooLong is for a key of more bytes than the setting max-key-bytes, which is limit.
func ErrKeyTooLong(limit int) string {
	return "ERR key is too long (max-key-bytes is " + strconv.Itoa(limit) + ")"
}

// ErrUnknownCommand is for a name that no command has; args are the arguments behind the name. Like Redis it shows at most
// 128 bytes of the name and about as many of the arguments, each up to its first zero byte.
func ErrUnknownCommand(name []byte, args [][]byte) string {
	const limit = 128
	var shown strings.Builder
	for _, arg := range args {
		if shown.Len() >= limit {
			break
		}
		arg = cstring(arg, limit-shown.Len())
		shown.WriteByte('\'')
		shown.Write(arg)
		shown.WriteString("' ")
	}
	return oneLine("ERR unknown command '" + string(cstring(name, limit)) + "', with args beginning with: " + shown.String())
}

// ErrUnknownSubcommand is for a container command, such as CLIENT, and a subcommand it does not have.
func ErrUnknownSubcommand(sub []byte, command string) string {
	return oneLine("ERR unknown subcommand '" + string(cstring(sub, 128)) + "'. Try " + strings.ToUpper(command) + " HELP.")
}

// ErrSubcommandSyntax is for a subcommand that exists with arguments that make no sense.
func ErrSubcommandSyntax(sub []byte, command string) string {
	return oneLine("ERR unknown subcommand or wrong number of arguments for '" + string(cstring(sub, 128)) + "'. Try " +
		strings.ToUpper(command) + " HELP.")
}

// ErrUnknownPFDebug is for a subcommand that PFDEBUG does not have.
func ErrUnknownPFDebug(sub []byte) string {
	return withText("ERR Unknown PFDEBUG subcommand '", sub, "'")
}

// ErrArity is for a wrong number of arguments. name is the command's full name in lower case, "client|setname".
func ErrArity(name string) string { return "ERR wrong number of arguments for '" + name + "' command" }

// ErrInvalidExpire is for an expiry that is not positive or beyond the representable. name is as in ErrArity.
func ErrInvalidExpire(name string) string { return "ERR invalid expire time in '" + name + "' command" }

// ErrExecAbortBecause is for EXEC when a condition at the gate (memory, disk) refuses the whole transaction. reason is that
// condition's text.
func ErrExecAbortBecause(reason string) string {
	return oneLine("EXECABORT Transaction discarded because of: " + strings.TrimPrefix(reason, "ERR "))
}

// ErrUnsupportedOption is for an EXPIRE option that does not exist.
func ErrUnsupportedOption(option []byte) string {
	return withText("ERR Unsupported option ", option, "")
}

// ErrHelloOption is for a HELLO option that does not exist or lacks its arguments.
func ErrHelloOption(option []byte) string {
	return withText("ERR Syntax error in HELLO option '", option, "'")
}

// ErrClientType is for a TYPE argument of CLIENT LIST and CLIENT KILL.
func ErrClientType(kind []byte) string { return withText("ERR Unknown client type '", kind, "'") }

// ErrNoSuchUser is for CLIENT KILL USER.
func ErrNoSuchUser(user []byte) string { return withText("ERR No such user '", user, "'") }

// ErrOutOfRangeBetween is for an integer that the command takes only from a range.
func ErrOutOfRangeBetween(low, high int64) string {
	return "ERR value is out of range, value must between " + strconv.FormatInt(low, 10) + " and " + strconv.FormatInt(high, 10)
}

// ErrClientInfoOption is for a CLIENT SETINFO attribute that does not exist (a command of Redis 7.2, with the texts of that).
func ErrClientInfoOption(option []byte) string {
	return withText("ERR Unrecognized option '", option, "'")
}

// ErrClientInfoValue is for a CLIENT SETINFO value; attribute is shown as the client wrote it.
func ErrClientInfoValue(attribute []byte) string {
	return withText("ERR ", attribute, " cannot contain spaces, newlines or special characters.")
}

// For HOTKEYS.
const (
	ErrHotKeysCount = "ERR COUNT must be a whole number from 1"
	ErrHotKeysOff   = "ERR hot keys are not counted on this node: CONFIG SET hotkeys yes turns it on"
)

// ErrSlowlogCount is for SLOWLOG GET.
const ErrSlowlogCount = "ERR count should be greater than or equal to -1"

// ErrNoLatencySamples is for LATENCY GRAPH of an event that was not noted, or that there is not.
func ErrNoLatencySamples(event []byte) string {
	return withText("ERR No samples available for event '", event, "'")
}

// ErrConfigUnknown is for CONFIG SET of a setting that does not exist.
func ErrConfigUnknown(name []byte) string {
	return withText("ERR Unknown option or number of arguments for CONFIG SET - '", name, "'")
}

// ErrConfigSet is for CONFIG SET of a value the setting does not take, with one of the Config… reasons or "".
func ErrConfigSet(name, reason string) string {
	text := "ERR CONFIG SET failed (possibly related to argument '" + name + "')"
	if reason != "" {
		text += " - " + reason
	}
	return oneLine(text)
}

// ConfigNotBetween is a reason for ErrConfigSet.
func ConfigNotBetween(low, high int64) string {
	return "argument must be between " + strconv.FormatInt(low, 10) + " and " + strconv.FormatInt(high, 10) + " inclusive"
}

// ConfigNotOneOf is a reason for ErrConfigSet.
func ConfigNotOneOf(values ...string) string {
	return "argument(s) must be one of the following: " + strings.Join(values, ", ")
}

// cstring cuts b where C's "%.*s" does: at limit bytes or before the first zero byte.
func cstring(b []byte, limit int) []byte {
	b = b[:min(len(b), limit)]
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// withText puts a client's own text between before and after.
func withText(before string, text []byte, after string) string {
	return oneLine(strings.TrimRight(before+string(cstring(text, len(text)))+after, "\r\n"))
}

// oneLine keeps a client's own text from ending the reply.
func oneLine(text string) string {
	if !strings.ContainsAny(text, "\r\n") {
		return text
	}
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(text)
}

// ErrMoved sends a client of a cluster to the node that serves a hash slot, at host:port.
func ErrMoved(slot uint16, address string) string {
	return "MOVED " + strconv.Itoa(int(slot)) + " " + address
}

// ErrLevel refuses a command that some nodes of the cluster may not know yet.
func ErrLevel(name string, level, have uint16) string {
	return fmt.Sprintf("ERR '%s' needs semantics level %d, the cluster is at %d: run 'quipu cluster upgrade' once all nodes run this version", name, level, have)
}

// ErrMeetAddress is an address of CLUSTER MEET that is none.
func ErrMeetAddress(ip, port []byte) string {
	return withText(withText("ERR Invalid node address specified: ", ip, ":"), port, "")
}

// ErrUnknownNode is a node ID that no member of the cluster has.
func ErrUnknownNode(id []byte) string { return withText("ERR Unknown node ", id, "") }

// ErrFeedGap is for a cursor from before the first index that the feed has.
func ErrFeedGap(first uint64) string {
	return "GAP the feed begins at index " + strconv.FormatUint(first, 10) + ": take FEED SNAPSHOT, then FEED READ from the cursor of its first page"
}

// ErrFeedIncarnation is for a cursor of other data.
func ErrFeedIncarnation(ours string) string {
	return "INCARNATION the cursor is of other data: this cluster's is " + ours + ", restored or begun anew; what was read before does not fit it"
}
