#!/usr/bin/env bash
# stop.sh FOLDER [SIGNAL] stops the broker that start.sh started with its data in
# FOLDER, by SIGTERM or by SIGNAL (KILL: as in a crash), and waits for its end. A
# process that start.sh did not start is left alone.
set -euo pipefail
dir=$(cd "${1:?"usage: stop.sh FOLDER [SIGNAL]"}" && pwd)
if [[ ! -e $dir/pid ]]; then
	echo "stop.sh: no broker was started in $dir" >&2
	exit 1
fi
pid=$(<"$dir/pid")
if [[ " $(ps -o args= -p "$pid" || true) " != *" -Dquipu.testbed=$dir "* ]]; then
	echo "stop.sh: the broker of $dir does not run" >&2
	exit 1
fi
kill -s "${2:-TERM}" "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
rm "$dir/pid"
