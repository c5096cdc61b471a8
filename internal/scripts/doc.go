// Package scripts holds Quipu's behaviour as text: commands and the exact replies of Redis 7.0, one file per command
// family in testdata. The tests replay every script against redis-server (is the recording still what Redis says?)
// and against the quipu binary (does Quipu answer the same?), in RESP2 and in RESP3. Replies are recorded, never written
// by hand, with
//
//	go test ./internal/scripts -rewrite
//
// # Format
//
// A line that begins in the first column is a step, a directive, a comment (#) or empty. The lines below a step that
// are indented by four columns are the reply.
//
//	> SET k "a b"          send a command, read one reply; quoted as redis-cli quotes
//	    +OK
//	> GET nope
//	    $-1
//	3   _                  the reply in RESP3, where it differs
//	c2> GET k              the same on another connection, named c2 (opened by its first use)
//	    "a b"
//	>> INCR n              send only; nothing is read
//	! "PING\r\n"           send these bytes as they are; nothing is read
//	<                      read one reply
//	    :1
//	<
//	    +PONG
//	> SETRANGE k 0 <300*x> <300*x> stands for 300 times "x"
//
// A reply is written as it travels, one element a line: +simple -error :integer "bulk string" $-1 *2 (then two elements,
// indented by two) and RESP3's _ #t ,1.5 (123 %1 ~2 >3 ="txt:text" !"blob error". EOF says that the server closed the
// connection. Nothing is lost: a reply that this rendering cannot reproduce byte for byte is shown as RAW "bytes".
// A reply that cannot be the same twice is a regular expression for the whole rendering: /:\d+/. It is not
// recorded but checked.
//
// The labels in the first columns of a reply:
//
//	3     RESP3, where it differs
//	q     Quipu, where it differs from Redis on purpose (a comment above says why)
//	q3    Quipu in RESP3
//
// Directives:
//
//	@settings name value …   settings of the server this script needs (both servers are started with them)
//	@quipu-settings …        the same for Quipu alone
//	@protocols 2             replay in RESP2 only
//	@unordered [depth]       the elements at this depth of the next reply (1, the outermost, if not given) may come in any order
//	@quipu … @end            commands that Redis 7.0 does not have; written by hand and played against Quipu only
//	@sleep 20ms              wait
//	@close c2                close the connection from the client's side
package scripts
