// Package app is the command line of quipu-connect and quipu-connect-pulsar: the same but for the kinds of sources they have.
package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/mapping"
	"quipu/connect/quipu"
	"quipu/connect/target"
)

// Program is what a command is run with.
type Program struct {
	Name  string
	Kinds map[config.Kind]count.Kind
	In    io.Reader
	Out   io.Writer
	Err   io.Writer
}

const usage = `%[1]s counts events from a log of events into Quipu, each exactly once, and keeps counts of Quipu in a database.

  %[1]s check FILE                 read the configuration and say what is wrong
  %[1]s test FILE [SOURCE] < records   print the commands that records come to; nothing is sent
  %[1]s run FILE                   count and write, until it is stopped (SIGTERM hands over; SIGHUP reads FILE again)
       -instance NAME                keeps its partitions when it is started again within 6 s
       -until-end                    stop when everything that is there now is counted and written
       -no-progress                  no progress on a terminal
  %[1]s status FILE                partitions: owner, position, end, lag, rate, identity, state; sinks: how far behind
       -once                         once, also on a terminal
  %[1]s accept FILE SOURCE[/N]     go on behind a gap, or with a topic that was created anew
       -at PLACE                     at this place, whatever is there (only with /N)
  %[1]s retry FILE SOURCE          count records that were set aside (on-bad-record park), once
  %[1]s recount FILE SOURCE        count SOURCE again from its beginning and compare; status 1 if a key differs
       -repair                       add what differs, once
       -force                        also where the recount may not be exact
       -base HOST:PORT               begin where a restored backup is, with what it has
       -passes N                     read SOURCE N times, each time for another part of its keys
       -keys N, -batch N             most keys in memory, and in a transaction
  %[1]s adopt FILE SINK            begin anew with the data that Quipu has now, whatever the database's rows are of
`

// ErrUsage is a command line that is not understood.
var ErrUsage = errors.New("usage")

// Main runs the program and returns its exit status: 0, 1 if it failed, 2 for a wrong command line or configuration.
func Main(name string, kinds map[config.Kind]count.Kind) int {
	p := &Program{Name: name, Kinds: kinds, In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := p.Run(ctx, os.Args[1:])
	var wrong config.Errors
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrUsage):
		fmt.Fprintf(p.Err, usage, p.Name)
		return 2
	case errors.As(err, &wrong):
		fmt.Fprintln(p.Err, err)
		return 2
	}
	fmt.Fprintf(p.Err, "%s: %v\n", p.Name, err)
	return 1
}

// Run runs one command.
func (p *Program) Run(ctx context.Context, args []string) error {
	commands := map[string]func(context.Context, []string) error{
		"check": p.check, "test": p.test, "run": p.run, "status": p.status, "accept": p.accept, "retry": p.retry,
		"recount": p.recount, "adopt": p.adopt,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return ErrUsage
	}
	return commands[args[0]](ctx, args[1:])
}

// parse reads flags and words of a command; there are from least to most words.
func (p *Program) parse(args []string, least, most int, define func(*flag.FlagSet)) ([]string, error) {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if define != nil {
		define(flags)
	}
	var words []string
	for len(args) > 0 { // flags may stand anywhere
		if err := flags.Parse(args); err != nil {
			return nil, ErrUsage
		}
		if args = flags.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	if len(words) < least || len(words) > most {
		return nil, ErrUsage
	}
	return words, nil
}

// load reads a configuration and everything that can be known without opening its sources.
func (p *Program) load(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	for _, src := range cfg.Sources {
		if _, known := p.Kinds[src.Kind]; !known {
			return nil, fmt.Errorf("%s:%d: %s has no sources of kind %s; %s has", src.File, src.Line, p.Name, src.Kind, other(src.Kind))
		}
		if needsHeader(src) {
			continue
		}
		if _, err := mapping.Compile(src); err != nil {
			return nil, err
		}
	}
	return cfg, checkSinks(cfg)
}

// checkSinks reads the URLs that stand in the file itself.
func checkSinks(cfg *config.Config) error {
	for _, s := range cfg.Sinks {
		if url, inFile := s.Literal(); inFile {
			if err := target.Check(url); err != nil {
				return fmt.Errorf("%s:%d: sink %s: %w", s.File, s.Line, s.Name, err)
			}
		}
	}
	return nil
}

func other(kind config.Kind) string {
	if kind == config.KindPulsar {
		return "quipu-connect-pulsar"
	}
	return "quipu-connect"
}

// needsHeader reports whether the columns are named by a line of the file, so that the commands can be judged only when it is open.
func needsHeader(src *config.Source) bool {
	return src.Format == config.FormatCSV && src.Columns == nil
}

// newClient returns a client of the Quipu that a configuration names, which has not connected yet.
func newClient(cfg *config.Config) (*quipu.Client, error) {
	q := &cfg.Quipu
	by := quipu.Access{User: q.User}
	if q.Password != "" {
		var err error
		if by.Password, err = q.Password.Resolve(); err != nil {
			return nil, q.Errorf("%w", err)
		}
	}
	var err error
	if by.TLS, err = q.TLSConfig(); err != nil {
		return nil, err
	}
	return quipu.New(q.Nodes, by), nil
}

// dial returns a client of the Quipu that a configuration names, unless that refuses it. A Quipu that does not answer is waited for by
// whatever is done with the client.
func (p *Program) dial(ctx context.Context, cfg *config.Config) (*quipu.Client, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	var refused *quipu.Refused
	switch err = c.Reach(ctx); {
	case err == nil || ctx.Err() != nil:
	case errors.As(err, &refused):
		c.Close()
		return nil, cfg.Quipu.Errorf("quipu %w", err)
	default:
		fmt.Fprintf(p.Err, "%s: %v; it is tried again\n", p.Name, cfg.Quipu.Errorf("quipu %w", err))
	}
	return c, nil
}

// job is a source with what is needed to count it.
func (p *Program) job(src *config.Source, client *quipu.Client, board *count.Board, log *slog.Logger) (*count.Job, error) {
	job := &count.Job{Source: src, Quipu: client, Board: board, Log: log.With("source", src.Name)}
	if needsHeader(src) {
		return job, nil
	}
	var err error
	job.Program, err = mapping.Compile(src)
	return job, err
}

// find is the source of a name "likes" or "likes/3", and the name of the partition, if there is one.
func find(cfg *config.Config, name string) (src *config.Source, partition string, err error) {
	source, _, one := strings.Cut(name, "/")
	for _, s := range cfg.Sources {
		if s.Name != source {
			continue
		}
		if one {
			partition = name
		}
		return s, partition, nil
	}
	return nil, "", fmt.Errorf("%s has no source %q", cfg.File, source)
}

func (p *Program) logger() *slog.Logger { return slog.New(slog.NewTextHandler(p.Err, nil)) }
