package config

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"quipu/protocol"
)

// Setting is one row of the table: how a value is read into a Config and shown again.
type Setting struct {
	Name    string // in lower case
	Default string // as text
	Fixed   bool   // cannot change while the node runs
	Summary string
	set     func(c *Config, v string) error
	get     func(c *Config) string
}

// Set reads a value of the setting into c. The error is a *ValueError where Redis has words of its own for it.
func (s *Setting) Set(c *Config, value string) error { return s.set(c, value) }

// Get is the value of the setting in c, as text that Set reads.
func (s *Setting) Get(c *Config) string { return s.get(c) }

// LoadsCertificates reports whether the certificates for clients have to be loaded when the setting is set, also to the
// value that it has.
func (s *Setting) LoadsCertificates() bool {
	return strings.HasPrefix(s.Name, "tls-") && !strings.HasPrefix(s.Name, "tls-handshake")
}

// Settings is the table of all settings, in the order of `quipu help`. It is not to be changed.
func Settings() []Setting { return settings }

// bulkMax is the highest limit on the length of an argument, in bytes: as long as the longest value that commands build,
// commands.MaxValueBytes, so that every value can also be sent.
const bulkMax = 8 << 20

var settings = slices.Concat([]Setting{
	intSetting("port", "6379", fixed, "TCP port; 0 for none", func(c *Config) *int { return &c.Port }, 0, 65535),
	listSetting("bind", "127.0.0.1 -::1", fixed, "addresses to listen on; * is all of IPv4, ::* all of IPv6; -address may be missing", func(c *Config) *[]string { return &c.Bind }),
	textSetting("unixsocket", "", fixed, "path of a unix socket; empty for none", func(c *Config) *string { return &c.UnixSocket }),
	octalSetting("unixsocketperm", "700", fixed, "permissions of the unix socket", func(c *Config) *int { return &c.UnixPerm }),
	textSetting("dir", "./quipu-data", fixed, "data directory", func(c *Config) *string { return &c.Dir }),
	intSetting("databases", "16", fixed, "number of databases", func(c *Config) *int { return &c.Databases }, 1, 1024),
	textSetting("requirepass", "", 0, "password of the default user; empty for none", func(c *Config) *string { return &c.RequirePass }),
	userSetting(),
	textSetting("aclfile", "", fixed, "file of users, as ACL SAVE writes it; empty for none", func(c *Config) *string { return &c.ACLFile }),
	intSetting("acllog-max-len", "128", 0, "entries of ACL LOG that are kept", func(c *Config) *int { return &c.ACLLogMax }, 0, 1<<16),
	enumSetting("acl-pubsub-default", 0, "a new user may use no channel", "resetchannels"),
	boolSetting("protected-mode", "yes", 0, "without a password, only loopback may connect", func(c *Config) *bool { return &c.ProtectedMode }),
	boolSetting("enable-debug-command", "no", fixed, "allow DEBUG from loopback", func(c *Config) *bool { return &c.DebugCommand }),
	levelSetting("loglevel", "notice", 0, "debug, verbose, notice or warning"),
	intSetting("maxclients", "10000", 0, "most clients at once", func(c *Config) *int { return &c.MaxClients }, 1, 1<<24),
	bytesSetting("maxmemory", "0", 0, "memory for data; writes are refused above it; 0 for no limit", func(c *Config) *int64 { return &c.MaxMemory }, 0, 1<<62),
	bytesSetting("maxmemory-clients", "512mb", 0, "memory for what clients have sent and not finished, queued and not read; above it those that take most are closed; 0 for no limit", func(c *Config) *int64 { return &c.MaxClientMemory }, 0, 1<<62),
	enumSetting("maxmemory-policy", 0, "a counter server does not forget counts: above maxmemory it refuses writes, and keys go by deadlines of their own", "noeviction"),
	secondsSetting("timeout", "0", 0, "seconds after which an idle client is closed; 0 for never", func(c *Config) *time.Duration { return &c.Timeout }),
	secondsSetting("tcp-keepalive", "300", 0, "seconds between TCP keepalive probes; 0 for none", func(c *Config) *time.Duration { return &c.TCPKeepalive }),
	intSetting("io-loops", "0", fixed, "event loops; 0 chooses from the number of processors", func(c *Config) *int { return &c.IOLoops }, 0, 256),
	choiceSetting("transport", "auto", fixed, "epoll, net (a goroutine per connection) or auto", func(c *Config) *string { return &c.Transport }, "auto", "epoll", "net"),
	textSetting("node-id", "", fixed, "a label of the node for people; its ID is random and kept in dir", func(c *Config) *string { return &c.NodeID }),
	textSetting("peer-addr", "", fixed, "host:port of the port for other nodes, under which they reach this one; empty for none", func(c *Config) *string { return &c.PeerAddr }),
	textSetting("peer-bind", "", fixed, "host:port to listen on for other nodes, where that is not peer-addr", func(c *Config) *string { return &c.PeerBind }),
	addressesSetting("join", fixed, "peer addresses of the cluster's nodes, or of all that found it together, separated by commas", func(c *Config) *[]string { return &c.Join }),
	intSetting("bootstrap-expect", "1", fixed, "how many empty nodes found a cluster together; also up to how many voters it grows by itself", func(c *Config) *int { return &c.BootstrapExpect }, 1, 9),
	durationSetting("checksum-interval", "10m", fixed, "how often the nodes of a cluster compare checksums of all keys; 0s: never", func(c *Config) *time.Duration { return &c.ChecksumEvery }, 0, 24*time.Hour),
	textSetting("peer-tls-cert-file", "", fixed, "certificate of this node for other nodes; needed where peer-addr is not on loopback", func(c *Config) *string { return &c.PeerCert }),
	textSetting("peer-tls-key-file", "", fixed, "its key", func(c *Config) *string { return &c.PeerKey }),
	textSetting("peer-tls-ca-cert-file", "", fixed, "the authority that signs the certificates of all nodes", func(c *Config) *string { return &c.PeerCA }),
	intSetting("tls-port", "0", fixed, "TCP port for TLS; 0 for none", func(c *Config) *int { return &c.TLS.Port }, 0, 65535),
	textSetting("tls-cert-file", "", 0, "certificate for clients, with those between it and the authority", func(c *Config) *string { return &c.TLS.CertFile }),
	textSetting("tls-key-file", "", 0, "its key", func(c *Config) *string { return &c.TLS.KeyFile }),
	textSetting("tls-ca-cert-file", "", 0, "the authorities that sign clients' certificates", func(c *Config) *string { return &c.TLS.CAFile }),
	textSetting("tls-ca-cert-dir", "", 0, "directory of files with authorities", func(c *Config) *string { return &c.TLS.CADir }),
	choiceSetting("tls-auth-clients", "yes", 0, "whether clients must show a certificate: yes, no, optional (one that is shown must be good)", func(c *Config) *string { return &c.TLS.AuthClients }, "no", "yes", "optional"),
	{"tls-protocols", "", false, "\"TLSv1.2 TLSv1.3\", or one of the two; empty: both", setTLSProtocols, func(c *Config) string { return c.TLS.Protocols }},
	boolSetting("tls-session-caching", "yes", 0, "clients may resume sessions, by tickets", func(c *Config) *bool { return &c.TLS.SessionCaching }),
	boolSetting("tls-cluster", "no", fixed, "clients that are sent to another node are told its tls-port", func(c *Config) *bool { return &c.TLS.Cluster }),
	durationSetting("tls-handshake-timeout", "10s", 0, "a client has this long for its TLS handshake", func(c *Config) *time.Duration { return &c.TLS.HandshakeTimeout }, 100*time.Millisecond, time.Hour),
	intSetting("tls-handshakes", "1024", 0, "most TLS handshakes at once; one more ends the oldest whose client keeps it waiting", func(c *Config) *int { return &c.TLS.Handshakes }, 1, 1<<20),
	refusedSetting("tls-key-file-pass", "", "keys with a passphrase are not supported: it would stand beside them"),
	refusedSetting("tls-client-cert-file", "", "nodes connect to each other with peer-tls-cert-file"),
	refusedSetting("tls-client-key-file", "", "nodes connect to each other with peer-tls-key-file"),
	refusedSetting("tls-client-key-file-pass", "", "keys with a passphrase are not supported: it would stand beside them"),
	refusedSetting("tls-dh-params-file", "", "keys are agreed on by elliptic curves"),
	refusedSetting("tls-replication", "no", "between nodes TLS is used with peer-tls-cert-file"),
	refusedSetting("tls-ciphers", "", "the ciphers are those that are safe, the quickest of both sides first"),
	refusedSetting("tls-ciphersuites", "", "the ciphers are those that are safe, the quickest of both sides first"),
	refusedSetting("tls-prefer-server-ciphers", "no", "the ciphers are those that are safe, the quickest of both sides first"),
	refusedSetting("tls-session-cache-size", "20480", "tickets hold the sessions, so there is no cache"),
	refusedSetting("tls-session-cache-timeout", "300", "tickets hold the sessions, so there is no cache"),
	boolSetting("cluster-enabled", "no", fixed, "send clients to the node that leads, as Redis Cluster does", func(c *Config) *bool { return &c.ClusterEnabled }),
	textSetting("cluster-announce-ip", "", fixed, "host under which clients reach this node; empty: that of peer-addr", func(c *Config) *string { return &c.AnnounceIP }),
	intSetting("cluster-announce-port", "0", fixed, "port under which clients reach this node; 0: port", func(c *Config) *int { return &c.AnnouncePort }, 0, 65535),
	ackSetting(),
	ackRuleSetting(),
	durationSetting("local-ack-interval", "10ms", 0, "how often increments answered from memory are handed to the log; one or two syncs later they are on disk", func(c *Config) *time.Duration { return &c.LocalInterval }, time.Millisecond, 10*time.Second),
	maxPendingSetting(),
	choiceSetting("read-consistency", "linearizable", 0, "linearizable: a read sees every write that was answered before; leader, local: what that node has applied", func(c *Config) *string { return &c.ReadConsistency }, "linearizable", "leader", "local"),
	{"http-addr", "", true, "host:port for browsers and tools: /console/, /feed (server-sent events), /metrics, /healthz, /readyz; empty: none", setHTTPAddr, func(c *Config) string { return c.HTTPAddr }},
	boolSetting("http-tls", "no", fixed, "http-addr is https, with certificates and demands as on tls-port", func(c *Config) *bool { return &c.TLS.HTTP }),
	boolSetting("console", "yes", 0, "http-addr has a page for browsers at /console/, which shows how the node does and changes nothing", func(c *Config) *bool { return &c.Console }),
	bytesSetting("feed-ring", "64mb", fixed, "memory for the keys that changed lately, which readers of FEED have yet to see; 0: no feed", func(c *Config) *int64 { return &c.FeedRing }, 0, 4<<30),
	durationSetting("write-timeout", "5s", fixed, "how long a write may wait for its commit", func(c *Config) *time.Duration { return &c.WriteTimeout }, 10*time.Millisecond, time.Hour),
	bytesSetting("snapshot-log-bytes", "0", fixed, "log bytes that trigger a snapshot; 0: max(256mb, 2 × last snapshot)", func(c *Config) *int64 { return &c.SnapshotBytes }, 0, 1<<40),
	bytesSetting("log-segment-bytes", "0", fixed, "size of a log segment; 0 chooses from the size of the disk", func(c *Config) *int64 { return &c.SegmentBytes }, 0, 1<<30),
	limitSetting("proto-max-bulk-len", "1mb", "longest argument", func(c *Config) *int { return &c.MaxBulk }, 1024, bulkMax),
	limitSetting("max-key-bytes", "4kb", "longest key", func(c *Config) *int { return &c.MaxKey }, 16, 64<<10-1),
	limitSetting("max-arguments", "65536", "most arguments of a command", func(c *Config) *int { return &c.MaxArguments }, 16, 1<<20),
	limitSetting("max-inline-bytes", "64kb", "longest inline command", func(c *Config) *int { return &c.MaxInline }, 1024, 1<<20),
	limitSetting("max-command-bytes", "8mb", "largest command or transaction", func(c *Config) *int { return &c.MaxCommand }, 64<<10, 8<<20),
	limitSetting("client-input-bytes", "1mb", "input waiting per client before reading pauses", func(c *Config) *int { return &c.ClientInput }, 64<<10, 64<<20),
	limitSetting("client-outstanding-bytes", "4mb", "unanswered writes per client before reading pauses", func(c *Config) *int { return &c.ClientOutstanding }, 64<<10, 64<<20),
	bytesSetting("outstanding-bytes", "256mb", 0, "unanswered writes of all clients before reading pauses", func(c *Config) *int64 { return &c.Outstanding }, 16<<20, 1<<40),
	limitSetting("client-output-pause-bytes", "1mb", "unsent replies per client before reading pauses", func(c *Config) *int { return &c.ClientOutputPause }, 64<<10, 64<<20),
	limitSetting("client-output-bytes", "32mb", "unsent replies per client before it is closed", func(c *Config) *int { return &c.ClientOutputMax }, 1<<20, 1<<30),
	limitSetting("client-push-bytes", "32mb", "messages of pub/sub and the like that may wait for a client before it is closed, or a quarter of it for a minute", func(c *Config) *int { return &c.ClientPush }, 64<<10, 1<<30),
	intSetting("tracking-table-max-keys", "1000000", 0, "keys that clients keep copies of (CLIENT TRACKING), with 512 bytes each on average; beyond that some are invalidated; 0: as many as possible, 16777216", func(c *Config) *int64 { return &c.TrackingKeys }, 0, math.MaxInt64),
	durationSetting("client-output-timeout", "60s", 0, "a client that reads nothing for this long is closed", func(c *Config) *time.Duration { return &c.OutputTimeout }, time.Second, time.Hour),
	durationSetting("command-timeout", "30s", 0, "a client that sends half a command and no more is closed after this", func(c *Config) *time.Duration { return &c.CommandTimeout }, time.Second, time.Hour),
	durationSetting("auth-timeout", "10s", 0, "a client must authenticate within this, where a password is set", func(c *Config) *time.Duration { return &c.AuthTimeout }, time.Second, time.Hour),
	intSetting("auth-failures-per-second", "5", 0, "failed authentications per second and address", func(c *Config) *int { return &c.AuthFailures }, 1, 1<<20),
	enumSetting("appendonly", 0, "every write is in the log", "yes"),
	enumSetting("appendfsync", 0, "the log is synced before every reply", "always"),
	enumSetting("save", 0, "snapshots follow the size of the log", ""),
	enumSetting("replica-read-only", 0, "there are no replicas that could be written to", "yes"),
	enumSetting("slave-read-only", 0, "the older name of replica-read-only", "yes"),
	notifySetting(),
	intSetting("slowlog-log-slower-than", "10000", 0, "microseconds of execution from which on a command is in SLOWLOG; 0: all are; -1: none is", func(c *Config) *int64 { return &c.SlowerThan }, -1, math.MaxInt64),
	intSetting("slowlog-max-len", "128", 0, "entries of SLOWLOG that are kept, and no more than 8 MiB of them", func(c *Config) *int64 { return &c.SlowLogMax }, 0, math.MaxInt64),
	intSetting("latency-monitor-threshold", "0", 0, "milliseconds from which on LATENCY notes what took that long; 0: nothing", func(c *Config) *int64 { return &c.LatencyThreshold }, 0, math.MaxInt64),
	boolSetting("latency-tracking", "yes", 0, "keep the times of commands by their names, for LATENCY HISTOGRAM and INFO latencystats", func(c *Config) *bool { return &c.LatencyTracking }),
	boolSetting("hotkeys", "yes", 0, "count which keys are used most, for HOTKEYS and OBJECT FREQ", func(c *Config) *bool { return &c.HotKeys }),
	{"latency-tracking-info-percentiles", "50 99 99.9", false, "percentiles that INFO latencystats shows, separated by blanks", setPercentiles, getPercentiles},
}, regionSettings())

const fixed = 1

// Lookup returns the setting of that name, given in lower case, or nil.
func Lookup(name string) *Setting {
	for i := range settings {
		if settings[i].Name == name {
			return &settings[i]
		}
	}
	return nil
}

// ValueError is why a setting does not take a value.
type ValueError struct {
	Text   string // in our words, for the command line
	Reason string // in those of CONFIG SET
}

func (e *ValueError) Error() string { return e.Text }

func notOneOf(v string, choices ...string) error {
	return &ValueError{fmt.Sprintf("%q is not one of %s", v, strings.Join(choices, ", ")), protocol.ConfigNotOneOf(choices...)}
}

func wholeNumber(v string, low, high int64) (int64, error) {
	text := fmt.Sprintf("%q is not a whole number from %d to %d", v, low, high)
	n, ok := protocol.ParseInt([]byte(v))
	switch {
	case !ok:
		return 0, &ValueError{text, protocol.ConfigNotInteger}
	case n < low || n > high:
		return 0, &ValueError{text, protocol.ConfigNotBetween(low, high)}
	}
	return n, nil
}

func intSetting[T int | int64](name, def string, flags int, summary string, field func(*Config) *T, low, high T) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error {
			n, err := wholeNumber(v, int64(low), int64(high))
			if err != nil {
				return err
			}
			*field(c) = T(n)
			return nil
		},
		func(c *Config) string { return strconv.FormatInt(int64(*field(c)), 10) }}
}

func octalSetting(name, def string, flags int, summary string, field func(*Config) *int) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error {
			n, err := strconv.ParseUint(v, 8, 12)
			if err != nil {
				return fmt.Errorf("%q is not an octal mode such as 700", v)
			}
			*field(c) = int(n)
			return nil
		},
		func(c *Config) string { return strconv.FormatInt(int64(*field(c)), 8) }}
}

func textSetting(name, def string, flags int, summary string, field func(*Config) *string) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error { *field(c) = v; return nil },
		func(c *Config) string { return *field(c) }}
}

func choiceSetting(name, def string, flags int, summary string, field func(*Config) *string, choices ...string) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error {
			for _, choice := range choices {
				if strings.EqualFold(v, choice) {
					*field(c) = choice
					return nil
				}
			}
			return notOneOf(v, choices...)
		},
		func(c *Config) string { return *field(c) }}
}

// enumSetting is a setting that has one possible value today: it is accepted and reported, and nothing else is.
func enumSetting(name string, flags int, summary, only string) Setting {
	return Setting{name, only, flags&fixed != 0, summary,
		func(_ *Config, v string) error {
			if strings.EqualFold(v, only) {
				return nil
			}
			return &ValueError{fmt.Sprintf("only %q is supported: %s", only, summary), protocol.ConfigNotOneOf(only)}
		},
		func(*Config) string { return only }}
}

func listSetting(name, def string, flags int, summary string, field func(*Config) *[]string) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error { *field(c) = strings.Fields(v); return nil },
		func(c *Config) string { return strings.Join(*field(c), " ") }}
}

// addressesSetting is a list separated by commas or blanks.
func addressesSetting(name string, flags int, summary string, field func(*Config) *[]string) Setting {
	return Setting{name, "", flags&fixed != 0, summary,
		func(c *Config, v string) error {
			*field(c) = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
			return nil
		},
		func(c *Config) string { return strings.Join(*field(c), ",") }}
}

func boolSetting(name, def string, flags int, summary string, field func(*Config) *bool) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error {
			switch strings.ToLower(v) {
			case "yes":
				*field(c) = true
			case "no":
				*field(c) = false
			default:
				return &ValueError{fmt.Sprintf("%q is neither yes nor no", v), protocol.ConfigNotBool}
			}
			return nil
		},
		func(c *Config) string {
			if *field(c) {
				return "yes"
			}
			return "no"
		}}
}

var logLevels = []struct {
	name  string
	level slog.Level
}{{"debug", slog.LevelDebug}, {"verbose", slog.LevelDebug + 2}, {"notice", slog.LevelInfo}, {"warning", slog.LevelWarn}}

func levelSetting(name, def string, flags int, summary string) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error {
			var names []string
			for _, l := range logLevels {
				if strings.EqualFold(v, l.name) {
					c.LogLevel = l.level
					return nil
				}
				names = append(names, l.name)
			}
			return notOneOf(v, names...)
		},
		func(c *Config) string {
			for _, l := range logLevels {
				if l.level == c.LogLevel {
					return l.name
				}
			}
			return def
		}}
}

func bytesSetting[T int | int64](name, def string, flags int, summary string, field func(*Config) *T, low, high T) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error {
			n, err := parseBytes(v)
			if err != nil {
				return err
			}
			if n < int64(low) || n > int64(high) {
				return &ValueError{fmt.Sprintf("%d bytes is not from %d to %d", n, low, high), protocol.ConfigNotBetween(int64(low), int64(high))}
			}
			*field(c) = T(n)
			return nil
		},
		func(c *Config) string { return strconv.FormatInt(int64(*field(c)), 10) }}
}

// limitSetting is a size in bytes that may change at run time.
func limitSetting(name, def, summary string, field func(*Config) *int, low, high int) Setting {
	return bytesSetting(name, def, 0, summary, field, low, high)
}

// userSetting may be given several times in one place, as in Redis: each is a name and rules. CONFIG GET does not show it: ACL LIST
// has the users, and here would be passwords.
func userSetting() Setting {
	return Setting{"user", "", true, "a user: name and rules, as in \"alice on >password ~app:* +@all\"; in force until users are changed by ACL commands",
		func(c *Config, v string) error {
			if c.usersFrom != c.source {
				c.usersFrom, c.Users = c.source, nil
			}
			if v != "" {
				c.Users = append(c.Users[:len(c.Users):len(c.Users)], v)
			}
			return nil
		},
		func(*Config) string { return "" }}
}

func secondsSetting(name, def string, flags int, summary string, field func(*Config) *time.Duration) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error {
			n, err := wholeNumber(v, 0, math.MaxInt32)
			if err != nil {
				return err
			}
			*field(c) = time.Duration(n) * time.Second
			return nil
		},
		func(c *Config) string { return strconv.Itoa(int(*field(c) / time.Second)) }}
}

func durationSetting(name, def string, flags int, summary string, field func(*Config) *time.Duration, low, high time.Duration) Setting {
	return Setting{name, def, flags&fixed != 0, summary,
		func(c *Config, v string) error {
			d, err := time.ParseDuration(v)
			if err != nil || d < low || d > high {
				return fmt.Errorf("%q is not a duration such as 5s, from %v to %v", v, low, high)
			}
			*field(c) = d
			return nil
		},
		func(c *Config) string { return field(c).String() }}
}

var byteUnits = []struct {
	suffix string
	factor int64
}{{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"k", 1000}, {"m", 1e6}, {"g", 1e9}, {"b", 1}, {"", 1}}

// parseBytes reads a size as redis.conf writes it: 1k is 1000 bytes, 1kb is 1024.
func parseBytes(v string) (int64, error) {
	low := strings.ToLower(v)
	for _, u := range byteUnits {
		digits, ok := strings.CutSuffix(low, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > (1<<62)/u.factor {
			break
		}
		return n * u.factor, nil
	}
	return 0, &ValueError{fmt.Sprintf("%q is not a size such as 512mb", v), protocol.ConfigNotMemory}
}

// maxPercentiles is the most percentiles that INFO shows.
const maxPercentiles = 32

func setPercentiles(c *Config, v string) error {
	words := strings.Fields(v)
	if len(words) > maxPercentiles {
		return &ValueError{fmt.Sprintf("%d percentiles, of at most %d", len(words), maxPercentiles), protocol.ConfigPercentiles}
	}
	list := make([]float64, len(words))
	for i, word := range words {
		var err error
		if list[i], err = percentile(word); err != nil {
			return err
		}
	}
	c.LatencyPercentiles = list
	return nil
}

func percentile(word string) (float64, error) {
	text := fmt.Sprintf("%q is not a number from 0 to 100", word)
	p, err := strconv.ParseFloat(word, 64)
	switch {
	case err != nil || math.IsNaN(p):
		return 0, &ValueError{text, protocol.ConfigPercentiles}
	case p < 0 || p > 100:
		return 0, &ValueError{text, protocol.ConfigPercentileRange}
	}
	return p, nil
}

func getPercentiles(c *Config) string {
	var list []string
	for _, p := range c.LatencyPercentiles {
		list = append(list, FormatPercentile(p))
	}
	return strings.Join(list, " ")
}

// FormatPercentile is a percentile as short as it can be told, such as 99.9.
func FormatPercentile(p float64) string { return strconv.FormatFloat(p, 'f', -1, 64) }

func setHTTPAddr(c *Config, v string) error {
	if v != "" {
		if _, port, ok := splitAddress(v); !ok || port == "" {
			return fmt.Errorf("%q is not host:port", v)
		}
	}
	c.HTTPAddr = v
	return nil
}
