package server

import (
	"fmt"
	"strings"
)

type infoPrinter struct{ b strings.Builder }

func (p *infoPrinter) line(name string, value any) { fmt.Fprintf(&p.b, "%s:%v\r\n", name, value) }

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
