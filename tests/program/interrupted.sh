#!/usr/bin/env bash
# A run that is interrupted, loses a rank or fills the disk ends within seconds on all ranks, says so in one line, leaves no
# output that looks whole, and the old one where there was one. A second run then succeeds.
. "$(dirname "$0")/../support/shell.sh"

# begin RANKS [ARGUMENT ...]: a search that would take minutes, in the background; returns when its first step is done
begin() {
  local ranks=$1
  shift
  : >"$dir/stderr" # what an earlier run said must not be taken for this one's
  start "$mpirun" "$ranks" -q "$shardbits" quantize "$model" --calib "$calib" --bits 2.5 --seqs 16 --seqlen 32 --quantizer rtn --strides 500 \
    --trades 10000 --trade-share 1 -o "$dir/OUT" "$@" >"$dir/stdout" 2>"$dir/stderr"
  for _ in $(seq 600); do
    grep -q "step  0" "$dir/stderr" && return
    running || break
    sleep 0.1
  done
  echo "FAILED: the run did not get to its first step" && cat "$dir/stderr" && exit 1
}
# ended TEXT: with an error, within 40 seconds (on a busy machine; else within a few), no process left behind, nothing written, at most one line of ours, which holds
# TEXT. False where there is none: mpirun, ending, now and then drops what a rank has just said.
ended() {
  local text=$1 code lines
  for _ in $(seq 400); do
    running || break
    sleep 0.1
  done
  running && fail "$text: still running after 40 s" && kill -KILL "$job"
  wait "$job"
  code=$?
  [ $code != 0 ] || fail "$text: exit code 0"
  sleep 0.2
  ranks_of_job >/dev/null && fail "$text: ranks are left behind" && signal_ranks KILL
  [ -z "$(find "$dir" -maxdepth 1 -name 'OUT*')" ] || fail "$text: left $(ls "$dir")"
  lines=$(grep -c '^shardbits: ' "$dir/stderr")
  [ "$lines" -le 1 ] || fail "$text: $lines lines instead of one: $(cat "$dir/stderr")"
  [ "$lines" = 0 ] || grep -q "^shardbits: .*$text" "$dir/stderr" || fail "no '$text' in: $(cat "$dir/stderr")"
  [ "$lines" = 1 ]
}
# stopped HOW: a run on 3 ranks, stopped by INT or TERM to mpirun (which passes them on as SIGTERM) or KILL of one rank (mpirun
# ends the others); rank 0 speaks, and is heard at the latest the fourth time
stopped() {
  for _ in 1 2 3 4; do
    begin 3
    if [ "$1" = KILL ]; then kill -KILL "$(rank_of_job 2)"; else kill "-$1" "$job"; fi
    ended "interrupted by SIGTERM; nothing was written" && return
  done
  fail "$1: no line in four runs: $(cat "$dir/stderr")"
}

stopped INT
stopped TERM
stopped KILL

# without mpirun
start "$shardbits" quantize "$model" --calib "$calib" --bits 2.5 --seqlen 64 --trades 1000 -o "$dir/OUT" 2>"$dir/stderr" >"$dir/stdout"
for _ in $(seq 100); do grep -q '^search' "$dir/stderr" && break || sleep 0.1; done
kill -INT "$job" 2>/dev/null
ended "interrupted by SIGINT; nothing was written" || fail "SIGINT without mpirun: no line: $(cat "$dir/stderr")"

rtn() { # OUT [ARGUMENT ...]
  "$mpirun" 2 -q "$shardbits" quantize "$model" --bits 3.25 --method rtn --quiet -o "$@" >"$dir/stdout" 2>"$dir/stderr"
}
rtn "$dir/good" || fail "a run after all that: $(cat "$dir/stderr")"

# A full disk: a small file system where one may mount one, else a limit on the size of files.
if mkdir "$dir/small" && mount -t tmpfs -o size=1m none "$dir/small" 2>/dev/null; then
  trap 'umount "$dir/small"; rm -rf "$dir"' EXIT
  rtn "$dir/small/OUT" && fail "a full disk: exit code 0"
  [ -z "$(ls -A "$dir/small")" ] || fail "a full disk: left $(ls "$dir/small")"
else
  (ulimit -f 300 && trap '' XFSZ && rtn "$dir/small/OUT") && fail "a limit on the size of files: exit code 0"
  [ -z "$(ls -A "$dir/small")" ] || fail "a limit on the size of files: left $(ls "$dir/small")"
fi
[ "$(grep -c '^shardbits: ' "$dir/stderr")" = 1 ] || fail "a full disk: not one line: $(cat "$dir/stderr")"
grep -q "no space left\|File too large\|iB free" "$dir/stderr" || fail "a full disk: $(cat "$dir/stderr")"
finish
