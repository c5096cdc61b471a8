#!/usr/bin/env bash
# tool.sh CLASS ARGUMENT… runs a tool of Kafka's, by the name of its class, against the
# broker on port KAFKA_PORT (19092) of 127.0.0.1:
#
#   tool.sh TopicCommand --describe
#   tool.sh consumer.group.ConsumerGroupCommand --describe --all-groups
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
class=org.apache.kafka.tools.${1:?"usage: tool.sh CLASS ARGUMENT…"}
shift
"$here/../jars.sh" kafka
exec "${JAVA:-java}" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.level=error \
	-cp "$here/../../../.tools/kafka/lib/*" "$class" --bootstrap-server "127.0.0.1:${KAFKA_PORT:-19092}" "$@"
