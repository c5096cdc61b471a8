// Package chaos has clients count on three real nodes while these are killed, frozen, cut off, wiped and restarted, and
// checks every reply: `make chaos`.
//
//	chaos_test.go    rounds of load and faults; what must hold behind them
//	faults_test.go   the faults
//	clients_test.go  the clients, and what each of them checks
package chaos
