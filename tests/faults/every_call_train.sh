#!/usr/bin/env bash
# A call about a file fails, once, on one of two ranks of `train` with checkpoints and events; then another one, and so on. One line,
# a code that is not 0, no hang, no checkpoint that looks whole and is not, nothing unfinished left; and the same command, given
# again, ends with the weights of a run without failures.
# every_call_train.sh SHARDBITS MPIRUN SOURCE LIBRARY HOW: LIBRARY is fail_call.c; HOW is "all", for two calls of each kind, or how
# many calls are tried, each of another kind.
. "$(dirname "$0")/../support/shell.sh"
library=$4 how=$5
work=$(cd "$dir" && pwd -P)/work
mkdir -p "$work/model"
cp "$tiny/config.json" "$tiny/model.safetensors" "$work/model"
/usr/bin/python3 -c '
import struct, sys
open(sys.argv[2], "wb").write(b"".join(struct.pack("<H", b) for b in open(sys.argv[1], "rb").read(20000)))' "$source/docs/results.md" \
  "$work/tokens.bin"
command=(train "$work/model" --tokens "$work/tokens.bin" --token-dtype u16 --seqlen 16 --batch 3 --steps 6 --save-every 2 --keep 1
  --events "$work/events" --json "$work/report.json" -o "$work/OUT")

reset() { rm -rf "$work"/OUT* "$work"/events* "$work"/report*; }
attempt() { # RANK CALL: CALL 0 lists the calls in $dir/log
  rm -f "$dir/log"
  OMPI_MCA_odls_base_sigkill_timeout=0 timeout 60 "$mpirun" 2 -q env LD_PRELOAD="$library" FAIL_UNDER="$work/" FAIL_RANK="$1" \
    FAIL_AT="$2" FAIL_LOG="$dir/log" "$shardbits" "${command[@]}" --quiet >"$dir/stdout" 2>"$dir/stderr"
  code=$?
  sed -i '/^\[warn\] Epoll MOD/d' "$dir/stderr"
}
kind_of() { # lines NUMBER CALL PATH: the call and the path without what is random
  sed -E "s|$work/||; s/[0-9a-f]{8,}/X/g; s/([a-z])64 /\1 /"
}
weights() { sha256sum <"$work/OUT/model.safetensors"; }

reset && run 2 "${command[@]}"
expected=$(weights)

# after WHAT: a run in which a call failed
after() {
  local what=$1 line left
  line=$(cat "$dir/stderr")
  if [ "$code" = 0 ]; then # some failures do no harm
    [ "$(weights)" = "$expected" ] || fail "$what: code 0 and other weights"
    survived=$((survived + 1))
    return
  fi
  [ "$code" != 124 ] || fail "$what: it hangs"
  one_line "$what" "."
  if [ -e "$work/OUT" ]; then
    [ "$(weights)" = "$expected" ] && echo "$line" | grep -q "is complete\|is in place" || fail "$what: OUT is there: $line"
  fi
  left=$(cd "$work" && find . -name '*partial*' -o -name '*lock')
  for left in $left; do # what cannot be removed is named
    echo "$line" | grep -q "${left#./}.*cannot be removed" || fail "$what: left $left ($line)"
  done
}
again() { # WHAT: the same command, to the same end
  [ ! -e "$work/OUT" ] || rm -r "$work/OUT"
  timeout 60 "$mpirun" 3 -q "$shardbits" "${command[@]}" --quiet >"$dir/stdout" 2>"$dir/stderr" ||
    fail "$1: the next run: $(cat "$dir/stderr")"
  [ "$(weights)" = "$expected" ] || fail "$1: the next run has other weights"
  [ "$(ls "$work/OUT.checkpoints")" = step-00000006 ] || fail "$1: the next run left $(ls "$work/OUT.checkpoints")"
}

tried=0 survived=0
for rank in 0 1; do
  reset && attempt $rank 0
  [ "$code" = 0 ] || fail "a run that only counts: $(cat "$dir/stderr")"
  kind_of <"$dir/log" >"$dir/calls"
  if [ "$how" = all ]; then # the first and the last of each kind: of the first checkpoint, and of one with another before it
    numbers=$({ sort -k 2 -u -s "$dir/calls"; sort -n -r "$dir/calls" | sort -k 2 -u -s; } | cut -d ' ' -f 1 | sort -n -u)
  else # the first of each kind, and of these as many as asked for, evenly spread
    numbers=$(sort -k 2 -u -s "$dir/calls" | sort -n | cut -d ' ' -f 1 |
      awk -v n="$how" -v rank=$rank '{ at[NR] = $1 } END { for (i = 0; i < n; i++) print at[1 + int((i + rank / 2) * NR / n)] }' | uniq)
  fi
  [ -n "$numbers" ] || fail "rank $rank: no calls were seen"
  for number in $numbers; do
    reset && attempt $rank "$number"
    what="call $number of rank $rank ($(kind_of <"$dir/log"))"
    grep -q '^failed' "$dir/log" 2>/dev/null || fail "$what: nothing failed"
    after "$what"
    again "$what"
    tried=$((tried + 1))
  done
done
echo "$tried calls tried; the run did not need $survived of them"
finish
