// Program quipu-connect counts events from Kafka and from files into Quipu, each exactly once. docs/events.md shows how.
package main

import (
	"os"

	"quipu/connect/app"
	"quipu/connect/config"
	"quipu/connect/count"
	"quipu/connect/files"
	"quipu/connect/kafka"
)

var kinds = map[config.Kind]count.Kind{config.KindKafka: kafka.Kind, config.KindFile: files.Kind}

func main() { os.Exit(app.Main("quipu-connect", kinds)) }
