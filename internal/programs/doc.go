// Package programs runs what people count with on Redis, rate limiters and caches, against Quipu and against
// redis-server: the same expectations for both.
//
// testdata has a program for each, which uses it as its users do. It finds the server's port in PORT and its kind, quipu
// or redis, in SERVER; it prints a line for each check:
//
//	ok NAME
//	FAIL NAME: WHAT HAPPENED
//	done N
//
// A check whose name ends in "(scripting)" needs Lua. With Redis the feature works; with Quipu the check is that the
// program sees the error, or whatever it makes of it, that docs/compatibility.md names.
//
// With the argument "count" a program increments the counter "hits" from several threads or processes, while the server is
// killed and started again, until its standard input is closed; then it prints how often it was told that an
// increment took place: acknowledged N.
//
// What cannot be installed here is replayed from the commands it sends: traffic_test.go.
package programs
