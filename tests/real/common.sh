# For tests with a real model: NAME SHARDBITS MPIRUN. Two ranks of one thread each, quietly.
set -u
shardbits=$1 mpirun=$2 model=${SHARDBITS_SMOLLM2:-}
if [ ! -e "$model/config.json" ]; then
  echo "no model: SHARDBITS_SMOLLM2 is '$model'; it must name the folder that tools/get_smollm2.sh makes"
  exit 1
fi
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT

fail() {
  echo "FAILED: $*"
  exit 1
}
run() {
  "$mpirun" 2 "$shardbits" "$@" --threads 1 --quiet >"$dir/out" 2>"$dir/err" || fail "shardbits $*: $(cat "$dir/err")"
}
value() { # FILE KEY: of a report, at its top level
  sed -n "s/^  \"$2\": *\([^,]*\).*/\1/p" "$1"
}
