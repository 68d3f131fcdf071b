# One call about a file fails, once, on one of two ranks; then another one, and so on. For scripts that are given, after
# support/shell.sh's arguments, the library fail_call.c and HOW many calls are tried: "all", or a number, each of another kind.
#
# Before each_call a script sets `work`, the folder under which calls count, and `command`, the arguments of the program; and defines
#   reset        everything as before the first run
#   after WHAT   checks a run in which a call failed: `code` and $dir/stderr have what it left; counts `survived`
#   again WHAT   runs the same command to its end, and checks the result
# shellcheck shell=bash disable=SC2154
library=$4 how=$5

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
some_kinds() { # RANK: of lines NUMBER KIND the first number of each kind, and of these $how, evenly spread
  sort -k 2 -u -s | sort -n | cut -d ' ' -f 1 |
    awk -v n="$how" -v rank="$1" '{ at[NR] = $1 } END { for (i = 0; i < n; i++) print at[1 + int((i + rank / 2) * NR / n)] }' | uniq
}

each_call() { # ALL: a filter that makes of lines NUMBER KIND the numbers that "all" tries
  local rank numbers number what tried=0
  survived=0
  for rank in 0 1; do
    reset && attempt $rank 0
    [ "$code" = 0 ] || fail "a run that only counts: $(cat "$dir/stderr")"
    kind_of <"$dir/log" >"$dir/calls"
    if [ "$how" = all ]; then numbers=$("$1" <"$dir/calls"); else numbers=$(some_kinds $rank <"$dir/calls"); fi
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
}
