// Package examples tests that the tour in README.md is true: it plays every
// command against a server of its own and compares what redis-cli prints.
package examples
