#!/usr/bin/env bash
# --size: the weights of the whole folder take at most that, and at least 99.5% of it; the same frames on any number of ranks, resumed,
# and with the bit map used again; the limits that a refusal names are accepted; what contradicts itself is refused by one line.
. "$(dirname "$0")/../support/shell.sh"

small=$dir/small # the first two layers, for trellis codes, which take longest
cp -r "$model" "$small" && chmod -R u+w "$small" && /usr/bin/python3 "$source/tests/program/spoil_model.py" "$small" layers 2
sed 's/"tie_word_embeddings": *true/"tie_word_embeddings": false/' "$model/config.json" >"$dir/untied.json"
run 1 synth --config "$dir/untied.json" --layers 2 -o "$dir/untied" --seed 3
untrained=(--calib "$calib" --seqs 6 --seqlen 48 --round-seqs 6)
few=("${untrained[@]}" --tune-batch 2)

quantize() { # NAME RANKS MODEL ARGUMENT ...
  local name=$1 ranks=$2 from=$3
  shift 3
  run "$ranks" quantize "$from" -o "$dir/$name" --overwrite --json "$dir/$name.json" "$@"
  hash=$(value "$dir/$name.json" content_hash)
}
met() { # NAME BYTES: from below, by at most 0.5%; and the files are no larger but for headers
  local bytes stored
  bytes=$(value "$dir/$1.json" file_bytes) stored=$(value "$dir/$1.json" stored_bytes)
  awk -v n="$1" -v b="$bytes" -v s="$2" 'BEGIN { printf "%s: %d bytes of %d: %.3f%%\n", n, b, s, 100 * b / s; exit !(b <= s && b >= 0.995 * s) }' ||
    fail "$1: $bytes bytes for a size of $2"
  [ "$stored" -le $(($2 + 65536)) ] || fail "$1: $stored bytes are stored for a size of $2"
}
same() { # WHAT
  [ "$hash" = "$first" ] || fail "$1: other frames: $hash, not $first"
}

quantize grid 1 "$model" --size 2MiB "${few[@]}" --trades 2 --allocation "$dir/bits"
met grid 2097152
first=$hash
for ranks in 2 3 5; do
  quantize many $ranks "$model" --size 2MiB "${few[@]}" --trades 2
  same "$ranks ranks"
done
quantize again 2 "$model" --size 2MiB "${few[@]}" --trades 2 --allocation "$dir/bits"
same "the same bit map"
run 3 verify "$dir/grid"
run 1 inspect "$dir/grid" --json "$dir/inspect.json"
for key in file_bytes file_bits effective_bits; do
  [ "$(value "$dir/inspect.json" $key)" = "$(value "$dir/grid.json" $key)" ] || fail "inspect: another $key"
done

# An interrupted run goes on to the same frames, on another number of ranks.
saved=$dir/state
cut_off "$saved" '"steps": [2-9]' "$dir/cut" quantize "$model" --size 2MiB "${few[@]}" --trades 2 --checkpoint "$saved"
quantize resumed 2 "$model" --size 2MiB "${few[@]}" --trades 2 --checkpoint "$saved"
same "resumed"

# Trellis codes; an embedding and a head of their own, one chosen, one given or left; tables alone; one width for all.
quantize trellis 1 "$small" --codes trellis --size 1MB "${few[@]}"
met trellis 1000000
first=$hash
quantize trellis 3 "$small" --codes trellis --size 1MB "${few[@]}"
same "trellis on 3 ranks"
quantize apart 2 "$dir/untied" --size 1.5MB "${few[@]}" --trades 0
met apart 1500000
quantize given 3 "$dir/untied" --size 1.5MB "${few[@]}" --trades 0 --head-bits 6
met given 1500000
quantize rtn 2 "$dir/untied" --method rtn --size 1.5MB
awk -v b="$(value "$dir/rtn.json" file_bytes)" 'BEGIN { exit !(b > 1100000 && b <= 1500000) }' || fail "rtn: $(value "$dir/rtn.json" file_bytes) bytes"

# ---- what is refused
refused "this model can have .*MB to .*MB" quantize "$model" "${few[@]}" --size 0.5MB -o "$out"
low=$(sed -n 's/.* can have \([0-9.]*MB\) .*/\1/p' "$dir/stderr") high=$(sed -n 's/.* to \([0-9.]*MB\) .*/\1/p' "$dir/stderr")
refused "this model can have .*GiB to .*GiB" quantize "$model" "${few[@]}" --size 1GiB -o "$out"
for size in "$low" "$high"; do
  run 2 quantize "$model" "${untrained[@]}" --trades 0 --quantizer rtn --size "$size" -o "$out"
  rm -rf "$out"
done
wrong=2
refused "is tied to its embedding" quantize "$model" "${few[@]}" --size 2MiB --embed-bits 4 --head-bits 6 -o "$out"
refused "give one of them" quantize "$model" "${few[@]}" --size 2MiB --bits 3 -o "$out"
refused "a size with its unit is expected" quantize "$model" "${few[@]}" --size 2 -o "$out"
refused "exl3, which takes embedding and head as they are" quantize "$model" "${few[@]}" --size 2MiB --widths-for exl3 --head-bits 6 -o "$out"
wrong=1
refused "more than --size 1.9MiB; give --size 2" quantize "$model" "${few[@]}" --size 1.9MiB --allocation "$dir/bits" -o "$out"
refused "and 6 are asked for" quantize "$model" "${few[@]}" --size 2MiB --head-bits 6 --allocation "$dir/bits" -o "$out"
finish
