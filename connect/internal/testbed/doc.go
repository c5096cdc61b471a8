// Package testbed starts what the tests of connect run with, each as a process of its own, on the loopback interface only:
// brokers (Apache Kafka, Apache Pulsar, and kfake where there is no Java), PostgreSQL, nodes of Quipu built from the parent folder,
// and programs of this module.
//
// A process is killed when its test ends, and dies with the test process, however that dies. What it wrote is shown when the
// test fails. A function that gets a testing.TB, or belongs to a value that was made with one, ends the test when it cannot do
// what it promises; call it in the goroutine of the test, or in one that may be ended.
//
// PostgreSQL, and the brokers of Java, need what `make tools` installs, see testbed/README.md. Without it a test is skipped, or fails where
// Required says so.
package testbed
