// Package lint holds the project's own rules as tests, so that a broken rule
// fails `go test` with a file and a line instead of waiting for a reviewer:
// which package may import which, calls that would make replicas differ,
// sizes of files and functions, doc comments, dependencies and links.
//
// The rules are in the test files. A justified exception goes into the list
// beside the rule, with its reason; an exception that is no longer needed
// fails as well.
package lint
