package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// Quipu is where to count, and how the connector comes in.
type Quipu struct {
	File string // where the block is, for errors
	Line int    // of its first line; 0: there is none

	Nodes    []string // addresses, at least one
	User     string   // "": the default user
	Password Secret   // "": none

	TLS        bool
	CA         string // path: the authorities that sign the nodes' certificates; "": those of the system
	Cert, Key  string // paths: what the connector shows of itself; "": nothing
	ServerName string // what the nodes' certificates are for; "": the host of each address
}

// Errorf is an error that names file and line of the block.
func (q *Quipu) Errorf(format string, args ...any) error {
	at := q.File
	if q.Line > 0 {
		at = fmt.Sprintf("%s:%d", q.File, q.Line)
	}
	return fmt.Errorf("%s: "+format, append([]any{at}, args...)...)
}

func (q *Quipu) mistake(format string, args ...any) Errors {
	return Errors{{File: q.File, Line: q.Line, Text: fmt.Sprintf(format, args...)}}
}

// TLSConfig reads the files that the block names. It is nil where nothing is said of TLS. The error is Errors.
func (q *Quipu) TLSConfig() (*tls.Config, error) {
	if !q.TLS {
		return nil, nil
	}
	c := &tls.Config{ServerName: q.ServerName}
	if q.CA != "" {
		text, err := readBounded(q.CA, maxSecret)
		if err != nil {
			return nil, q.mistake("tls-ca-cert-file: %v", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, q.mistake("tls-ca-cert-file: there is no certificate in %s", q.CA)
		}
	}
	if q.Cert != "" {
		pair, err := tls.LoadX509KeyPair(q.Cert, q.Key)
		if err != nil {
			return nil, q.mistake("tls-cert-file and tls-key-file: %v", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// quipuSetting is one that may stand in the block.
type quipuSetting struct {
	name  string
	usage string
	read  func(q *Quipu, args []string) error
}

var quipuSettings = []quipuSetting{
	{"user", "user NAME", quipuText(func(q *Quipu) *string { return &q.User })},
	{"password", "password env:NAME or password file:PATH", func(q *Quipu, args []string) error { return readSecret(&q.Password, args) }},
	{"tls", "tls yes or tls no", readQuipuTLS},
	{"tls-ca-cert-file", "tls-ca-cert-file PATH", quipuText(func(q *Quipu) *string { return &q.CA })},
	{"tls-cert-file", "tls-cert-file PATH", quipuText(func(q *Quipu) *string { return &q.Cert })},
	{"tls-key-file", "tls-key-file PATH", quipuText(func(q *Quipu) *string { return &q.Key })},
	{"tls-server-name", "tls-server-name NAME", quipuText(func(q *Quipu) *string { return &q.ServerName })},
}

// quipuText is for settings of one word.
func quipuText(field func(q *Quipu) *string) func(q *Quipu, args []string) error {
	return func(q *Quipu, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return errUsage
		}
		*field(q) = args[0]
		return nil
	}
}

func readQuipuTLS(q *Quipu, args []string) error {
	if len(args) != 1 || args[0] != "yes" && args[0] != "no" {
		return errUsage
	}
	q.TLS = args[0] == "yes"
	return nil
}

func (p *parser) beginQuipu(args []string) {
	if err := checkAddresses(args); err != nil {
		p.fail("quipu: %v", err)
	}
	p.cfg.Quipu.Line, p.cfg.Quipu.Nodes = p.line, args
	p.block = p.readQuipuLine
	p.finish = p.finishQuipu
}

func (p *parser) readQuipuLine(words []word) {
	name := words[0].text
	i := slices.IndexFunc(quipuSettings, func(s quipuSetting) bool { return s.name == name })
	if i < 0 {
		var all []string
		for _, s := range quipuSettings {
			all = append(all, s.name)
		}
		hint := "a quipu block knows " + strings.Join(all, ", ")
		if n := nearest(name, all); n != "" {
			hint = "did you mean " + n + "?"
		}
		p.fail("unknown setting %q; %s", name, hint)
		return
	}
	if !p.once(name) {
		return
	}
	switch err := quipuSettings[i].read(&p.cfg.Quipu, texts(words[1:])); err {
	case nil:
	case errUsage:
		p.fail("%s: write %s", name, quipuSettings[i].usage)
	default:
		p.fail("%v", err)
	}
}

// finishQuipu checks what only the whole block shows. A user without a password would be the default user: nothing is sent then.
func (p *parser) finishQuipu() {
	if line := p.settings["user"]; line > 0 && p.settings["password"] == 0 {
		p.failAt(line, "a user needs a password; add password env:NAME or password file:PATH")
	}
	for _, name := range []string{"tls-ca-cert-file", "tls-cert-file", "tls-key-file", "tls-server-name"} {
		if line := p.settings[name]; line > 0 && !p.cfg.Quipu.TLS {
			p.failAt(line, "%s needs tls yes", name)
		}
	}
	cert, key := p.settings["tls-cert-file"], p.settings["tls-key-file"]
	if (cert > 0) != (key > 0) {
		p.failAt(max(cert, key), "tls-cert-file and tls-key-file need each other; add %s", map[bool]string{true: "tls-key-file PATH", false: "tls-cert-file PATH"}[cert > 0])
	}
}

func (q *Quipu) print(b *strings.Builder) {
	printLine(b, "", "quipu", q.Nodes...)
	for _, s := range []struct{ name, value string }{
		{"user", q.User}, {"password", string(q.Password)}, {"tls", map[bool]string{true: "yes"}[q.TLS]},
		{"tls-ca-cert-file", q.CA}, {"tls-cert-file", q.Cert}, {"tls-key-file", q.Key}, {"tls-server-name", q.ServerName},
	} {
		if s.value != "" {
			printLine(b, "  ", s.name, s.value)
		}
	}
}
