#!/usr/bin/env bash
# start.sh [--port 19092] [--controller-port PORT+1] [--dir FOLDER] [--background]
#
# Runs Apache Kafka on 127.0.0.1, on the data in FOLDER (default: .tools/kafka-data),
# and says when it is ready. With --background it returns then, the log is
# FOLDER/log.txt, and `../stop.sh FOLDER` ends it. The first run fetches the jars.
#
# Environment: JAVA, the program; JAVA_OPTIONS, further options of it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
name=kafka
port=19092 controller_port="" dir=$here/../../../.tools/kafka-data background=""
. "$here/../common.sh"

while (($# > 0)); do
	case $1 in
	--port) port=${2:?} && shift 2 ;;
	--controller-port) controller_port=${2:?} && shift 2 ;;
	--dir) dir=${2:?} && shift 2 ;;
	--background) background=yes && shift ;;
	--help) usage 0 ;;
	*) usage 2 >&2 ;;
	esac
done
: "${controller_port:=$((port + 1))}"
address=127.0.0.1:$port
prepare "$port" "$controller_port"

# The broker opens its port last.
ready() { answers "$port"; }

{
	cat "$here/server.properties"
	echo "listeners=PLAINTEXT://$address,CONTROLLER://127.0.0.1:$controller_port"
	echo "advertised.listeners=PLAINTEXT://$address"
	echo "controller.quorum.voters=1@127.0.0.1:$controller_port"
} >server.properties
if [[ ! -e data/meta.properties ]]; then
	"$java" "${always[@]}" -XX:TieredStopAtLevel=1 -Dlog4j2.level=error \
		kafka.tools.StorageTool format -t RlF1aXB1UXVpcHVRdWlwdQ -c server.properties >format.log 2>&1 ||
		{ cat format.log >&2 && exit 1; }
fi

serve -Xmx512m kafka.Kafka server.properties
