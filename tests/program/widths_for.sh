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
"$shardbits" inspect "$dir/mlx" --json "$dir/mlx.json" >"$dir/mlx.out" || fail "inspect of mlx"
bytes=$(value "$dir/mlx.json" file_bytes)
[ "$bytes" -le 2306867 ] && [ "$bytes" -gt 2260000 ] || fail "mlx: $bytes bytes for 2.2 MiB"

# for whom folders are legal, and what for a model can be chosen: down_proj has 704 = 11 x 64 inputs
says() { # FILE TEXT
  grep -q "^  $2" "$dir/$1" || fail "$1 does not say '$2': $(cat "$dir/$1")"
}
says mlx.out "for mlx  *yes$"
says mlx.out "for vllm  *no: .*_proj.weight has [2-8] bits and .* [2-8], and vllm computes them as one product"
"$shardbits" inspect "$dir/vllm1" --json "$dir/vllm.json" >"$dir/vllm.out" || fail "inspect of vllm1"
says vllm.out "for vllm  *yes, tensor-parallel on at most 1 rank$"
says vllm.out "for sglang  *no: codes are of kind grid-bf16, which sglang does not take"
says vllm.out "for exl3  *no: "
"$shardbits" inspect "$model" --json "$dir/model.json" >"$dir/model.out" || fail "inspect of the model"
says model.out "for vllm  *yes, groups of 64, tensor-parallel on at most 1 rank$"
says model.out "for sglang  *no: .*down_proj.weight is of a matrix of 256 outputs and 704 inputs"
says model.out "for gptq  *yes, groups of 64$"
/usr/bin/python3 - "$dir" <<'END' || fail "reports of inspect"
import json, sys
def readers(name): return {r["name"]: r for r in json.load(open(f"{sys.argv[1]}/{name}.json"))["readers"]}
mlx, vllm, model = readers("mlx"), readers("vllm"), readers("model")
assert mlx["mlx"]["legal"] and not mlx["vllm"]["legal"] and "one product" in mlx["vllm"]["why"], mlx
assert vllm["vllm"] == {"name": "vllm", "legal": True, "most_parallel": 1} and not vllm["exl3"]["legal"], vllm
assert model["mlx"] == {"name": "mlx", "legal": True, "group": 64} and "704" in model["sglang"]["why"], model
END
"$shardbits" plan "$model" --widths-for vllm --gflops 100 >"$dir/plan.out" 2>&1 || fail "plan"
says plan.out "groups  *of 64 weights, for vllm on at most 1 tensor-parallel rank$"
refuses 1 "down_proj.weight is of a matrix of 256 outputs and 704 inputs on a rank" quantize "$model" "${tokens[@]}" --widths-for sglang \
  --bits 5 -o "$out"
refuses 1 "--tensor-parallel 3 does not divide the 4 key-value heads" quantize "$model" "${tokens[@]}" "${vllm[@]}" --tensor-parallel 3 -o "$out"
finish
