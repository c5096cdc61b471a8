package config

import (
	"slices"
	"strings"
)

// expireWord is the keyword that gives a command's key a deadline.
const expireWord = "expire"

// Keys says which words of a command are keys.
type Keys int

// Which words behind the name are keys.
const (
	FirstKey    Keys = iota // the first one
	TwoKeys                 // the first two
	AllKeys                 // all
	KeysInPairs             // every other one, from the first on
)

// CommandInfo is what is known of a command of the server.
type CommandInfo struct {
	Name     string // in capitals
	Min, Max int    // words, with the name; Max 0: any number
	Step     int    // words beyond Min come in groups of this size
	Keys     Keys
	Usage    string // what stands behind the name
	Refused  string // why it cannot stand in a source; "": it can
}

// writes are the commands that may stand in a source.
var writes = []CommandInfo{
	{"APPEND", 3, 3, 1, FirstKey, "key value", ""},
	{"CMS.INCRBY", 4, 0, 2, FirstKey, "key item increment [item increment ...]", ""},
	{"CMS.INITBYDIM", 4, 7, 1, FirstKey, "key width depth [CELL_SIZE bytes] [CONSERVATIVE]", ""},
	{"CMS.INITBYPROB", 4, 7, 1, FirstKey, "key error probability [CELL_SIZE bytes] [CONSERVATIVE]", ""},
	{"CMS.MERGE", 4, 0, 1, AllKeys, "destination numkeys source [source ...] [WEIGHTS weight]", ""},
	{"COPY", 3, 6, 1, TwoKeys, "source destination [DB destination-db] [REPLACE]", ""},
	{"DECR", 2, 2, 1, FirstKey, "key", ""},
	{"DECRBY", 3, 3, 1, FirstKey, "key decrement", ""},
	{"DEL", 2, 0, 1, AllKeys, "key [key ...]", ""},
	{"EXPIRE", 3, 4, 1, FirstKey, "key seconds [NX|XX|GT|LT]", ""},
	{"EXPIREAT", 3, 4, 1, FirstKey, "key unix-time-seconds [NX|XX|GT|LT]", ""},
	{"GETDEL", 2, 2, 1, FirstKey, "key", ""},
	{"GETEX", 2, 4, 1, FirstKey, "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]", ""},
	{"GETSET", 3, 3, 1, FirstKey, "key value", ""},
	{"INCR", 2, 2, 1, FirstKey, "key", ""},
	{"INCRBY", 3, 3, 1, FirstKey, "key increment", ""},
	{"INCRBYFLOAT", 3, 3, 1, FirstKey, "key increment", ""},
	{"INCREX", 2, 0, 1, FirstKey, "key [NX|XX] [BYINT increment|BYFLOAT increment] [LBOUND lowerbound] [UBOUND upperbound] …", ""},
	{"MOVE", 3, 3, 1, FirstKey, "key db", ""},
	{"MSET", 3, 0, 2, KeysInPairs, "key value [key value ...]", ""},
	{"MSETNX", 3, 0, 2, KeysInPairs, "key value [key value ...]", ""},
	{"PERSIST", 2, 2, 1, FirstKey, "key", ""},
	{"PEXPIRE", 3, 4, 1, FirstKey, "key milliseconds [NX|XX|GT|LT]", ""},
	{"PEXPIREAT", 3, 4, 1, FirstKey, "key unix-time-milliseconds [NX|XX|GT|LT]", ""},
	{"PFADD", 3, 0, 1, FirstKey, "key element [element ...]", ""},
	{"PFMERGE", 2, 0, 1, AllKeys, "destkey sourcekey [sourcekey ...]", ""},
	{"PSETEX", 4, 4, 1, FirstKey, "key milliseconds value", ""},
	{"RENAME", 3, 3, 1, TwoKeys, "key newkey", ""},
	{"RENAMENX", 3, 3, 1, TwoKeys, "key newkey", ""},
	{"SET", 3, 0, 1, FirstKey, "key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT …|PXAT …|KEEPTTL]", ""},
	{"SETEX", 4, 4, 1, FirstKey, "key seconds value", ""},
	{"SETNX", 3, 3, 1, FirstKey, "key value", ""},
	{"SETRANGE", 4, 4, 1, FirstKey, "key offset value", ""},
	{"TOPK.ADD", 3, 0, 1, FirstKey, "key item [item ...]", ""},
	{"TOPK.INCRBY", 4, 0, 2, FirstKey, "key item increment [item increment ...]", ""},
	{"TOPK.RESERVE", 3, 8, 1, FirstKey, "key topk [width depth decay] [SEED seed]", ""},
	{"UC.ADD", 3, 0, 1, FirstKey, "key item [item ...]", ""},
	{"UC.MERGE", 3, 0, 1, AllKeys, "destkey sourcekey [sourcekey ...]", ""},
	{"UC.RESERVE", 3, 3, 1, FirstKey, "key precision", ""},
	{"UNLINK", 2, 0, 1, AllKeys, "key [key ...]", ""},
}

// refused are other commands of the server, with the reason why they cannot stand in a source.
var refused = map[string]string{
	"it only reads": `CMS.INFO CMS.QUERY DBSIZE EVALSHA_RO EXISTS EXPIRETIME FEED GET GETRANGE HOTKEYS KEYS MEMORY MGET OBJECT PEXPIRETIME
		PFCOUNT PTTL RANDOMKEY SCAN STRLEN SUBSTR TOPK.COUNT TOPK.INFO TOPK.LIST TOPK.QUERY TOUCH TTL TYPE UC.COUNT UC.INFO`,
	"each batch is a transaction already": `DISCARD EXEC INGEST MULTI ONCE UNWATCH WATCH`,
	"it empties the database":             `FLUSHALL FLUSHDB`,
	"regions speak with it":               `REGION`,
	"it is for debugging":                 `DEBUG PFDEBUG PFSELFTEST`,
	"it writes no key": `ACL ASKING AUTH BACKUP BGREWRITEAOF BGSAVE CLIENT CLUSTER COMMAND CONFIG ECHO EVALSHA FUNCTION HELLO INFO
		LASTSAVE LATENCY MONITOR PING PSUBSCRIBE PUBLISH PUBSUB PUNSUBSCRIBE QUIT READONLY READWRITE REPLICAOF RESET ROLE SAVE SCRIPT
		SELECT SHUTDOWN SLAVEOF SLOWLOG SPUBLISH SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE TIME UNSUBSCRIBE WAIT WAITAOF`,
}

// LookupCommand finds a command of the server by its name, in capitals or not.
func LookupCommand(name string) (CommandInfo, bool) {
	name = strings.ToUpper(name)
	for _, c := range writes {
		if c.Name == name {
			return c, true
		}
	}
	for why, names := range refused {
		if slices.Contains(strings.Fields(names), name) {
			return CommandInfo{Name: name, Refused: why}, true
		}
	}
	return CommandInfo{}, false
}

// commandNames are the names of the commands that may stand in a source.
func commandNames() []string {
	var names []string
	for _, c := range writes {
		names = append(names, c.Name)
	}
	return names
}
