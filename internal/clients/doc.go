// Package clients runs Redis clients of other languages, with their default
// options, against Quipu and against redis-server: the same expectations for both.
//
// Each client has a folder with one program, written as that library's users
// write. The program gets three arguments: the port of a server, the path of the
// same server's unix socket, and the port of a second server that asks for the
// password "secret". It prints a line for each check, named as in checks_test.go:
//
//	ok NAME
//	FAIL NAME: WHAT HAPPENED
//	done N
//
// The last line counts the checks. A check that needs the first server killed and
// started again prints "restart" and goes on once it has read a line. The test
// demands exactly the checks of the list, so a program that ends early fails.
//
// Helpers for commands that Redis has in a module only are in programs of their own, sketches.*, for Quipu alone. Programs secure.*
// connect over TLS and log in as a user: see secure_test.go. Programs cluster.* use the library's client for Redis Cluster, and get
// the port of a node only: see cluster_mode_test.go. In Java, programs are classes that are named after their client, such
// as JedisSecure, and are compiled together: see java_test.go.
package clients
