// Package oracle compares Quipu with redis-server 7.0: random sequences of commands go to both, over several connections,
// and every reply must be the same bytes; messages (messages_test.go) must be the same at the end. Its tests are in its _test files; there is nothing to import.
//
// A sequence (sequence_test.go) is a list of steps: pipelines on one of a few connections, movements of the clock, full
// iterations by SCAN. gen_*_test.go make them from a seed; play_test.go runs one on both servers at once. Both start from
// no keys and fresh connections, and both clocks stand still but for the steps that move them: redis-server runs with
// testdata/clock.c preloaded, Quipu in the test's process on a clock of the test's.
//
// Where bytes cannot be the same, one of the rules (rules_test.go) checks what is promised instead. What fails is made
// short (shrink_test.go) and printed in the format of package scripts.
//
// Environment:
//
//	QUIPU_TEST_SEED        the seed a failure has printed
//	QUIPU_ORACLE_SEQUENCE  plays only the sequence of this number
//	QUIPU_ORACLE_COMMANDS  how many commands to run; also reports rules that no reply has needed
package oracle
