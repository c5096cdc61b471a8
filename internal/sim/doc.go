// Package sim runs clusters of three or five nodes in one process, in virtual time: real Raft, state machines, batchers and
// peer connections, on a network and on disks that fail as a seed says. A seed takes about a second, and some seconds of
// virtual time; what was answered is checked against what clients know.
//
//	sim_test.go      seeds, faults, and what must hold in the end
//	clients_test.go  clients, and what each of them checks
//	node_test.go     a node: started, crashed, started again on what its disk has
//	network_test.go  connections with delays and cuts
//	disk_test.go     stores that lose what was not synced
//	log_test.go      the simulated log does what the real one does
package sim
