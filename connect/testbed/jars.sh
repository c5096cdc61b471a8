#!/usr/bin/env bash
# jars.sh NAME fetches the jars that NAME/pom.xml names (kafka: 56 MB, pulsar:
# 252 MB) from Maven into .tools/NAME/lib at the root of the checkout. It does
# nothing where they are there already. It needs Java and Maven.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tools=$(cd "$here/../.." && pwd)/.tools
name=${1:?"usage: jars.sh kafka|pulsar"}
pom=$here/$name/pom.xml

# The key is what Go's tests compare too: the SHA-256 of pom.xml, in hex.
if command -v sha256sum >/dev/null; then sum=(sha256sum); else sum=(shasum -a 256); fi
key=$("${sum[@]}" <"$pom" | cut -d ' ' -f 1)
done_file=$tools/$name.done
if [[ -e $done_file && $(<"$done_file") == "$key" ]]; then exit; fi
if ! command -v mvn >/dev/null; then
	echo "jars.sh: there is no mvn: install Maven (\`make tools\` does on Debian)" >&2
	exit 1
fi

mkdir -p "$tools"
fresh=$(mktemp -d "$tools/$name.new.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
echo "fetching the jars of $name; this is done once"
mvn -B -q -f "$pom" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fresh/lib"
chmod 755 "$fresh"
rm -rf "${tools:?}/$name" "$done_file"
mv "$fresh" "$tools/$name"
echo "$key" >"$done_file"

# A broker that ends in peace leaves an archive of the classes that it loaded, with
# which later starts take half the time. They work without it.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if JAVA_OPTIONS=-XX:ArchiveClassesAtExit=classes.jsa "$here/$name/start.sh" --dir "$scratch" --background; then
	"$here/stop.sh" "$scratch"
	mv "$scratch/classes.jsa" "$tools/$name/"
else
	echo "jars.sh: $name did not start on its usual ports: its starts will be slower" >&2
fi
