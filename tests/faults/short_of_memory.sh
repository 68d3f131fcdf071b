#!/usr/bin/env bash
# An allocation that fails on one of two ranks, once at each place in the code that a small `quantize --checkpoint` allocates at: one
# line that names it, exit code 1, within seconds, nothing written. Called with the program that fails them (fail_allocation.c).
. "$(dirname "$0")/../support/shell.sh"

attempt() { # PLACE RANK ARGUMENT ...
  local place=$1 rank=$2
  shift 2
  SHARDBITS_TEST_FAIL=$place:$rank tell 2 "$@"
}
for rank in 0 1; do
  rm -rf "$dir"/state* "$dir/OUT"
  place=1
  while :; do
    attempt $place $rank quantize "$tiny" --calib "$tiny_tokens" --token-dtype u16 --seqlen 12 --bits 3 --block 16x32 --trades 1 \
      --check-seqs 2 --seqs 4 --round-seqs 4 --tune-seqs 2 --threads 1 --reorder indexed -o "$out" --checkpoint "$dir/state" --json "$dir/report"
    [ "$code" = 0 ] && break
    one_line "place $place of rank $rank" "\(could not be allocated\|out of memory\)"
    [ -z "$(find "$dir" -maxdepth 1 -name 'OUT*')" ] || fail "place $place of rank $rank: left $(ls "$dir")"
    rm -rf "$dir"/state*
    place=$((place + 1))
    [ $failures -lt 20 ] || break 2
  done
  echo "rank $rank: $((place - 1)) places"
  [ $place -gt 100 ] || fail "only $((place - 1)) places on rank $rank"
done
finish
