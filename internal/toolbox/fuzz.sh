#!/usr/bin/env bash
# fuzz.sh TIME [K/N] runs every fuzz target of the modules for that long, one after the
# other, and stops at the first that fails; with K/N only the K-th of each N targets.
#
# Go before 1.27 sometimes fails a run just because its time is over, with nothing
# but "context deadline exceeded" (go.dev/issue/75804). Such a run is repeated; a
# failing input always names a file or a stack and is not.
set -euo pipefail
time=$1
share=${2:-1/1}
number=0
root=$(cd "$(dirname "$0")/../.." && pwd)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fuzz() { # package, target
	"${GO:-go}" test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 100x "$1" 2>&1 | tee "$log"
}

# deadline_only reports whether the log has nothing to say but that time is over.
deadline_only() {
	grep -Eqx ' +context deadline exceeded' "$log" &&
		! grep -Eqv '^(fuzz: elapsed: |--- FAIL: Fuzz| +context deadline exceeded$|FAIL|exit status 1$|warning: )' "$log"
}

for module in . connect; do
	cd "$root/$module"
	packages=$("${GO:-go}" list ./...)
	for package in $packages; do
		list=$("${GO:-go}" test -list '^Fuzz' "$package") # ends the script if a package does not build
		for target in $(grep '^Fuzz' <<<"$list" || true); do
			number=$((number + 1))
			(((number - ${share%/*}) % ${share#*/} == 0)) || continue
			echo "== $package $target $time"
			if ! fuzz "$package" "$target"; then
				deadline_only || exit 1
				echo "== $package $target: out of time without a failing input, once more"
				fuzz "$package" "$target"
			fi
		done
	done
done
