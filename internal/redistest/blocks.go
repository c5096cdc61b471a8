package redistest

import (
	"regexp"
	"strings"
)

// Block is a fenced block of a page in Markdown.
type Block struct {
	Language string // the first word behind the fence: console, sh, conf …
	File     string // the second one: the name of the file that the block is; "" for none
	Note     string // the comment in the line above the fence, without its brackets; "" for none
	Text     string
	Line     int // of the fence, from 1
}

// Notes above blocks; what stands behind NotRun is the reason.
const (
	OwnTerminal = "in a terminal of its own" // each of its lines goes on while what follows is typed
	NotRun      = "not run: "
	RunBy       = "run by " // and the name of a test
)

var commentLine = regexp.MustCompile(`^<!-- (.*) -->$`)

// Blocks returns the fenced blocks of a page.
func Blocks(page string) (list []Block) {
	above, in := "", false
	number := 0
	for line := range strings.Lines(page) {
		number++
		bare := strings.TrimRight(line, "\r\n")
		info, fence := strings.CutPrefix(bare, "```")
		switch {
		case fence && in:
			in, above = false, ""
		case fence:
			b := Block{Line: number}
			if m := commentLine.FindStringSubmatch(above); m != nil {
				b.Note = m[1]
			}
			b.Language, b.File, _ = strings.Cut(info, " ")
			list, in = append(list, b), true
		case in:
			list[len(list)-1].Text += line
		case bare != "":
			above = bare
		}
	}
	return list
}
