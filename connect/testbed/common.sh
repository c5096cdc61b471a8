# What kafka/start.sh and pulsar/start.sh have in common; they source it. They set
# here (their folder), name, dir and background.

java=${JAVA:-java}

# usage STATUS prints the comment at the top of the script.
usage() {
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
	exit "$1"
}

# answers PORT: something listens there.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# prepare PORT… fetches the jars where they are missing, makes the folder of the data
# and goes there. Then always has the options for each run of Java.
prepare() {
	local port lib
	if ! command -v "$java" >/dev/null; then
		echo "$name: there is no $java: install Java 17 or newer (\`make tools\` does on Debian)" >&2
		exit 1
	fi
	"$here/../jars.sh" "$name"
	lib=$(cd "$here/../../../.tools/$name/lib" && pwd)
	always=(-XX:+UseSerialGC -XX:SharedArchiveFile="$lib/../classes.jsa" -cp "$lib/*")
	if [[ ! -e $lib/../classes.jsa ]]; then always=(-XX:+UseSerialGC -cp "$lib/*"); fi
	for port in "$@"; do
		if answers "$port"; then
			echo "$name: something else listens on port $port of 127.0.0.1" >&2
			exit 1
		fi
	done
	mkdir -p "$dir"
	cd "$dir"
	dir=$PWD
}

# await PID waits until `ready`, which the script defines, succeeds, or the process ends.
await() {
	local pid=$1
	while kill -0 "$pid" 2>/dev/null; do
		if ready; then
			echo "$name is ready: $address (process $pid, data in $dir)"
			return
		fi
		sleep 0.2
	done
	return 1
}

# serve ARGUMENT… runs Java: in the place of this script, or in the background, and
# then returns when the broker is ready. The property quipu.testbed marks the process
# for stop.sh. What kill -9 leaves behind (Pulsar's library of 13 MB) goes with the data.
serve() {
	local further
	rm -rf tmp && mkdir tmp
	read -ra further <<<"${JAVA_OPTIONS:-}"
	local command=("$java" "${always[@]}" -Dquipu.testbed="$dir" -Djava.io.tmpdir="$dir/tmp"
		-Dlog4j2.configurationFile="$here/../log4j2.properties" ${further[@]+"${further[@]}"} "$@")
	if [[ -z $background ]]; then
		echo "$$" >pid
		(await "$$" &)
		exec "${command[@]}"
	fi
	nohup "${command[@]}" </dev/null >>log.txt 2>&1 &
	echo "$!" >pid
	if ! await "$!"; then
		tail -n 20 log.txt >&2
		echo "$name ended before it was ready; its log is $dir/log.txt" >&2
		exit 1
	fi
}
