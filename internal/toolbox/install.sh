#!/usr/bin/env bash
# Installs what the tests in other languages run with; see toolbox.go. It does
# nothing where everything is there. Debian packages need root: for anybody else
# the missing ones are named, and the rest is installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tools=$(cd "$here/../.." && pwd)/.tools
export DEBIAN_FRONTEND=noninteractive
exec </dev/null

# Installing redis-server may start it as a service: it is stopped again if it did
# not run before, as our tests start servers of their own.
install_debian() {
	local missing=() package probe redis_before=no
	while read -r package probe; do
		if [[ $package == "#" || $package == "" ]]; then continue; fi
		bash -c "$probe" >/dev/null 2>&1 || missing+=("$package")
	done <"$here/debian.txt"
	if ((${#missing[@]} == 0)); then return; fi
	if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
		echo "missing, to be installed by hand: ${missing[*]}" >&2
		return
	fi
	if pidof redis-server >/dev/null; then redis_before=yes; fi
	apt-get update -q
	apt-get install -y -q --no-install-recommends "${missing[@]}"
	if [[ " ${missing[*]} " == *" redis-server "* && $redis_before == no ]] && pidof redis-server >/dev/null; then
		service redis-server stop
	fi
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

install_debian
if command -v python3 >/dev/null; then unless_done python "$(python_key | sha256sum)" install_python; fi
if command -v npm >/dev/null; then unless_done node "$(node_key | sha256sum)" install_node; fi
echo "tools are installed"
