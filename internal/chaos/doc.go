// Package chaos has clients count on three real nodes while these are killed, frozen, cut off, wiped and restarted, and
// checks every reply: `make chaos`. Or they count very much, and every increment is accounted for: `make soak`.
//
//	chaos_test.go    rounds of load and faults; what must hold behind them
//	faults_test.go   the faults
//	clients_test.go  the clients, and what each of them checks
//	local_test.go    the clients at ack level local
//	soak_test.go     the long count
package chaos
