#!/usr/bin/env bash
# A call about a file fails, once, on one of two ranks of `train` with checkpoints and events; then another one, and so on. One line,
# a code that is not 0, no hang, no checkpoint that looks whole and is not, nothing unfinished left; and the same command, given
# again, ends with the weights of a run without failures.
# every_call_train.sh SHARDBITS MPIRUN SOURCE LIBRARY HOW: LIBRARY is fail_call.c; HOW is "all", for two calls of each kind, or how
# many calls are tried, each of another kind.
. "$(dirname "$0")/../support/shell.sh"
. "$(dirname "$0")/calls.sh"
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

first_and_last() { # of each kind: of the first checkpoint, and of one with another before it
  local calls
  calls=$(cat)
  { sort -k 2 -u -s <<<"$calls"; sort -n -r <<<"$calls" | sort -k 2 -u -s; } | cut -d ' ' -f 1 | sort -n -u
}
each_call first_and_last
