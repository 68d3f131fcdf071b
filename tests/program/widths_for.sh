#!/usr/bin/env bash
# Widths that a server takes, found by the search: the same frames on any number of ranks and from a checkpoint, folders that are legal for
# whom they are made, a size that is met, and one clear line for what does not fit.
. "$(dirname "$0")/../support/shell.sh"

tokens=(--calib "$calib" --seqs 4 --seqlen 32 --round-seqs 4 --tune-seqs 0 --refine 0 --reorder none)
content_hash() { value "$dir/$1.json" content_hash; }
made() { # NAME RANKS ARGUMENT ...
  local name=$1 ranks=$2
  shift 2
  run "$ranks" quantize "$model" "${tokens[@]}" "$@" -o "$dir/$name" --overwrite --json "$dir/$name.json"
}
# widths_of FOLDER: the bits of each quantized tensor's blocks, as read by the reader of docs/format.md
legal() { # FOLDER FILTER: by a program of its own
  /usr/bin/python3 "$source/tests/program/item_widths.py" "$source/docs/format.md" "$1" "$2" || fail "$1: not legal for $2"
}

vllm=(--widths-for vllm --bits 3.4 --trades 3 --max-bits 6)
for ranks in 1 2 3; do
  made vllm$ranks $ranks "${vllm[@]}"
  [ "$(content_hash vllm1)" = "$(content_hash vllm$ranks)" ] || fail "vllm: other frames on $ranks ranks"
done
legal "$dir/vllm1" tie
# a search that has no trades yet goes on with them
made begun 2 "${vllm[@]}" --trades 0 --checkpoint "$dir/search"
made whole 3 "${vllm[@]}" --checkpoint "$dir/search"
grep -q '"kind": "trade"' "$dir/whole.json" || fail "it did not go on from the checkpoint"
grep -q '"kind": "path"' "$dir/whole.json" && fail "it began anew"
[ "$(content_hash begun)" != "$(content_hash vllm1)" ] || fail "trades moved nothing, so the test sees nothing"
[ "$(content_hash whole)" = "$(content_hash vllm1)" ] || fail "other frames from a checkpoint"
refuses 1 "another --widths-for\|another --method, --widths-for" quantize "$model" "${tokens[@]}" --widths-for mlx --bits 3.4 --max-bits 6 \
  --embed-bits 16 --scale-type bf16 --checkpoint "$dir/search" -o "$out"

# MLX: a width a matrix, the table's too, and a size that is met from below
made mlx 2 --widths-for mlx --size 2.2MiB --trades 0 --strides 1 --allocation "$dir/bits"
legal "$dir/mlx" matrix
run 1 inspect "$dir/mlx" --json "$dir/mlx.json"
bytes=$(value "$dir/mlx.json" file_bytes)
[ "$bytes" -le 2306867 ] && [ "$bytes" -gt 2260000 ] || fail "mlx: $bytes bytes for 2.2 MiB"
refused "bits: .*q_proj.weight.* and vllm computes them as one product" quantize "$model" "${tokens[@]}" --widths-for vllm --size 3MiB \
  --scale-type fp16 --allocation "$dir/bits" -o "$out"
finish
