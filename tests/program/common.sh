# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the tests of this folder, which are called as TEST.sh SHARDBITS MPIRUN SOURCE.
set -u
shardbits=$1 mpirun=$2 source=$3
model=$source/data/demo-llama calib=$source/data/calib.bin heldout=$source/data/heldout.bin
export OMP_WAIT_POLICY=passive # without mpirun too: threads that spin take twenty times as long where they share a core
export ASAN_OPTIONS=detect_leaks=0 # of MPI's own, without mpirun; leaks are looked for in the unit tests
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failures=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}
run() { # RANKS ARGUMENT ...: quiet; stops the test when the program fails
  local ranks=$1
  shift
  "$mpirun" "$ranks" "$shardbits" "$@" --quiet >"$dir/out" 2>"$dir/err" || {
    echo "FAILED: shardbits $* on $ranks ranks"
    cat "$dir/err"
    exit 1
  }
}
cut_off() { # FILE PATTERN OUT ARGUMENT ...: on 3 ranks, killed without a chance to clean up when FILE has a line like PATTERN
  local file=$1 pattern=$2 out=$3 job
  shift 3
  "$mpirun" 3 -q "$shardbits" "$@" -o "$out" >"$dir/out" 2>"$dir/err" &
  job=$!
  for _ in $(seq 3000); do
    grep -q "$pattern" "$file" 2>/dev/null && break
    kill -0 $job 2>/dev/null || break
    sleep 0.01
  done
  pkill -KILL -f "^$shardbits .*$out"
  wait $job && echo "the run was done before it could be killed"
  [ -s "$file" ] || { fail "nothing was saved in $file: $(cat "$dir/err")"; finish; }
  rm -rf "$out"*
}
value() { # FILE KEY: of a report, at its top level
  sed -n "s/^  \"$2\": *\"\{0,1\}\([^\",]*\).*/\1/p" "$1"
}
finish() {
  [ $failures = 0 ] || exit 1
  echo "all as expected"
}
