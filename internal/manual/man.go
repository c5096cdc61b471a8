package manual

import (
	"fmt"
	"strings"

	"quipu/config"
)

// roff makes text safe for a manual page: a backslash and a hyphen stand for themselves, and so does what begins a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", `\&...`, "×", `\(mu`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

// page collects a manual page in the macros of man(7).
type page struct {
	strings.Builder
	fresh bool // a heading is the last thing on it
}

func newPage(name, section, summary string) *page {
	p := &page{}
	fmt.Fprintf(p, ".\\\" Made by `quipu generate %s.%s`: change the texts that it is made of.\n.TH %s %s \"\" Quipu \"Quipu manual\"\n", name, section, strings.ToUpper(name), section)
	p.heading("Name")
	fmt.Fprintf(p, "%s \\- %s\n", roff(name), roff(summary))
	return p
}

func (p *page) heading(title string) {
	fmt.Fprintf(p, ".SH %s\n", roff(strings.ToUpper(title)))
	p.fresh = true
}

func (p *page) text(text string) {
	if !p.fresh { // a paragraph begins with the section
		fmt.Fprintf(p, ".PP\n")
	}
	p.fresh = false
	fmt.Fprintf(p, "%s\n", roff(text))
}

// item is a term with, in italics, what follows it, and a paragraph.
func (p *page) item(term, args, text string) {
	p.fresh = false
	fmt.Fprintf(p, ".TP\n\\fB%s\\fR", roff(term))
	if args != "" {
		fmt.Fprintf(p, " \\fI%s\\fR", roff(args))
	}
	fmt.Fprintf(p, "\n%s\n", roff(text))
}

// example is text as it stands, such as commands.
func (p *page) example(lines ...string) {
	fmt.Fprintf(p, ".PP\n.nf\n.RS\n")
	for _, line := range lines {
		fmt.Fprintf(p, "%s\n", roff(line))
	}
	fmt.Fprintf(p, ".RE\n.fi\n")
}

// Man is quipu(1).
func (prog *Program) Man() string {
	p := newPage(prog.Name, "1", strings.TrimPrefix(prog.Summary, "a "))
	p.heading("Synopsis")
	for i, c := range prog.Commands {
		if i > 0 {
			fmt.Fprintf(p, ".br\n")
		}
		fmt.Fprintf(p, "\\fB%s %s\\fR %s\n", prog.Name, c.Name, roff(c.Usage))
	}
	p.heading("Description")
	p.text("Quipu counts: likes, views, votes, stock, quotas. It speaks the Redis protocol, so any Redis client can use it. A write is answered after it is on disk, on a majority of the nodes where there are several.")
	p.heading("Subcommands")
	for _, c := range prog.Commands {
		fmt.Fprintf(p, ".SS %s\n", roff(strings.TrimSpace(c.Name+" "+c.Usage)))
		fmt.Fprintf(p, "%s.\n", roff(strings.ToUpper(c.Summary[:1])+c.Summary[1:]))
		for _, w := range c.Words {
			p.item(w.Name, w.Args, w.Summary)
		}
		for _, f := range c.Flags {
			p.item("--"+f.Name, f.Arg, f.Summary)
		}
		if c.Server {
			fmt.Fprintf(p, "The settings are in\n.BR quipu.conf (5).\n")
		}
	}
	for _, n := range notes {
		p.heading(n.title)
		for _, item := range n.items {
			if item[0] == "" {
				p.text(item[1])
				continue
			}
			p.item(item[0], "", item[1])
		}
	}
	p.heading("Examples")
	p.text("A node with its data in ./quipu-data, and a client:")
	p.example("quipu server", "redis-cli INCR likes:post:1")
	p.text("The same from a configuration file, on another port:")
	p.example("quipu server /etc/quipu/quipu.conf --port 7000")
	p.heading("See also")
	fmt.Fprintf(p, ".BR quipu.conf (5),\n.BR redis\\-cli (1)\n")
	return p.String()
}

// ManConf is quipu.conf(5).
func ManConf() string {
	p := newPage("quipu.conf", "5", "settings of a Quipu node")
	p.heading("Description")
	p.text("A configuration file has lines \"name value\". Empty lines, and lines that begin with #, mean nothing. Words are quoted as in a file of Redis: in double quotes \\n, \\r, \\t, \\\" and \\xHH are escapes. " +
		"Sizes are 1k (1000 bytes), 1kb (1024), 100mb, 2gb; times are 10ms, 5s, 1h; some of Redis's are whole seconds.")
	p.text("\"include FILE\" reads another file, or all that fit a pattern, in place of the line. A file of Redis 7.0 is taken too: what changes nothing here is ignored with a warning, and what would silently lose data or open the server is refused with a reason.")
	p.text("Each setting is also a flag, --name value, and an environment variable, QUIPU_NAME with _ for -; flags count more than the environment, and that more than the file. Behind each name stands its default.")
	for _, section := range config.Sections() {
		p.heading(section.Title)
		if section.Intro != "" {
			p.text(section.Intro)
		}
		for i := range section.Settings {
			s := &section.Settings[i]
			p.item(s.Name, shownValue(s.Default), s.Summary+fixedNote(s))
		}
	}
	p.heading("Files")
	p.item("/etc/quipu/quipu.conf", "", "what quipu.service reads")
	p.heading("See also")
	fmt.Fprintf(p, ".BR quipu (1)\n")
	return p.String()
}
