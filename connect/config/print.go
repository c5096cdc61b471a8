package config

import (
	"fmt"
	"strings"
)

// String writes the configuration so that Parse reads it again. Settings that have their default value are left out.
func (c *Config) String() string {
	var b strings.Builder
	c.Quipu.print(&b)
	if c.HTTP != "" {
		printLine(&b, "", "http", c.HTTP)
	}
	for _, s := range c.Sources {
		b.WriteByte('\n')
		printLine(&b, "", "source", s.Name)
		s.print(&b)
	}
	for _, s := range c.Sinks {
		b.WriteByte('\n')
		printLine(&b, "", "sink", s.Name)
		s.print(&b)
	}
	return b.String()
}

func printLine(b *strings.Builder, indent, name string, args ...string) {
	b.WriteString(indent + name)
	for _, arg := range args {
		b.WriteString(" " + quoteWord(arg))
	}
	b.WriteByte('\n')
}

func (s *Source) print(b *strings.Builder) {
	line := func(name string, args ...string) { printLine(b, "  ", name, args...) }
	unless := func(skip bool, name string, args ...string) {
		if !skip {
			line(name, args...)
		}
	}
	switch s.Kind {
	case KindKafka:
		line("kafka", s.Brokers...)
	case KindPulsar:
		line("pulsar", s.URL)
	default:
		line("file", s.Path)
	}
	unless(s.Topic == "", "topic", s.Topic)
	unless(s.Group == "", "group", s.Group)
	if len(s.Partitions) > 0 {
		line("group", "none")
		line("partitions", formatPartitions(s.Partitions))
	}
	unless(!s.TLS, "tls", "yes")
	unless(s.User == "", "user", s.User)
	unless(s.Password == "", "password", string(s.Password))
	unless(s.Start == StartEarliest, "start", string(s.Start))
	line("format", string(s.Format))
	unless(len(s.Columns) == 0, "columns", strings.Join(s.Columns, ","))
	unless(s.Follow, "follow", "no")
	unless(!s.AcceptGap, "on-gap", "accept")
	unless(s.Park == "", "on-bad-record", "park", s.Park)
	unless(s.Batch == DefaultBatch, "batch", fmt.Sprint(s.Batch))
	if s.When.Text != "" {
		b.WriteString("  when " + s.When.Text + "\n")
	}
	for _, c := range s.Commands {
		if c.Expire == 0 {
			line(c.Words[0], c.Words[1:]...)
			continue
		}
		b.WriteString("  " + c.Words[0])
		for _, w := range c.Words[1:] {
			b.WriteString(" " + quoteWord(w))
		}
		fmt.Fprintf(b, " %s %s\n", expireWord, formatDuration(c.Expire))
	}
}
