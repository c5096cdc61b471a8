// Package redistest starts real servers for tests (Redis and Quipu, each as a process of its own, on the loopback interface
// only) and talks to them in raw RESP, so that a test can compare and judge bytes.
package redistest
