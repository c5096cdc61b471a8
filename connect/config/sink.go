package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a sink's settings.
const (
	DefaultMatch = "*"
	DefaultEvery = 500 * time.Millisecond
	MinEvery     = 50 * time.Millisecond
	MaxEvery     = time.Hour
)

// Sink is a database that counts are kept in, and which of them.
type Sink struct {
	Name string
	File string // where the block is, for errors
	Line int    // of its first line

	Match string        // pattern of the keys, as in KEYS
	SQL   string        // a URL without a password, or env:NAME or file:PATH with one
	Every time.Duration // the longest that a change waits for others
}

// URL is where the database is: sqlite:PATH, or a URL of PostgreSQL. It reads the environment or the file, where the
// configuration says so; the error does not contain what it has read.
func (s *Sink) URL() (string, error) {
	text := s.SQL
	if isSecret(text) {
		var err error
		if text, err = Secret(text).resolve("URL of a database"); err != nil {
			return "", err
		}
		if !isDatabase(text) {
			return "", fmt.Errorf("what is in %s is not a URL of a database: sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE", s.SQL)
		}
	}
	return text, nil
}

// Literal is the URL, if it stands in the file itself.
func (s *Sink) Literal() (url string, inFile bool) { return s.SQL, !isSecret(s.SQL) }

// isDatabase reports whether a text is a URL of a database that a sink can write into.
func isDatabase(text string) bool {
	kind, rest, _ := strings.Cut(text, ":")
	return rest != "" && (kind == "sqlite" || (kind == "postgres" || kind == "postgresql") && strings.HasPrefix(rest, "//"))
}

// isSecret reports whether a text says where a secret is.
func isSecret(text string) bool {
	kind, name, _ := strings.Cut(text, ":")
	return (kind == "env" || kind == "file") && name != ""
}

// sinkSetting is one that may stand in a sink.
type sinkSetting struct {
	name  string
	usage string
	read  func(s *Sink, arg string) error
}

var sinkSettings = []sinkSetting{
	{"match", "match likes:*", func(s *Sink, arg string) error { s.Match = arg; return nil }},
	{"sql", "sql sqlite:PATH, sql postgres://USER@HOST/DATABASE, sql env:NAME or sql file:PATH", readSQL},
	{"every", "every 500ms", readEvery},
}

func readSQL(s *Sink, arg string) error {
	s.SQL = arg
	if isSecret(arg) {
		return nil
	}
	if !isDatabase(arg) {
		return errUsage
	}
	if strings.HasPrefix(arg, "sqlite:") {
		return nil
	}
	u, err := url.Parse(arg)
	if err != nil {
		return errors.New("this is not a URL of PostgreSQL, such as postgres://counter@127.0.0.1/likes") // it may hold a password
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") || u.Query().Has("sslpassword") {
		return errors.New("a password does not stand in this file: keep the URL elsewhere and write sql env:NAME or sql file:PATH")
	}
	return nil
}

func readEvery(s *Sink, arg string) (err error) {
	if text, ok := strings.CutSuffix(arg, "ms"); ok {
		var n uint64
		n, err = strconv.ParseUint(text, 10, 32)
		s.Every = time.Duration(n) * time.Millisecond
	} else {
		s.Every, err = parseDuration(arg)
	}
	if err != nil || s.Every < MinEvery || s.Every > MaxEvery {
		return fmt.Errorf("%q is not a time from 50ms to 1h, such as 500ms or 5s", arg)
	}
	return nil
}

func isSinkSetting(name string) bool {
	return slices.ContainsFunc(sinkSettings, func(s sinkSetting) bool { return s.name == name })
}

func (p *parser) beginSink(args []string) {
	s := &Sink{File: p.cfg.File, Line: p.line, Match: DefaultMatch, Every: DefaultEvery}
	s.Name = p.blockName("sink", "totals", args)
	p.sink = s
	p.cfg.Sinks = append(p.cfg.Sinks, s)
	p.block = p.readSinkLine
	p.finish = p.finishSink
}

func (p *parser) readSinkLine(words []word) {
	name := words[0].text
	i := slices.IndexFunc(sinkSettings, func(s sinkSetting) bool { return s.name == name })
	if i < 0 {
		var all []string
		for _, s := range sinkSettings {
			all = append(all, s.name)
		}
		hint := "a sink knows " + strings.Join(all, ", ")
		if n := nearest(name, all); n != "" {
			hint = "did you mean " + n + "?"
		}
		p.fail("unknown setting %q; %s", name, hint)
		return
	}
	if !p.once(name) {
		return
	}
	err := errUsage
	if len(words) == 2 && words[1].text != "" {
		err = sinkSettings[i].read(p.sink, words[1].text)
	}
	switch err {
	case nil:
	case errUsage:
		p.fail("%s: write %s", name, sinkSettings[i].usage)
	default:
		p.fail("%s: %v", name, err)
	}
}

// finishSink checks what only the whole block shows.
func (p *parser) finishSink() {
	if p.settings["sql"] == 0 {
		p.failAt(p.sink.Line, "sink %s: it does not say where to write; add sql sqlite:PATH, or sql env:NAME with a URL", p.sink.Name)
	}
}

func (s *Sink) print(b *strings.Builder) {
	if s.Match != DefaultMatch {
		printLine(b, "  ", "match", s.Match)
	}
	printLine(b, "  ", "sql", s.SQL)
	if s.Every != DefaultEvery {
		printLine(b, "  ", "every", formatEvery(s.Every))
	}
}

// formatEvery is readEvery the other way round.
func formatEvery(d time.Duration) string {
	if d%time.Second == 0 {
		return formatDuration(d)
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}
