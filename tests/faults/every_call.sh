#!/usr/bin/env bash
# A call about a file fails, once, on one of two ranks of `quantize --checkpoint`; then the next one, and so on. One line, a code
# that is not 0, no hang, the old output whole (or kept beside the new one, where the line says so), nothing unfinished left; and
# the same command, given again, ends with the hash of a run without failures.
# every_call.sh SHARDBITS MPIRUN SOURCE LIBRARY HOW: LIBRARY is fail_call.c; HOW is "all", or how many calls are tried, each of
# another kind.
. "$(dirname "$0")/../support/shell.sh"
. "$(dirname "$0")/calls.sh"
work=$(cd "$dir" && pwd -P)/work
mkdir -p "$work/model"
cp "$tiny/config.json" "$tiny/model.safetensors" "$work/model" && cp "$tiny_tokens" "$work/calib.bin"
command=(quantize "$work/model" --calib "$work/calib.bin" --token-dtype u16 --seqlen 48 --bits 3 --block 128x128 --strides 1
  --trades 1 --checkpoint "$work/saved" --allocation "$work/bits" --json "$work/report.json" -o "$work/OUT" --overwrite)

reset() { # everything as before the first run: an old output, and nothing saved
  rm -rf "$work"/OUT* "$work"/saved* "$work"/bits* "$work"/report* && cp -a "$dir/old" "$work/OUT"
}

run 2 quantize "$work/model" --bits 4 --block 128x128 --method rtn -o "$dir/old"
old=$(hash_of "$dir/old")
reset && run 2 "${command[@]}"
expected=$(value "$work/report.json" content_hash)
[ -n "$expected" ] || fail "no hash in the report of a whole run"

# after WHAT: a run in which a call failed
after() {
  local what=$1 line kept=$work/OUT left
  line=$(cat "$dir/stderr")
  if [ "$code" = 0 ]; then # some failures do no harm
    [ "$(value "$work/report.json" content_hash)" = "$expected" ] || fail "$what: code 0 and another result"
    survived=$((survived + 1))
    return
  fi
  [ "$code" != 124 ] || fail "$what: it hangs"
  one_line "$what" "."
  if [ "$(hash_of "$work/OUT")" != "$old" ]; then # the new output is in place: it is whole, and the line says so
    echo "$line" | grep -q "$work/OUT" && tell 1 verify "$work/OUT" && [ "$code" = 0 ] || fail "$what: OUT is neither old nor new: $line"
    kept=$(echo "$work"/OUT.old-*)
    if [ -e "$kept" ]; then
      [ "$(hash_of "$kept")" = "$old" ] || fail "$what: what is kept of the old output is not whole"
      echo "$line" | grep -q "$kept" || fail "$what: the line does not name $kept: $line"
    else
      echo "$line" | grep -q "is complete\|is in place" || fail "$what: OUT is new, and the line does not say so: $line"
    fi
  fi
  left=$(cd "$work" && find . -mindepth 1 -maxdepth 1 ! -name OUT ! -name 'OUT.old-*' ! -name model ! -name calib.bin ! -name bits \
    ! -name report.json -name '*[.]*' ! -name 'saved.*' -o -name '*partial*' -o -name '*.lock')
  for left in $left; do # what cannot be removed is named
    echo "$line" | grep -q "${left#./}.*cannot be removed" || fail "$what: left $left ($line)"
  done
}
# again WHAT: the same command, to the same end; not run where nothing has changed since `reset`
again() {
  [ "$(cd "$work" && echo *)" != "OUT calib.bin model" ] || [ "$(hash_of "$work/OUT")" != "$old" ] || return 0
  timeout 60 "$mpirun" 2 -q "$shardbits" "${command[@]}" --quiet >"$dir/stdout" 2>"$dir/stderr" ||
    fail "$1: the next run: $(cat "$dir/stderr")"
  [ "$(value "$work/report.json" content_hash)" = "$expected" ] || fail "$1: the next run has another result"
}

every_number() { cut -d ' ' -f 1; }
each_call every_number
