// Package examples tests that README.md and the pages of the book are true: it types what they show, in a shell of each page's own, and
// compares what is printed. What the notes above blocks mean stands in internal/lint/examples_test.go, how a page is played in
// internal/redistest/page.go.
package examples
