// Package config is the settings of a node: their table, and reading them from the command line, the environment and a
// file. It opens nothing but that file and those that it includes.
package config

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Config is every setting of a node. Each exists as a flag, as a line of the configuration file, as an environment
// variable QUIPU_NAME and in CONFIG GET; the table in settings.go ties the four together. A Config in use is never
// changed: CONFIG SET makes a changed copy.
type Config struct {
	Bind          []string
	Port          int // 0: no TCP listener, unless AnyPort
	AnyPort       bool
	UnixSocket    string
	UnixPerm      int
	Dir           string
	Databases     int
	RequirePass   string
	ProtectedMode bool
	DebugCommand  bool
	LogLevel      slog.Level

	MaxClients      int
	MaxMemory       int64 // bytes; 0: no limit
	MaxClientMemory int64 // bytes; 0: no limit
	Timeout         time.Duration
	TCPKeepalive    time.Duration
	IOLoops         int // 0: chosen from the number of processors
	Transport       string
	NodeID          string // a label
	WriteTimeout    time.Duration
	SnapshotBytes   int64 // log bytes that trigger a snapshot; 0: by default rule
	SegmentBytes    int64 // size of a log segment; 0: by size of the disk

	MaxBulk           int // bytes of one argument
	MaxKey            int // bytes of a key
	MaxArguments      int
	MaxInline         int // bytes of an inline command
	MaxCommand        int // bytes of a command or a transaction
	ClientInput       int // bytes waiting per client before reading pauses
	ClientOutstanding int // bytes of unanswered writes per client before reading pauses
	Outstanding       int64
	ClientOutputPause int // unsent bytes per client before reading pauses
	ClientOutputMax   int // unsent bytes per client before it is closed
	Notify            Notify
	ClientPush        int // bytes of messages that wait for a client before it is closed
	TrackingKeys      int64
	OutputTimeout     time.Duration
	CommandTimeout    time.Duration // for the rest of a command that has begun
	AuthTimeout       time.Duration
	AuthFailures      int    // per second and address
	ACLFile           string // users, for ACL LOAD and SAVE; empty: none
	ACLLogMax         int    // entries of ACL LOG

	SlowerThan         int64     // microseconds, of SLOWLOG; 0: every command, -1: none
	SlowLogMax         int64     // entries
	LatencyThreshold   int64     // milliseconds, of LATENCY; 0: never
	HotKeys            bool      // which keys are used most is counted
	LatencyTracking    bool      // histograms of commands
	LatencyPercentiles []float64 // of INFO latencystats; never changed in place

	Users     []string // lines "name rule …"; never changed in place
	usersFrom int      // the source that Users are from
	File      string   // the configuration file it was loaded from; empty: none
	Ignored   []Ignored

	PeerAddr        string   // empty: no peer port
	PeerBind        string   // empty: PeerAddr
	Join            []string // peer addresses
	BootstrapExpect int
	ChecksumEvery   time.Duration
	PeerCert        string // files in PEM; empty: no TLS between nodes
	PeerKey         string
	PeerCA          string
	TLS             TLS    // for clients
	ClusterEnabled  bool   // whether clients are redirected to the node that serves a key
	AnnounceIP      string // empty: the host of PeerAddr
	AnnouncePort    int    // 0: Port
	HTTPAddr        string // host:port; empty: none
	Console         bool   // whether it has the console
	FeedRing        int64  // bytes; 0: no feed
	Regions         Regions
	ReadConsistency string // linearizable, leader or local

	AckLocal      bool      // whether keys that no rule matches are at ack level local
	AckRules      []AckRule // never changed in place
	LocalInterval time.Duration
	LocalMaxAge   time.Duration
	LocalMaxBytes int64
	source        int // counts the places that settings come from
	rulesFrom     int // the one that AckRules are from
}

// Default is the configuration of a node that is told nothing.
func Default() Config {
	var c Config
	for i := range settings {
		if err := settings[i].Set(&c, settings[i].Default); err != nil {
			panic(fmt.Sprintf("BUG: default of %s: %v", settings[i].Name, err))
		}
	}
	return c
}

// Load builds a configuration from, in rising order of precedence, the defaults, the configuration file that args
// may begin with, the environment and the flags in args ("--port 7000 --bind 127.0.0.1 -::1").
func Load(args, environ []string) (Config, error) {
	c := Default()
	if len(args) > 0 && !strings.HasPrefix(args[0], "--") {
		c.File = args[0]
		c.NextSource()
		if err := c.loadFile(args[0], 0); err != nil {
			return c, err
		}
		args = args[1:]
	}
	if err := c.loadEnviron(environ); err != nil {
		return c, err
	}
	if err := c.loadFlags(args); err != nil {
		return c, err
	}
	return c, c.Validate()
}

func (c *Config) loadEnviron(environ []string) error {
	c.NextSource()
	for _, kv := range environ {
		key, value, _ := strings.Cut(kv, "=")
		name, ok := strings.CutPrefix(key, "QUIPU_")
		if !ok {
			continue
		}
		name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if Lookup(name) == nil {
			continue // other programs' variables may share the prefix
		}
		if err := c.Set(name, value); err != nil {
			return fmt.Errorf("environment variable %s: %w", key, err)
		}
	}
	return nil
}

func (c *Config) loadFlags(args []string) error {
	c.NextSource()
	for i := 0; i < len(args); {
		name, ok := strings.CutPrefix(args[i], "--")
		if !ok {
			return fmt.Errorf("unexpected argument %q: flags begin with --", args[i])
		}
		i++
		var values []string
		if n, v, found := strings.Cut(name, "="); found {
			name, values = n, []string{v}
		} else {
			for i < len(args) && !strings.HasPrefix(args[i], "--") {
				values = append(values, args[i])
				i++
			}
			if len(values) == 0 {
				return fmt.Errorf("flag --%s needs a value", name)
			}
		}
		if err := c.Set(name, strings.Join(values, " ")); err != nil {
			return err
		}
	}
	return nil
}

// Set changes one setting by name; the error says what is wrong with the name or the value.
func (c *Config) Set(name, value string) error {
	s := Lookup(strings.ToLower(name))
	if s == nil {
		return fmt.Errorf("unknown setting %q", name)
	}
	if err := s.Set(c, value); err != nil {
		return fmt.Errorf("setting %s: %w", s.Name, err)
	}
	return nil
}

// NextSource says that what is set from now on comes from another place than what was set before: settings that add up
// within one place begin anew.
func (c *Config) NextSource() { c.source++ }

// Validate checks what concerns several settings together.
func (c *Config) Validate() error {
	if (c.Port == 0 && c.TLS.Port == 0 && !c.AnyPort || len(c.Bind) == 0) && c.UnixSocket == "" {
		return fmt.Errorf("neither port or tls-port and bind nor unixsocket are set: nobody could connect")
	}
	if c.MaxCommand < c.MaxBulk {
		return fmt.Errorf("max-command-bytes (%d) is below proto-max-bulk-len (%d)", c.MaxCommand, c.MaxBulk)
	}
	if c.ClientOutputMax < c.ClientOutputPause {
		return fmt.Errorf("client-output-bytes (%d) is below client-output-pause-bytes (%d)", c.ClientOutputMax, c.ClientOutputPause)
	}
	if c.ACLFile != "" && len(c.Users) > 0 {
		return fmt.Errorf("both aclfile and user are set: list the users in the file, or in the configuration")
	}
	if err := c.ValidateTLS(); err != nil {
		return err
	}
	if err := c.validateRegions(); err != nil {
		return err
	}
	return c.validateCluster()
}
