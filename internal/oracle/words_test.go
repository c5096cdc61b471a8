package oracle

import "strings"

// What arguments are made of.
var (
	wordKeys = []string{"a", "b", "c", "d", "{t}1", "{t}2", "", "k\x00\xff", "long-" + strings.Repeat("k", 60)}
	wordInts = []string{
		"0", "1", "-1", "2", "3", "5", "7", "10", "-10", "100", "1000", "9999", "10000", "2147483647", "2147483648", "-2147483649",
		"4294967296", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809",
		"9223372036854775806", "9223372036854775", "9223372036854776", "-9223372036854775", "-9223372036854776", "18446744073709551615",
	}
	wordOdd = []string{
		"", "+1", "01", "00", " 1", "1 ", "-0", "-", "1.0", "1e3", "abc", "0x10", "1\x00", "\x00", "\r\n", "%s", "*", "?", "'", "\"",
		strings.Repeat("x", 44), strings.Repeat("x", 45), strings.Repeat("9", 30), "\xff\xfe", "12345678901234567890", "é", "NaN",
		strings.Repeat("long ", 40), strings.Repeat("y", 3000), "-00", "--1", "1-", "\t1", "1\n",
	}
	wordFloats = []string{
		"0.1", "-0.1", "1.5", ".5", "5.", ".", "+.5", "1e10", "1E-10", "1e", "1e+", "3.0e3", "0x1p3", "0x.8", "0x", "0X1.8P-1", "inf",
		"-inf", "+Infinity", "nan", "infinit", "1e4932", "-1e4932", "1e4933", "1e-4950", "1e-5000", "1e18", "1e19", "123456789.123456789",
		"0.00000000000000001", "0.000000000000000005", "-0.000000000000000001", "9223372036854775807.5", "1e300", "-0", "-0.0", " 1.5",
		"1.5 ", "1_0", "1.5e3x", "179769313486231570000000000000000000000000", "0.30000000000000004", "1.5\x00", "nan(1)", "1e308", "1e17",
	}
	wordOptions = []string{
		"NX", "XX", "GET", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST", "GT", "LT", "DB", "REPLACE", "ASYNC", "SYNC", "MATCH",
		"COUNT", "TYPE", "SAMPLES", "string", "foo", "ON", "OFF", "SKIP", "ID", "ADDR", "LADDR", "USER", "SKIPME", "NORMAL", "AUTH",
		"SETNAME", "FILTERBY", "LIBRARYNAME", "WITHCODE", "SCHEDULE", "HELP", "NX\x00",
	}
	wordPatterns = []string{
		"*", "a*", "[a-b]", "?", "{t}*", "[^a]", "\\a", "**", "*[", "", "[b-a]", "k?*", "*k*k*k", "[\\", "a[", "[a", "[^", "[a-", "[]a]",
		"*\\", "h*llo", "k\x00*", "[\\x00-c]", "*g-kk*",
	}
	wordSeconds = []string{"1", "2", "5", "10", "60", "100", "1000", "100000"}
	wordMillis  = []string{"1", "7", "100", "499", "500", "501", "999", "1000", "1499", "1500", "2500", "10000", "60000"}
	wordCursors = []string{"0", "0", "0", "", "+0", "-0", "00", "-", "x", " 0", "18446744073709551616", "18446744073709551615", "1", "0x0", "-1", "0 "}
	wordNames   = []string{"", "me", "you", "a b", "\n", "a\x7f", "ünïcode", "!~", strings.Repeat("n", 80)}
)

// unknownNames are of no command of any Redis.
//
// None is a known name with a zero byte behind it: Redis finds the command if the hashes, of which only a few bits count,
// happen to agree.
var unknownNames = []string{"", "nosuch", "gett", "ge\x00t", "getx", " get", "se", "\xff\xfe", "a b", "x\r\ny", strings.Repeat("x", 200), "set|get", "client|id", "*1", "incrb"}

// foreign are calls of commands that Redis 7.0 has and Quipu has not. None changes anything, whatever the keys hold.
var foreign = [][]string{
	{"swapdb", "0", "99"}, {"lrange", "a", "0", "-1"}, {"llen", "a"}, {"hget", "a", "f"}, {"hgetall", "no such key"},
	{"smembers", "b"}, {"scard", "a"}, {"zscore", "a", "m"}, {"zcard", "b"}, {"bitcount", "a"}, {"getbit", "a", "1"},
	{"xlen", "a"}, {"geopos", "a"}, {"dump", "a"}, {"sort", "no such key"}, {"lcs", "no such key", "a"},
	{"pubsub", "channels"}, {"eval", "return 1", "0"}, {"script", "load", "return 1"}, {"publish", "c", "m"},
	{"function", "dump"}, {"module", "list"}, {"lolwut", "version", "1", "1"},
}

var (
	foreignNames = []string{
		"swapdb", "lrange", "llen", "hget", "hgetall", "smembers", "scard", "zscore", "zcard", "bitcount", "getbit", "xlen",
		"geopos", "dump", "sort", "lcs", "eval",
		"module", "sync", "lolwut",
	}
	foreignSubcommands = []string{"function|dump", "script|load"}
)

// shapes are the arguments that commands are called with: k key, v value, i integer, f float, s seconds, m milliseconds,
// S a moment in seconds, M one in milliseconds, e an expiry option with its argument, o any option, p pattern, c cursor,
// d database, n offset, N name, I and A the id and address of a connection, C the name of a command; a * repeats up to
// four times. For HyperLogLogs: h key, E element, B many elements, H value, q offset, b bytes to write into one. Longer words stand for themselves.
type shapes struct {
	name   string // "object|encoding" for a subcommand
	weight int
	forms  []string
}

var commandShapes = []shapes{
	{"incr", 40, []string{"k"}},
	{"incrby", 40, []string{"k i"}},
	{"decr", 20, []string{"k"}},
	{"decrby", 20, []string{"k i"}},
	{"incrbyfloat", 30, []string{"k f"}},
	{"pfadd", 60, []string{"h E*", "h E", "h B", "h", "k E"}},
	{"pfcount", 40, []string{"h", "h h", "h*", "k h"}},
	{"pfmerge", 20, []string{"h h", "h h h", "h", "h*", "k h"}},
	{"pfdebug", 12, []string{"ENCODING h", "DECODE h", "GETREG h", "TODENSE h", "encoding k", "v h", "GETREG"}},
	{"get", 80, []string{"k", "h", "k"}},
	{"set", 100, []string{"k v", "k v o*", "k v e", "k v o e", "k v e o", "k i", "k f", "h H", "h H"}},
	{"getset", 10, []string{"k v"}},
	{"getdel", 15, []string{"k"}},
	{"getex", 25, []string{"k", "k e", "k o", "k e o", "k PERSIST"}},
	{"mget", 20, []string{"k*"}},
	{"mset", 20, []string{"k v", "k v k v", "k v k v k v", "v*"}},
	{"msetnx", 10, []string{"k v", "k v k v", "v*"}},
	{"strlen", 10, []string{"k", "h"}},
	{"append", 25, []string{"k v", "k i", "h b"}},
	{"getrange", 15, []string{"k i i", "k n n", "h q q"}},
	{"substr", 5, []string{"k i i"}},
	{"setrange", 30, []string{"k n v", "k i v", "h q b"}},
	{"setex", 15, []string{"k s v"}},
	{"psetex", 15, []string{"k m v"}},
	{"setnx", 15, []string{"k v"}},
	{"expire", 30, []string{"k s", "k s o", "k s o o"}},
	{"pexpire", 30, []string{"k m", "k m o", "k m o*"}},
	{"expireat", 15, []string{"k S", "k S o", "k S o o"}},
	{"pexpireat", 15, []string{"k M", "k M o", "k M o*"}},
	{"ttl", 30, []string{"k"}},
	{"pttl", 30, []string{"k"}},
	{"expiretime", 10, []string{"k"}},
	{"pexpiretime", 10, []string{"k"}},
	{"persist", 15, []string{"k"}},
	{"del", 20, []string{"k", "k*"}},
	{"unlink", 10, []string{"k", "k*"}},
	{"exists", 20, []string{"k", "k*"}},
	{"type", 10, []string{"k"}},
	{"move", 8, []string{"k d", "k i", "k v"}},
	{"touch", 8, []string{"k*"}},
	{"rename", 15, []string{"k k"}},
	{"renamenx", 15, []string{"k k"}},
	{"copy", 20, []string{"k k", "h h", "h h REPLACE", "k k o", "k k DB d", "k k DB d REPLACE", "k k REPLACE DB d", "k k o*"}},
	{"object|encoding", 15, []string{"k", "h"}},
	{"object|freq", 3, []string{"k"}},
	{"object|idletime", 3, []string{"k"}},
	{"object|refcount", 3, []string{"k"}},
	{"object|help", 1, []string{""}},
	{"randomkey", 8, []string{""}},
	{"dbsize", 10, []string{""}},
	{"keys", 15, []string{"p"}},
	{"scan", 20, []string{"c", "c o i", "c MATCH p COUNT 1000", "c COUNT i", "c MATCH p", "c TYPE string", "c TYPE v", "c o* i"}},
	{"flushdb", 3, []string{"", "o", "ASYNC", "SYNC"}},
	{"flushall", 2, []string{"", "o", "ASYNC", "SYNC"}},
	{"wait", 4, []string{"0 m", "0 0", "-1 i", "i i", "0 v", "1 1"}},
	{"memory|usage", 4, []string{"k", "k SAMPLES i", "k o v"}},
	{"memory|doctor", 1, []string{""}},
	{"memory|malloc-stats", 1, []string{""}},
	{"memory|purge", 1, []string{""}},
	{"memory|stats", 1, []string{""}},
	{"memory|help", 1, []string{""}},
	{"multi", 25, []string{""}},
	{"exec", 40, []string{""}},
	{"discard", 10, []string{""}},
	{"watch", 20, []string{"k", "k*"}},
	{"unwatch", 5, []string{""}},
	{"ping", 10, []string{"", "v", "v v"}},
	{"echo", 8, []string{"v"}},
	{"select", 15, []string{"d", "d", "i", "v"}},
	{"quit", 1, []string{"", "v"}},
	{"reset", 4, []string{""}},
	{"hello", 10, []string{"", "2", "3", "i", "v", "3 SETNAME N", "2 AUTH default secret", "3 AUTH default secret SETNAME N", "3 AUTH v v", "3 o*", "3 SETNAME N AUTH default v"}},
	{"auth", 4, []string{"v", "secret", "default secret", "default v", "v v", "v v v"}},
	{"client|getname", 5, []string{""}},
	{"client|setname", 5, []string{"N"}},
	{"client|id", 3, []string{""}},
	{"client|info", 3, []string{""}},
	{"client|list", 3, []string{"", "ID I", "ID I I", "ID I v", "TYPE NORMAL", "TYPE v", "TYPE PUBSUB", "o v", "o*"}},
	{"client|kill", 4, []string{"A", "ID I", "ID I SKIPME NO", "ID I SKIPME yes", "ADDR A", "ADDR A ID I", "TYPE NORMAL ID I", "TYPE PUBSUB", "USER default ID I",
		"USER v", "ID v", "TYPE v", "LADDR L ID I", "o v", "SKIPME v ID I", "127.0.0.1:1", "v"}},
	{"client|reply", 8, []string{"ON", "OFF", "SKIP", "SKIP", "o", "v"}},
	{"client|no-evict", 2, []string{"ON", "OFF", "o"}},
	{"client|pause", 3, []string{"0", "1", "1 ALL", "1 WRITE", "0 WRITE", "v", "-1", "1 o", "1 v WRITE"}},
	{"client|unpause", 2, []string{""}},
	{"client|help", 1, []string{""}},
	{"client|getredir", 1, []string{""}},
	{"client|trackinginfo", 1, []string{""}},
	{"client|tracking", 8, []string{"ON", "ON", "ON BCAST", "ON BCAST PREFIX a PREFIX k", "ON OPTIN", "ON OPTOUT", "ON NOLOOP", "ON PREFIX v", "ON OPTIN OPTOUT", "ON BCAST OPTIN", "ON REDIRECT 1999999999", "ON BCAST PREFIX a PREFIX ab", "ON NOLOOP x", "OFF", "off", "v", "OFF v", "OFF BCAST", "OFF PREFIX v NOLOOP", "OFF OPTIN REDIRECT", "OFF REDIRECT 0", "OFF REDIRECT -1", "OFF REDIRECT abc", "OFF REDIRECT 1999999999"}},
	{"client|caching", 1, []string{"YES", "NO", "v"}},
	{"client|unblock", 2, []string{"I", "999999", "v", "I TIMEOUT", "I ERROR", "I v", "I ERROR v"}},
	{"role", 1, []string{""}},
	{"replicaof", 1, []string{"NO ONE", "no one"}},
	{"slaveof", 1, []string{"NO ONE"}},
	{"readonly", 1, []string{""}},
	{"readwrite", 1, []string{""}},
	{"asking", 1, []string{""}},
	{"cluster|nodes", 1, []string{""}},
	{"cluster|slaves", 1, []string{"v"}},
	{"cluster|forget", 1, []string{"v"}},
	{"cluster|failover", 1, []string{"", "FORCE", "TAKEOVER", "v"}},
	{"cluster|meet", 1, []string{"127.0.0.1 7000", "127.0.0.1 7000 17000", "v v", "v i v"}},
	{"cluster|replicas", 1, []string{"v"}},
	{"cluster|getkeysinslot", 1, []string{"i i"}},
	{"cluster|countkeysinslot", 1, []string{"i"}},
	{"cluster|keyslot", 1, []string{"k"}},
	{"cluster|shards", 1, []string{""}},
	{"cluster|slots", 1, []string{""}},
	{"cluster|info", 1, []string{""}},
	{"cluster|links", 1, []string{""}},
	{"cluster|myid", 1, []string{""}},
	{"cluster|help", 1, []string{""}},
	{"command", 1, []string{""}},
	{"command|count", 1, []string{""}},
	{"command|docs", 2, []string{"C", "C C", "v"}},
	{"command|info", 3, []string{"C", "C C", "v", "C v"}},
	{"command|list", 2, []string{"", "FILTERBY ACLCAT string", "FILTERBY PATTERN p", "FILTERBY MODULE v", "FILTERBY o v", "FILTERBY ACLCAT v", "o*"}},
	{"command|getkeys", 8, []string{"set k v o*", "mset k v k v", "copy k k", "memory usage k", "del k*", "get k", "C k", "C k v", "mset v*", "ping v", "object encoding k", "watch k*"}},
	{"command|getkeysandflags", 8, []string{"set k v o*", "mset k v k v", "copy k k", "memory usage k", "del k*", "get k", "getex k o", "C k", "object encoding k", "set k v get"}},
	{"command|help", 1, []string{""}},
	{"config|get", 3, []string{"timeout", "databases", "maxmemory", "v", "requirepass appendonly", "nosuch", "TIMEOUT"}},
	{"config|set", 3, []string{"timeout 0", "tcp-keepalive 300", "nosuch 1", "timeout 0 timeout 0", "databases 3", "timeout 0 nosuch 1", "timeout x", "timeout 0 tcp-keepalive 300", "timeout"}},
	{"config|resetstat", 1, []string{""}},
	{"config|rewrite", 1, []string{""}},
	{"config|help", 1, []string{""}},
	{"info", 3, []string{"", "keyspace", "KEYSPACE server", "all", "everything", "default", "v", "cpu memory", "replication clients stats persistence"}},
	{"time", 1, []string{""}},
	{"lastsave", 1, []string{""}},
	{"function|delete", 2, []string{"v", "N"}},
	{"function|flush", 2, []string{"", "SYNC", "ASYNC", "o", "v"}},
	{"function|help", 1, []string{""}},
	{"function|kill", 1, []string{""}},
	{"function|list", 2, []string{"", "o", "LIBRARYNAME p", "WITHCODE", "o*"}},
	{"function|stats", 1, []string{""}},
	{"evalsha", 3, []string{"v 0", "v i k*", "0123456789012345678901234567890123456789 0", "0123456789012345678901234567890123456789 1 k v", "0123456789012345678901234567890123456789 i k*", "v"}},
	{"evalsha_ro", 2, []string{"v 0", "0123456789012345678901234567890123456789 i k*"}},
	{"script|exists", 1, []string{"v*", "0123456789012345678901234567890123456789"}},
	{"script|flush", 1, []string{"", "SYNC", "ASYNC", "o", "v"}},
	{"script|help", 1, []string{""}},
	{"script|kill", 1, []string{""}},
	{"acl|whoami", 2, []string{"", "v"}},
	{"acl|cat", 1, []string{"", "v", "v v"}},
	{"acl|dryrun", 6, []string{"default C", "default C k v", "default set k v o*", "default mget k*", "v get k", "default nosuch k", "default"}},
	{"acl|genpass", 1, []string{"", "i", "v", "0", "4096", "4097", "v v"}},
	{"acl|getuser", 1, []string{"default", "v"}},
	{"acl|list", 1, []string{""}},
	{"acl|users", 1, []string{""}},
	{"acl|load", 1, []string{""}},
	{"acl|save", 1, []string{"", "v"}},
	{"acl|help", 1, []string{""}},
	{"slowlog|get", 3, []string{"", "0", "-1", "i", "v", "1 2", "10"}},
	{"slowlog|len", 1, []string{"", "v"}},
	{"slowlog|reset", 1, []string{"", "v"}},
	{"slowlog|help", 1, []string{""}},
	{"latency|latest", 1, []string{"", "v"}},
	{"latency|history", 2, []string{"command", "fast-command", "v", "", "v v"}},
	{"latency|graph", 2, []string{"command", "v", "", "v v"}},
	{"latency|reset", 2, []string{"", "command", "v v", "v*"}},
	{"latency|histogram", 2, []string{"", "C", "v", "C C config", "nosuch"}},
	{"latency|doctor", 1, []string{"", "v"}},
	{"latency|help", 1, []string{""}},
	{"publish", 8, []string{"k v", "k v", "v v", "v", "v v v"}},
	{"spublish", 3, []string{"k v", "v v", "v"}},
	{"subscribe", 3, []string{"k", "k k", "k*", ""}},
	{"psubscribe", 2, []string{"p", "p p", "k", ""}},
	{"ssubscribe", 2, []string{"k", "k k", ""}},
	{"unsubscribe", 2, []string{"", "k", "k*"}},
	{"punsubscribe", 1, []string{"", "p", "p p"}},
	{"sunsubscribe", 1, []string{"", "k", "k*"}},
	{"pubsub|channels", 2, []string{"", "p", "v v"}},
	{"pubsub|numsub", 2, []string{"", "v*"}},
	{"pubsub|numpat", 1, []string{"", "v"}},
	{"pubsub|shardchannels", 1, []string{"", "p", "v v"}},
	{"pubsub|shardnumsub", 1, []string{"", "v*"}},
	{"pubsub|help", 1, []string{""}},
}

// rareShapes are called once in a long while, because they write to the disk.
var rareShapes = []shapes{
	{"save", 1, []string{""}},
	{"bgsave", 1, []string{"", "SCHEDULE", "v", "o v"}},
	{"bgrewriteaof", 1, []string{"", "v"}},
}

// excluded are commands that no sequence calls though Redis has them, with the reason. Those that it does not have are
// told by their entries.
var excluded = map[string]string{
	"shutdown":    "ends the server",
	"debug":       "is each server's own",
	"acl|setuser": "changes what all connections may do: TestUsersAgainstRedis",
	"acl|deluser": "closes connections: TestUsersAgainstRedis",
	"acl|log":     "has what all sequences were denied: TestUsersAgainstRedis",
	"pfselftest":  "takes Redis seconds",
	"monitor":     "shows what the oracle itself asks, too: tests of package server",
}
