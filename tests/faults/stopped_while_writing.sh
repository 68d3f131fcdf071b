#!/usr/bin/env bash
# A run that is stopped in the middle of writing its shards, by a signal or by the loss of a rank: no output, or the old one
# untouched, and nothing left beside it but, where rank 0 itself was killed, a folder that nobody takes for an output.
. "$(dirname "$0")/../support/shell.sh"
shopt -s nullglob

# Shards of a run on 3 ranks are being written, and the folder is not yet whole.
partial() {
  local shards=("$dir"/OUT.partial-*/shard-*-of-00003.sbz) manifests=("$dir"/OUT.partial-*/manifest.json)
  [ ${#shards[@]} -gt 0 ] && [ ${#manifests[@]} = 0 ]
}
# begin [ARGUMENT ...]: a run in the background, all its ranks frozen while files are being written
begin() {
  local try at
  for try in $(seq 20); do
    start "$mpirun" 3 -q "$shardbits" quantize "$model" --bits 3.25 --method rtn --level 19 --quiet -o "$out" "$@" \
      >"$dir/stdout" 2>"$dir/stderr"
    at=$SECONDS
    until partial || ! running || [ $((SECONDS - at)) -gt 60 ]; do :; done
    signal_ranks STOP
    partial && [ "$(ranks_of_job | wc -l)" = 3 ] && return
    signal_ranks CONT # it was quicker than we: once more
    wait "$job"
    [ $# -gt 0 ] || rm -rf "$out"
  done
  echo "FAILED: no run could be caught while it wrote ($try tries)" && cat "$dir/stderr" && exit 1
}
# Signals wait while a rank is frozen, so that none gets any further: SIGTERM, as a launcher sends it to all ranks
terminate() { signal_ranks TERM; }
# ended WHAT: thaws what is left; within 20 seconds with an error, no process left behind, one line of ours at most
ended() {
  signal_ranks CONT
  for _ in $(seq 200); do
    running || break
    sleep 0.1
  done
  running && fail "$1: still running after 20 s" && kill -KILL "$job"
  wait "$job" && fail "$1: exit code 0"
  sleep 0.2
  ranks_of_job >/dev/null && fail "$1: ranks are left behind" && signal_ranks KILL
  [ "$(grep -c '^shardbits: ' "$dir/stderr")" -le 1 ] || fail "$1: more than one line: $(cat "$dir/stderr")"
}
# left WHAT NAME ...: these and no others lie where the output should
left() {
  local what=$1
  shift
  [ "$(cd "$dir" && echo OUT*)" = "$*" ] || fail "$what: left $(cd "$dir" && echo OUT*), expected '$*'"
}
# said WHAT: what rank 0 says, where mpirun passed it on
said() {
  local lines
  lines=$(grep '^shardbits: ' "$dir/stderr")
  [ -z "$lines" ] || echo "$lines" | grep -q "interrupted by SIGTERM; .*OUT is as it was" || fail "$1: $lines"
}

begin && terminate
ended "SIGTERM while writing" && said "SIGTERM while writing" && left "SIGTERM while writing"
begin && terminate && kill -KILL "$(rank_of_job 2)"
ended "the last rank killed" && said "the last rank killed" && left "the last rank killed"

tell 1 quantize "$tiny" --bits 3 --block 16x32 --method rtn -o "$out" && old=$(hash_of "$out")
begin --overwrite && terminate
ended "SIGTERM while overwriting" && said "SIGTERM while overwriting" && left "SIGTERM while overwriting" OUT
begin --overwrite && terminate && kill -KILL "$(rank_of_job 0)"
ended "rank 0 killed while overwriting" # it can clean up nothing
[ "$(hash_of "$out")" = "$old" ] || fail "the old output changed"
tell 1 verify "$out"
[ "$code" = 0 ] || fail "the old output does not verify: $(cat "$dir/stderr")"
for folder in "$dir"/OUT.partial-*; do
  tell 1 verify "$folder"
  one_line "verify of what rank 0 left" "manifest.json" && rm -rf "$folder"
done

tell 3 quantize "$model" --bits 3.25 --method rtn -o "$out" --overwrite
[ "$code" = 0 ] || fail "a run after all that: $(cat "$dir/stderr")"
tell 2 verify "$out"
[ "$code" = 0 ] || fail "its output: $(cat "$dir/stderr")"
left "a run after all that" OUT
finish
