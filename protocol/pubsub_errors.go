package protocol

import "fmt"

// ErrMonitorInMulti is the answer to MONITOR in a transaction.
const ErrMonitorInMulti = "ERR MONITOR isn't allowed for DENY BLOCKING client"

// ErrSubscribed is the answer, in RESP2, to a command of a client that listens to channels.
func ErrSubscribed(command string) string {
	return "ERR Can't execute '" + command + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
}

// ErrChannelTooLong refuses a channel or a pattern of more than limit bytes.
func ErrChannelTooLong(limit int) string {
	return fmt.Sprintf("ERR the name of a channel or a pattern has more than %d bytes", limit)
}

// ErrSubscriptions refuses what would be more than limit subscriptions of a client.
func ErrSubscriptions(limit int) string {
	return fmt.Sprintf("ERR a client may have %d subscriptions: use more connections, or a pattern", limit)
}

// ErrClientPatterns refuses a client's further patterns.
func ErrClientPatterns(limit, heavy int) string {
	return fmt.Sprintf("ERR a client may have %d patterns, and %d bytes of those with a * before their end: each PUBLISH compares them all; listen to channels instead", limit, heavy)
}

// ErrPatterns refuses patterns beyond those that a node may have of all clients.
func ErrPatterns(limit, heavy int) string {
	return fmt.Sprintf("ERR clients listen to %d patterns, or to %d bytes of those with a * before their end: no more are possible; listen to channels instead", limit, heavy)
}
