# shellcheck shell=bash disable=SC2034
# Sourced by the tests that are scripts, which are called as TEST.sh SHARDBITS MPIRUN SOURCE [ARGUMENT ...].
set -u
shardbits=$1 mpirun=$2 source=$3
model=$source/data/demo-llama calib=$source/data/calib.bin heldout=$source/data/heldout.bin
tiny=$source/tests/golden/gqa-tied tiny_tokens=$source/tests/golden/gqa-tied/tokens.bin
export OMP_WAIT_POLICY=passive # without mpirun too: threads that spin take twenty times as long where they share a core
export ASAN_OPTIONS=detect_leaks=0 # of MPI's own, without mpirun; leaks are looked for in the unit tests
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
out=$dir/OUT # where something may be written
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
# tell RANKS ARGUMENT ...: runs the program ("1": without mpirun) for at most a minute: $code, $dir/stdout, $dir/stderr. Ranks that agree on
# a failure end together, so mpirun is told not to give them a second before it kills what is left.
tell() {
  local ranks=$1
  shift
  if [ "$ranks" = 1 ]; then
    timeout 60 "$shardbits" "$@" --quiet >"$dir/stdout" 2>"$dir/stderr"
  else
    OMPI_MCA_odls_base_sigkill_timeout=0 timeout 60 "$mpirun" "$ranks" -q "$shardbits" "$@" --quiet >"$dir/stdout" 2>"$dir/stderr"
  fi
  code=$?
  sed -i '/^\[warn\] Epoll MOD/d' "$dir/stderr" # Open MPI's own, now and then
}
# one_line WHAT TEXT [CODE]: exit code 1, or CODE, and one line on stderr, ours, that holds TEXT
one_line() {
  [ "$code" = "${3:-1}" ] || fail "$1: exit code $code, expected ${3:-1}"
  [ "$(wc -l <"$dir/stderr")" = 1 ] || fail "$1: not one line: $(cat "$dir/stderr")"
  grep -q "^shardbits: .*$2" "$dir/stderr" || fail "$1: no '$2' in: $(cat "$dir/stderr")"
}
# refuses RANKS TEXT ARGUMENT ...: with one line that holds TEXT, and exit code $wrong, or 1
refuses() {
  local ranks=$1 text=$2
  shift 2
  tell "$ranks" "$@"
  one_line "$* on $ranks ranks" "$text" "${wrong:-1}"
}
# refused TEXT ARGUMENT ...: on 1 rank and on 3, with one line that holds TEXT; $out is not made
refused() {
  local text=$1 ranks
  shift
  for ranks in 1 3; do
    refuses $ranks "$text" "$@"
    [ ! -s "$dir/stdout" ] || fail "$* on $ranks ranks: something on stdout"
    [ -z "$(find "$dir" -maxdepth 1 -name 'OUT*')" ] || fail "$* on $ranks ranks: left $(ls "$dir")"
  done
}
# start COMMAND ...: in the background, in a session of its own: $job. What the job leaves behind stays in that session.
start() {
  setsid "$@" &
  job=$!
}
running() { kill -0 "$job" 2>/dev/null; }
# Neither mpirun itself nor processes that have ended and that nobody has waited for, which have no command line.
ranks_of_job() { pgrep -s "$job" -f "$shardbits" | grep -vx "$job"; }
rank_of_job() { # RANK: its process; numbers of processes say nothing of ranks
  local process
  for process in $(ranks_of_job); do
    tr '\0' '\n' <"/proc/$process/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$1" && echo "$process" && return
  done
}
signal_ranks() { # SIGNAL
  local ranks
  ranks=$(ranks_of_job)
  # shellcheck disable=SC2086
  [ -z "$ranks" ] || kill "-$1" $ranks 2>/dev/null
}
cut_off() { # FILE PATTERN OUT ARGUMENT ...: on 3 ranks, killed without a chance to clean up when FILE has a line like PATTERN
  local file=$1 pattern=$2 out=$3
  shift 3
  start "$mpirun" 3 -q "$shardbits" "$@" -o "$out" >"$dir/out" 2>"$dir/err"
  for _ in $(seq 3000); do
    grep -q "$pattern" "$file" 2>/dev/null && break
    running || break
    sleep 0.01
  done
  signal_ranks KILL
  wait "$job" && echo "the run was done before it could be killed"
  [ -s "$file" ] || { fail "nothing was saved in $file: $(cat "$dir/err")"; finish; }
  rm -rf "$out"*
}
hash_of() { # FOLDER: of all its files, names and content
  (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
}
value() { # FILE KEY: of a report, at its top level
  sed -n "s/^  \"$2\": *\"\{0,1\}\([^\",]*\).*/\1/p" "$1"
}
finish() {
  [ $failures = 0 ] || exit 1
  echo "all as expected"
}
