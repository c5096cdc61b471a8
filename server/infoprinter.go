package server

import (
	"fmt"
	"strings"
)

// infoPrinter takes the lines of INFO: as text, or one by one where take is set.
type infoPrinter struct {
	b    strings.Builder
	take func(name, value string)
}

func (p *infoPrinter) line(name string, value any) {
	if p.take != nil {
		p.take(name, fmt.Sprint(value))
		return
	}
	fmt.Fprintf(&p.b, "%s:%v\r\n", name, value)
}

// zeros has lines that are 0 because there is nothing that could be counted: no Lua, no fork, no eviction.
func (p *infoPrinter) zeros(names ...string) {
	for _, name := range names {
		p.line(name, 0)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func okOrErr(err error) string {
	if err != nil {
		return "err"
	}
	return "ok"
}

// humanBytes prints a size as Redis does, with two decimals.
func humanBytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	f := float64(n)
	for _, unit := range "KMGT" {
		if f /= 1024; f < 1024 || unit == 'T' {
			return fmt.Sprintf("%.2f%c", f, unit)
		}
	}
	return ""
}
