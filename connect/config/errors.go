package config

import (
	"fmt"
	"strings"
)

// MaxErrors is how many mistakes are told at once.
const MaxErrors = 20

// Error is one mistake in a configuration file.
type Error struct {
	File string
	Line int // from 1; 0: the file as a whole
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Errors are all mistakes of a file, in the order of their lines, at most MaxErrors. Its text has one line for each.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Errorf is a mistake in a line of the source's file.
func (s *Source) Errorf(line int, format string, args ...any) *Error {
	return &Error{File: s.File, Line: line, Text: fmt.Sprintf(format, args...)}
}

// nearest is the one of names that word was probably meant to be: at most two letters differ. "" if none is.
func nearest(word string, names []string) string {
	best, found := 3, ""
	for _, name := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d < best && d < len(name) && d < len(word) {
			best, found = d, name
		}
	}
	return found
}

// distance is how many letters must be inserted, removed or changed to make b of a (Levenshtein).
func distance(a, b string) int {
	if len(a) > 100 {
		return len(a) // long words are no mistyped names
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
