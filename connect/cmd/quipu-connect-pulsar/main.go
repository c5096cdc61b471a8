// Program quipu-connect-pulsar is quipu-connect with Pulsar as a further kind of source. It is a program of its own because Pulsar's
// client is large.
package main

import (
	"os"

	"quipu/connect/app"
	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/files"
	"quipu/connect/kafka"
	"quipu/connect/pulsar"
)

func main() {
	os.Exit(app.Main("quipu-connect-pulsar", map[config.Kind]count.Kind{
		config.KindKafka: kafka.Kind, config.KindFile: files.Kind, config.KindPulsar: pulsar.Kind,
	}))
}
