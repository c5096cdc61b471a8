// Package count brings the records of one partition into Quipu, each exactly once, whatever the broker is.
//
// A partition is what has an order: a partition of Kafka or Pulsar, a file. Its records are added up into batches
// (package mapping), and each batch is one transaction that also moves the partition's position in Quipu (command
// INGEST): either both are applied, or nothing is. So nothing is kept here that must survive, and a second connector that reads the
// same partition by mistake does no harm: its transaction finds another position, and changes nothing.
package count

// Coord is where a record is in its partition.
//
//	        A        B       C             Epoch
//	Kafka   offset                         leader epoch
//	Pulsar  ledger   entry   batch index
//	file    line     byte behind the line
type Coord struct {
	A, B  int64
	C     int32
	Epoch int32
}

// Record is one record of a partition, or a marker.
type Record struct {
	Value   []byte
	At      Coord
	Skipped int64 // offsets before it that are invisible: aborted transactions, or compacted away
	Marker  bool  // the end of a transaction (Kafka): nothing to count, but the position goes on behind it
}
