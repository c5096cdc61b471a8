//go:build nextlevel

package replication

// SemanticsLevel of a program that knows a level more than this one does: tests upgrade a cluster to it.
const SemanticsLevel uint16 = 4
