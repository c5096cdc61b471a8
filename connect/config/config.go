// Package config is the configuration file of quipu-connect: its grammar, its settings, and the names of the commands
// that may stand in it. It opens nothing but that file, and files with passwords and certificates when they are asked for.
//
// The file consists of lines. A line at the margin begins a block; the indented lines below belong to it:
//
//	quipu 127.0.0.1:6379
//
//	source likes
//	  kafka 127.0.0.1:9092
//	  topic likes
//	  group quipu-likes                 # shows the lag; positions are Quipu's
//	  when event == "like"
//	  INCRBY likes:{post_id} {weight|1}
//
//	sink totals
//	  match likes:*
//	  sql sqlite:likes.db
//
// Words are separated by blanks. A word that has blanks in it, or is empty, or begins with # or a quote, stands in
// double quotes, where \" and \\ are a quote and a backslash. A # at the beginning of a line or behind a blank begins a
// comment.
package config

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Limits of a file.
const (
	MaxBytes      = 1 << 20 // of a configuration file
	MaxName       = 100     // bytes of the name of a source or a sink, and of what records are parked under
	MaxBatch      = 100_000
	DefaultBatch  = 20_000
	DefaultNode   = "127.0.0.1:6379"
	maxSecret     = 64 << 10 // bytes of a file with a password, or with certificates
	maxPartitions = 10_000   // in one source
)

// Config is a configuration file.
type Config struct {
	File    string // the name it was parsed under
	Quipu   Quipu
	HTTP    string // address for metrics; "": none
	Sources []*Source
	Sinks   []*Sink
}

// Kind is where the records of a source come from.
type Kind string

// The kinds of sources.
const (
	KindKafka  Kind = "kafka"
	KindPulsar Kind = "pulsar"
	KindFile   Kind = "file"
)

// Format is how a record is written.
type Format string

// The formats of records.
const (
	FormatJSON Format = "json" // an object each
	FormatCSV  Format = "csv"  // fields as in RFC 4180, separated by commas
)

// Start is where a source begins that Quipu has no position of.
type Start string

// Where a source may begin.
const (
	StartEarliest Start = "earliest"
	StartLatest   Start = "latest"
)

// Source is where records come from, and what is counted of them. Which fields are set depends on Kind.
type Source struct {
	Name string
	File string // where the block is, for errors
	Line int    // of its first line

	Kind    Kind
	Brokers []string // KindKafka: addresses
	URL     string   // KindPulsar
	Path    string   // KindFile

	Topic      string   // KindKafka, KindPulsar
	Group      string   // KindKafka: "": none, Partitions says what to read; KindPulsar: the subscription, "": quipu-NAME
	Partitions []int32  // ascending, only without a group
	TLS        bool     // KindKafka
	User       string   // KindKafka, for SASL; "": none
	Password   Secret   // of User
	Start      Start    // KindKafka, KindPulsar
	Format     Format   //
	Columns    []string // FormatCSV; nil: the first line of the file names them
	Follow     bool     // KindFile: wait for more at its end

	AcceptGap bool   // on-gap accept: go on behind records that are gone
	Park      string // under which name coordinates of bad records are kept; "": stop at the first one
	Batch     int    // most records in a transaction

	When     Expression // Text "": every record counts
	Commands []Command  // at least one
}

// Expression is a condition in CEL.
type Expression struct {
	Text string
	Line int
}

// Command is a command with templates.
type Command struct {
	Line   int
	Words  []string      // the first one is its name, in capitals
	Expire time.Duration // how long the key is kept behind its bucket; 0: no deadline
}

// Secret says where a password, or a URL with one, is: env:NAME or file:PATH.
type Secret string

// Resolve reads the password from the environment or the file; an end of line behind it does not belong to it. The error
// does not contain it.
func (s Secret) Resolve() (string, error) { return s.resolve("password") }

// resolve reads the secret, which errors call what.
func (s Secret) resolve(what string) (string, error) {
	kind, name, _ := strings.Cut(string(s), ":")
	var text string
	switch kind {
	case "env":
		value, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("the environment variable %s, which should hold a %s, is not set", name, what)
		}
		text = value
	case "file":
		b, err := readBounded(name, maxSecret)
		if err != nil {
			return "", fmt.Errorf("%s: %w", what, err)
		}
		text = strings.TrimRight(string(b), "\r\n")
	default:
		return "", fmt.Errorf("a %s is read from env:NAME or file:PATH", what)
	}
	if text == "" {
		return "", fmt.Errorf("the %s in %s is empty", what, s)
	}
	return text, nil
}

// Load reads a configuration file. The error is Errors where its content is wrong.
func Load(path string) (*Config, error) {
	text, err := readBounded(path, MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	return Parse(path, text)
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}
