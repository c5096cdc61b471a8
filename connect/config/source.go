package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// setting is one that may stand in a source.
type setting struct {
	name  string
	usage string
	kinds []Kind // of sources that know it; nil: all
	read  func(s *Source, args []string) error
}

var kafkaOnly, brokers, fileOnly = []Kind{KindKafka}, []Kind{KindKafka, KindPulsar}, []Kind{KindFile}

// settings are all but when, whose line has no words.
var settings = []setting{
	{"kafka", "kafka HOST:PORT [HOST:PORT …]", nil, readKafka},
	{"pulsar", "pulsar pulsar://HOST:PORT", nil, readPulsar},
	{"file", "file PATH", nil, oneText(func(s *Source) *string { return &s.Path })},
	{"topic", "topic NAME", brokers, oneText(func(s *Source) *string { return &s.Topic })},
	{"group", "group NAME, or group none", brokers, oneText(func(s *Source) *string { return &s.Group })},
	{"partitions", "partitions 0-3,7", kafkaOnly, one(func(s *Source, arg string) (err error) {
		s.Partitions, err = parsePartitions(arg)
		return err
	})},
	{"tls", "tls yes or tls no", kafkaOnly, choice("yes", "no", func(s *Source, yes bool) { s.TLS = yes })},
	{"user", "user NAME", kafkaOnly, oneText(func(s *Source) *string { return &s.User })},
	{"password", "password env:NAME or password file:PATH", kafkaOnly, func(s *Source, args []string) error { return readSecret(&s.Password, args) }},
	{"start", "start earliest or start latest", brokers, choice(string(StartLatest), string(StartEarliest), func(s *Source, latest bool) {
		if latest {
			s.Start = StartLatest
		}
	})},
	{"format", "format json or format csv", nil, choice(string(FormatCSV), string(FormatJSON), func(s *Source, csv bool) {
		s.Format = FormatJSON
		if csv {
			s.Format = FormatCSV
		}
	})},
	{"columns", "columns a,b,c", nil, one(func(s *Source, arg string) (err error) {
		s.Columns, err = parseColumns(arg)
		return err
	})},
	{"follow", "follow yes or follow no", fileOnly, choice("yes", "no", func(s *Source, yes bool) { s.Follow = yes })},
	{"on-gap", "on-gap stop or on-gap accept", nil, choice("accept", "stop", func(s *Source, accept bool) { s.AcceptGap = accept })},
	{"on-bad-record", "on-bad-record stop or on-bad-record park NAME", nil, readOnBadRecord},
	{"batch", "batch 20000", nil, one(readBatch)},
}

// errUsage is told with the setting's usage.
var errUsage = errors.New("wrong use")

// one is for settings of one word.
func one(read func(s *Source, arg string) error) func(s *Source, args []string) error {
	return func(s *Source, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return errUsage
		}
		return read(s, args[0])
	}
}

func oneText(field func(s *Source) *string) func(s *Source, args []string) error {
	return one(func(s *Source, arg string) error { *field(s) = arg; return nil })
}

func choice(yes, no string, set func(s *Source, yes bool)) func(s *Source, args []string) error {
	return one(func(s *Source, arg string) error {
		if arg != yes && arg != no {
			return errUsage
		}
		set(s, arg == yes)
		return nil
	})
}

func readKafka(s *Source, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	s.Brokers = args
	return checkAddresses(args)
}

func readPulsar(s *Source, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	s.URL = args[0]
	u, err := url.Parse(args[0])
	if err != nil || u.Scheme != "pulsar" && u.Scheme != "pulsar+ssl" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("%q is not a URL such as pulsar://127.0.0.1:6650", args[0])
	}
	return nil
}

func readOnBadRecord(s *Source, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "stop":
		s.Park = ""
	case len(args) == 2 && args[0] == "park":
		if !validName(args[1], ":") {
			return fmt.Errorf("the name %q is not valid: letters, digits, and - _ . : are, up to %d bytes", args[1], MaxName)
		}
		s.Park = args[1]
	default:
		return errUsage
	}
	return nil
}

func readBatch(s *Source, arg string) error {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 || n > MaxBatch {
		return fmt.Errorf("%q is not a number of records from 1 to %d", arg, MaxBatch)
	}
	s.Batch = n
	return nil
}

func isSetting(name string) bool {
	return name == "when" || slices.ContainsFunc(settings, func(s setting) bool { return s.name == name })
}

// settingNames are the names of all settings of a source.
func settingNames() []string {
	names := []string{"when"}
	for _, s := range settings {
		names = append(names, s.name)
	}
	return names
}

// readSourceLine reads a line of a source but for when: a setting, or a command.
func (p *parser) readSourceLine(words []word) {
	name := words[0].text
	i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
	if i < 0 {
		p.readCommand(words)
		return
	}
	if !p.once(name) {
		return
	}
	set := settings[i]
	switch err := set.read(p.source, texts(words[1:])); err {
	case nil:
	case errUsage:
		p.fail("%s: write %s", name, set.usage)
	default:
		p.fail("%s: %v", name, err)
	}
}

// readCommand reads a line that is no setting.
func (p *parser) readCommand(words []word) {
	info, known := LookupCommand(words[0].text)
	if !known {
		name := words[0].text
		all := settingNames()
		if n := nearest(name, append(all, commandNames()...)); n != "" {
			p.fail("unknown setting or command %q; did you mean %s?", name, n)
		} else {
			p.fail("unknown setting or command %q; settings are %s", name, strings.Join(all, ", "))
		}
		return
	}
	c := Command{Line: p.line}
	for i, w := range words {
		if w.quoted || w.text != expireWord || i == 0 {
			continue
		}
		if i != len(words)-2 {
			p.fail(`expire stands at the end, with a time, as in expire 400d; where it is meant as text, write "expire"`)
			return
		}
		d, err := parseDuration(words[i+1].text)
		if err != nil {
			p.fail("expire: %v", err)
			return
		}
		c.Expire = d
		words = words[:i]
		break
	}
	c.Words = append([]string{info.Name}, texts(words[1:])...)
	p.source.Commands = append(p.source.Commands, c)
}

// finishSource checks what only the whole block shows.
func (p *parser) finishSource() {
	s := p.source
	fail := func(format string, args ...any) {
		p.failAt(s.Line, "source %s: "+format, append([]any{s.Name}, args...)...)
	}
	var kinds []Kind
	for _, k := range []Kind{KindKafka, KindPulsar, KindFile} {
		if p.settings[string(k)] > 0 {
			kinds = append(kinds, k)
		}
	}
	if len(s.Commands) == 0 && !p.failedIn(s.Line) {
		fail("it counts nothing; add a command, such as INCRBY likes:{post_id} 1")
	}
	switch len(kinds) {
	case 0:
		fail("it does not say where records come from; add kafka HOST:PORT, pulsar pulsar://HOST:PORT or file PATH")
		return
	case 1:
		s.Kind = kinds[0]
	default:
		fail("it reads from one place, and here are %s and %s", kinds[0], kinds[1])
		return
	}
	for _, set := range settings {
		if line := p.settings[set.name]; line > 0 && set.kinds != nil && !slices.Contains(set.kinds, s.Kind) {
			p.failAt(line, "%s is not a setting of a source that reads from %s", set.name, s.Kind)
		}
	}
	p.finishTopic(s, fail)
	p.finishFormat(s, fail)
}

// failedIn reports whether there is a mistake from line on.
func (p *parser) failedIn(line int) bool {
	return slices.ContainsFunc(p.errs, func(e *Error) bool { return e.Line >= line })
}

func (p *parser) finishTopic(s *Source, fail func(format string, args ...any)) {
	if s.Kind == KindFile {
		return
	}
	if p.settings["topic"] == 0 {
		fail("the topic is missing; add topic NAME")
	}
	if s.Kind == KindPulsar {
		return
	}
	none := s.Group == "none"
	if none {
		s.Group = ""
	}
	switch partitions := p.settings["partitions"]; {
	case p.settings["group"] == 0:
		fail("the consumer group is missing; add group NAME, or group none and partitions 0-3")
	case none && partitions == 0:
		fail("with group none it needs partitions, such as partitions 0-3")
	case !none && len(s.Partitions) > 0 && s.Group != "":
		p.failAt(partitions, "the group %s assigns the partitions; partitions need group none", s.Group)
	}
	if user, password := p.settings["user"], p.settings["password"]; (user > 0) != (password > 0) {
		p.failAt(max(user, password), "user and password need each other; add %s", map[bool]string{true: "password env:NAME", false: "user NAME"}[user > 0])
	}
}

// finishFormat chooses the format by the name of a file where it is not given.
func (p *parser) finishFormat(s *Source, fail func(format string, args ...any)) {
	if p.settings["format"] == 0 {
		s.Format = FormatJSON
		if s.Kind == KindFile && strings.HasSuffix(strings.TrimSuffix(strings.ToLower(s.Path), ".gz"), ".csv") {
			s.Format = FormatCSV
		}
	}
	columns := p.settings["columns"]
	switch {
	case s.Format == FormatJSON && columns > 0:
		p.failAt(columns, "columns need format csv")
	case s.Format == FormatCSV && columns == 0 && s.Kind != KindFile:
		fail("records in CSV need the names of their columns; add columns a,b,c")
	}
}
