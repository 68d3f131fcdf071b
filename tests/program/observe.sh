#!/usr/bin/env bash
# SHARDBITS_TRACE: one file that a JSON parser reads, with each rank's spans nested, of all categories, and nearly all time in them;
# after an error too. SHARDBITS_LOG: debug lines of the ranks asked for. Neither changes results.
. "$(dirname "$0")/../support/shell.sh"

quantize() { # RANKS OUT ...
  local ranks=$1 out=$2
  shift 2
  run "$ranks" quantize "$model" --calib "$calib" --seqs 4 --seqlen 48 --bits 2.6 --trades 1 --strides 1 --round-seqs 4 \
    --tune-seqs 2 --block 64x64 --json "$dir/report.json" -o "$out" "$@"
}
check() { # TRACE RANKS [PHASE ...]: as tests/program/read_trace.py
  /usr/bin/python3 "$(dirname "$0")/read_trace.py" "$@" || fail "the trace of $2 ranks"
}

quantize 3 "$dir/plain"
hash=$(value "$dir/report.json" content_hash)
for ranks in 1 2 3; do
  # nodes of two ranks: groups are gathered within a node and between nodes
  SHARDBITS_RANKS_PER_NODE=2 SHARDBITS_TRACE=$dir/trace.json quantize $ranks "$dir/traced" --overwrite
  [ "$(value "$dir/report.json" content_hash)" = "$hash" ] || fail "another result with a trace on $ranks ranks"
  check "$dir/trace.json" $ranks load inputs reorder search "round" "round layer" tune "tuning step" write
  rm "$dir/trace.json"
done
[ -z "$(find "$dir" -name 'trace.json*')" ] || fail "left behind: $(find "$dir" -name 'trace.json*')"

# A run that fails leaves a trace of what it did until then, beside its one line.
for ranks in 1 3; do
  SHARDBITS_TRACE=$dir/trace.json refuses $ranks "effective bits" quantize "$model" --calib "$calib" --bits 1.01 --min-bits 2 -o "$out"
  check "$dir/trace.json" $ranks load
  rm "$dir/trace.json"
done

# What cannot be done is refused before any work.
wrong=2
for ranks in 1 3; do
  for bad in loud debug: debug:x debug:$ranks debug:1-0; do
    SHARDBITS_LOG=$bad refuses $ranks "SHARDBITS_LOG=$bad: " quantize "$model" --calib "$calib" --bits 3 -o "$out"
  done
done
wrong=1
SHARDBITS_TRACE=$dir/none/trace.json refused "none/trace.json: cannot be written" quantize "$model" --calib "$calib" --bits 3 -o "$out"
SHARDBITS_TRACE=$dir refused "is a folder" quantize "$model" --calib "$calib" --bits 3 -o "$out"

# Debug lines of the ranks asked for; the others, and --quiet, write none.
lines() { # PATTERN: lines on stderr of the last run
  grep -c "$1" "$dir/stderr"
}
SHARDBITS_LOG=debug:0,2 "$mpirun" 3 "$shardbits" quantize "$model" --calib "$calib" --seqs 3 --seqlen 32 --bits 3 --trades 1 --round-seqs 3 \
  --tune-seqs 0 -o "$dir/log" >/dev/null 2>"$dir/stderr" || fail "quantize with debug lines"
for rank in 0 2; do
  for room in store device pass gptq greedy search phase; do
    [ "$(lines "^\[$rank [0-9.]*\] $room: ")" -gt 0 ] || fail "rank $rank: no line of $room"
  done
done
[ "$(lines '^\[1 ')" = 0 ] || fail "rank 1 was not asked"
[ "$(lines 'phase: search begins$')" = 2 ] || fail "beginning of the search: $(lines 'phase: search begins$') lines"
[ "$(lines 'phase: search ends after ')" = 2 ] || fail "end of the search: $(lines 'phase: search ends after ') lines"
[ "$(lines '^search ')" -gt 0 ] || fail "lines for users are missing"
SHARDBITS_LOG=debug:all run 2 quantize "$model" --bits 3.25 --method rtn -o "$dir/quiet"
[ ! -s "$dir/err" ] || fail "--quiet writes $(cat "$dir/err")"
finish
