//go:build !race

package replication

// raceDetector lets tests that only repeat a random case do so less often.
const raceDetector = false
