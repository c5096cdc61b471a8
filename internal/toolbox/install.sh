#!/usr/bin/env bash
# install.sh [pulsar] installs what the tests in other languages run with; see
# toolbox.go; and Apache Kafka, for the tests of connect. It does nothing where
# everything is there. Debian packages need root: for anybody else the missing ones
# are named, and the rest is installed. With "pulsar" it installs Apache Pulsar too:
# 252 MB, 2 to 3 minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$root/.tools
brokers=(kafka "$@")
export DEBIAN_FRONTEND=noninteractive
exec </dev/null

# Installing redis-server, etcd-server, prometheus or postgresql may start it as a service: what did not run
# before is stopped again, as our tests start servers of their own.
install_debian() {
	local missing=() started=() package probe
	while read -r package probe; do
		if [[ $package == "#" || $package == "" ]]; then continue; fi
		bash -c "$probe" >/dev/null 2>&1 || missing+=("$package")
	done <"$here/debian.txt"
	if ((${#missing[@]} == 0)); then return; fi
	if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
		echo "missing, to be installed by hand: ${missing[*]}" >&2
		return
	fi
	pidof redis-server >/dev/null || started+=(redis-server)
	pidof etcd >/dev/null || started+=(etcd)
	pidof prometheus >/dev/null || started+=(prometheus)
	pidof postgres >/dev/null || started+=(postgresql)
	apt-get update -q
	apt-get install -y -q --no-install-recommends "${missing[@]}"
	for service in "${started[@]}"; do
		if pidof "${service/postgresql/postgres}" >/dev/null; then service "$service" stop; fi
	done
}

# unless_done FOLDER KEY COMMAND…: runs the command, which fills .tools/FOLDER,
# unless it did so before with the same key.
unless_done() {
	local folder=$1 key=$2
	shift 2
	if [[ -e $tools/$folder.done && $(<"$tools/$folder.done") == "$key" ]]; then return; fi
	mkdir -p "$tools"
	rm -rf "${tools:?}/$folder" "$tools/$folder.done"
	"$@"
	echo "$key" >"$tools/$folder.done"
}

# The key names the folder, because a virtual environment cannot be moved.
python_key() { python3 --version; echo "$tools"; cat "$here/python/requirements.txt"; }

install_python() {
	python3 -m venv "$tools/python"
	"$tools/python/bin/pip" install -q --disable-pip-version-check -r "$here/python/requirements.txt"
}

node_key() { node --version; cat "$here/node/package-lock.json"; }

install_node() {
	mkdir -p "$tools/node"
	cp "$here"/node/{package.json,package-lock.json,.npmrc} "$tools/node/"
	(cd "$tools/node" && npm ci --ignore-scripts --no-fund --no-audit --loglevel=error)
}

install_java() {
	mvn -B -q -f "$here/java/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$tools/java"
}

install_debian
if command -v python3 >/dev/null; then unless_done python "$(python_key | sha256sum)" install_python; fi
if command -v npm >/dev/null; then unless_done node "$(node_key | sha256sum)" install_node; fi
if command -v java >/dev/null && command -v mvn >/dev/null; then
	unless_done java "$(sha256sum <"$here/java/pom.xml")" install_java
	# jars.sh has its own key.
	for broker in "${brokers[@]}"; do "$root/connect/testbed/jars.sh" "$broker"; done
fi
echo "tools are installed"
