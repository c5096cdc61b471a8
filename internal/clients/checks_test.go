package clients

// checks are what each client is checked for, in this order.
var checks = []string{
	"connect",             // PING
	"protocol",            // CLIENT INFO shows the protocol that the client speaks by default
	"count",               // INCR, INCRBY, DECR, DECRBY, INCRBYFLOAT, GET, MGET
	"pipeline",            // 10,000 INCR without waiting, every reply in its place
	"transaction",         // MULTI and EXEC, every reply of its type
	"transaction-error",   // one command within fails, the others take effect
	"transaction-refused", // a command is refused before EXEC, none takes effect
	"watch-conflict",      // another connection changes the key: the library's own sign of it
	"watch-increment",     // four clients add up by WATCH, GET, MULTI, SET, EXEC: the sum is exact
	"scan",                // the library's iterator, while other keys come and go
	"expiry",              // EX, PX, TTL, PTTL, EXPIRE, PERSIST; the key is gone after its time
	"errors",              // INCR of a text, unknown command, wrong arity, syntax: the library's class and the text
	"errors-auth",         // no password, a wrong one, the right one
	"errors-memory",       // maxmemory reached: writes are refused, reads are not
	"big-value",           // 1 MiB there and back
	"binary",              // a key and a value of all 256 bytes
	"pub-sub",             // a channel and a pattern: order, names, any bytes, receivers counted; unsubscribing; a sharded channel
	"unix-socket",         // the same server by its unix socket
	"reconnect",           // kill -9 and restart: the client goes on by itself, no count is lost, and it subscribes again, if it ever does
}
