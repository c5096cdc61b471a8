#!/usr/bin/env bash
# start.sh [--port 16650] [--admin-port 18080] [--bookie-port 13181] [--dir FOLDER] [--background]
#
# Runs Apache Pulsar standalone on 127.0.0.1, on the data in FOLDER (default:
# .tools/pulsar-data), and says when it is ready. With --background it returns then,
# the log is FOLDER/log.txt, and `../stop.sh FOLDER` ends it. The first run fetches
# the jars.
#
# Environment: JAVA, the program; JAVA_OPTIONS, further options of it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
name=pulsar
port=16650 admin_port=18080 bookie_port=13181 dir=$here/../../../.tools/pulsar-data background=""
. "$here/../common.sh"

while (($# > 0)); do
	case $1 in
	--port) port=${2:?} && shift 2 ;;
	--admin-port) admin_port=${2:?} && shift 2 ;;
	--bookie-port) bookie_port=${2:?} && shift 2 ;;
	--dir) dir=${2:?} && shift 2 ;;
	--background) background=yes && shift ;;
	--help) usage 0 ;;
	*) usage 2 >&2 ;;
	esac
done
address="pulsar://127.0.0.1:$port, http://127.0.0.1:$admin_port"
prepare "$port" "$admin_port" "$bookie_port"
if [[ $dir == *[^[:alnum:]/._-]* ]]; then
	echo "pulsar: the folder $dir cannot be in a URL, which Pulsar makes of it; choose one without spaces and the like" >&2
	exit 1
fi

# ready: the admin port knows the namespace that clients use by default.
ready() (
	exec 3<>"/dev/tcp/127.0.0.1/$admin_port"
	printf 'GET /admin/v2/namespaces/public HTTP/1.0\r\n\r\n' >&3
	[[ $(cat <&3) == *public/default* ]]
) 2>/dev/null

{
	cat "$here/standalone.conf"
	echo "brokerServicePort=$port"
	echo "webServicePort=$admin_port"
	# The bookie's; without it, it listens on all.
	if [[ $OSTYPE == darwin* ]]; then echo listeningInterface=lo0; else echo listeningInterface=lo; fi
} >standalone.conf

options=(-Xmx512m -XX:MaxDirectMemorySize=512m)
for package in java.base/java.io java.base/java.util.zip java.base/java.nio java.base/jdk.internal.misc java.base/sun.net \
	java.management/sun.management jdk.management/com.sun.management.internal java.base/jdk.internal.platform; do
	options+=(--add-opens "$package=ALL-UNNAMED")
done
drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadata
options+=(
	-Dbookkeeper.metadata.bookie.drivers="${drivers}BookieDriver"
	-Dbookkeeper.metadata.client.drivers="${drivers}ClientDriver"
	-Dio.netty.tryReflectionSetAccessible=true
	-Dlog4j.shutdownHookEnabled=false
)
serve "${options[@]}" org.apache.pulsar.PulsarStandaloneStarter \
	--config standalone.conf --no-functions-worker --no-stream-storage \
	--metadata-dir data/metadata --bookkeeper-dir data/bookkeeper --bookkeeper-port "$bookie_port"
