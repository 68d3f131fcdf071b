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
legal() { # ALLOCATION tied|alone WIDTH ...: one of the widths a matrix, and one for what a server fuses; several in all
  /usr/bin/python3 - "$@" <<'END' || fail "$1: not legal"
import json, re, sys
tied, widths, seen = sys.argv[2] == "tied", set(sys.argv[3:]), {}
for matrix in json.load(open(sys.argv[1]))["matrices"]:
    name = matrix["name"]
    if tied:
        name = re.sub("[qkv]_proj", "qkv", re.sub("(gate|up)_proj", "gate_up", name))
    seen.setdefault(name, set()).update(matrix["bits"])
assert len(seen) == (20 if tied else 35), len(seen)
assert all(len(bits) == 1 and bits <= widths for bits in seen.values()), seen
assert len(set.union(*seen.values())) > 1
END
}

vllm=(--widths-for vllm --bits 3.4 --trades 3 --max-bits 6)
for ranks in 1 3; do
  rm -f "$dir/bits"
  made vllm$ranks $ranks "${vllm[@]}" --allocation "$dir/bits"
  [ "$(content_hash vllm1)" = "$(content_hash vllm$ranks)" ] || fail "vllm: other frames on $ranks ranks"
done
legal "$dir/bits" tied 2 3 4 5 6
# on 2 ranks by way of a checkpoint: a search that had no trades goes on with them
made begun 2 "${vllm[@]}" --trades 0 --checkpoint "$dir/search"
made whole 2 "${vllm[@]}" --checkpoint "$dir/search"
grep -q '"kind": "trade"' "$dir/whole.json" || fail "it did not go on from the checkpoint"
grep -q '"kind": "path"' "$dir/whole.json" && fail "it began anew"
[ "$(content_hash begun)" != "$(content_hash vllm1)" ] || fail "trades moved nothing, so the test sees nothing"
[ "$(content_hash whole)" = "$(content_hash vllm1)" ] || fail "other frames from a checkpoint"
/usr/bin/python3 "$source/tests/program/set_widths.py" "$dir/bits" 3 4 2 each
refused "bits: .*proj.weight has [234] bits and .* [234], and vllm computes them as one product" quantize "$model" "${tokens[@]}" \
  "${vllm[@]}" --bits 5 --allocation "$dir/bits" -o "$out"
rm "$dir/bits"
refuses 1 "another --method, --widths-for" quantize "$model" "${tokens[@]}" --widths-for mlx --bits 3.4 --max-bits 6 \
  --embed-bits 16 --scale-type bf16 --checkpoint "$dir/search" -o "$out"

# MLX: a width a matrix, the table's too, and a size that is met from below
made mlx 2 --widths-for mlx --size 2.2MiB --trades 0 --strides 1 --allocation "$dir/bits"
legal "$dir/bits" alone 2 3 4 5 6 8
run 1 inspect "$dir/mlx" --json "$dir/mlx.json"
bytes=$(value "$dir/mlx.json" file_bytes)
[ "$bytes" -le 2306867 ] && [ "$bytes" -gt 2260000 ] || fail "mlx: $bytes bytes for 2.2 MiB"

refuses 1 "--tensor-parallel 3 does not divide the 4 key-value heads" quantize "$model" "${tokens[@]}" "${vllm[@]}" --tensor-parallel 3 -o "$out"
finish
