#!/usr/bin/env bash
# Folders for servers that keep codes: by decoders written from the formats they are what export makes in floats, at all widths and on
# both kinds of grids, on any number of ranks; by the rules of vLLM's loaders they load; and what does not fit is refused.
. "$(dirname "$0")/../support/shell.sh"

one() { # ARGUMENT ...: as run 1, without mpirun
  tell 1 "$@"
  [ "$code" = 0 ] || {
    echo "FAILED: shardbits $*"
    cat "$dir/stderr"
    exit 1
  }
}
python=/usr/bin/python3
small=$dir/small
cat >"$dir/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 544, "max_position_embeddings": 256,
 "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false, "rope_theta": 10000.0}
JSON
one synth --config "$dir/config.json" -o "$small"
blocks=(--method rtn --bits 9.9 --block 32x32 --embed-bits 16)

# quantized OUT WIDTHS OPTION ...: modules have these widths in turn
quantized() {
  local out=$1 widths=$2
  shift 2
  rm -f "$dir/bits"
  one quantize "$small" "${blocks[@]}" "$@" -o "$out" --overwrite --allocation "$dir/bits"
  # shellcheck disable=SC2086
  $python "$source/tests/program/set_widths.py" "$dir/bits" $widths
  one quantize "$small" "${blocks[@]}" "$@" -o "$out" --overwrite --allocation "$dir/bits"
  one export "$out" -o "$out-floats" --dtype f32 --overwrite
}
# served OUT FORMAT OPTION ...: as OUT-FORMAT, which is what floats are
served() {
  local out=$1 format=$2
  shift 2
  one export "$out" -o "$out-$format" --format "$format" --overwrite "$@"
  $python "$source/tools/check_served.py" "$out-$format" "$out-floats" >"$dir/said" || fail "$out-$format: $(cat "$dir/said")"
}
vllm_takes() {
  $python "$source/tools/check_vllm.py" "$@" >"$dir/said" || fail "vLLM does not take $*: $(cat "$dir/said")"
}
key() { # FOLDER KEY: of quantization_config
  $python -c 'import json, sys; print(json.load(open(sys.argv[1] + "/config.json"))["quantization_config"][sys.argv[2]])' "$@"
}

# All widths, with zero points; in several files too, and by three ranks.
quantized "$dir/asym" "2 3 4 5 6 7 8" --head-bits 4
served "$dir/asym" compressed-tensors
vllm_takes "$dir/asym-compressed-tensors"
served "$dir/asym" gptq
[ "$(key "$dir/asym-gptq" checkpoint_format)" = gptq_p ] || fail "5, 6 and 7 bits are not in planes"
[ "$(key "$dir/asym-gptq" lm_head)" = True ] || fail "the LM head is not named"
for format in compressed-tensors gptq; do
  run 3 export "$dir/asym" -o "$dir/three" --format $format --overwrite
  diff -r "$dir/asym-$format" "$dir/three" || fail "$format: other files on 3 ranks"
done
served "$dir/asym" compressed-tensors --file-size 0.00005 --dtype f32
vllm_takes "$dir/asym-compressed-tensors"
[ "$(find "$dir/asym-compressed-tensors" -name 'model-*-of-*.safetensors' | wc -l)" -gt 2 ] || fail "not several files"
if $python "$source/tools/check_vllm.py" "$dir/asym-compressed-tensors" --tensor-parallel 16 >"$dir/said"; then fail "groups cross ranks"; fi
grep -q "down_proj: groups of 32 do not divide 16 columns" "$dir/said" || fail "no word of groups: $(cat "$dir/said")"

# Signed grids with scales of 8 bits: in bf16 as in f32, without zero points; embedding and head too.
quantized "$dir/signed" "2 3 4 5 6 7 8" --grid-kind signed --scale-type bf16 --embed-bits 8 --head-bits 3
served "$dir/signed" compressed-tensors
vllm_takes "$dir/signed-compressed-tensors"
grep -q '"dtype": "bfloat16"' "$dir/signed-compressed-tensors/config.json" || fail "scales of 8 bits, but not bf16"
$python "$source/tools/check_served.py" "$dir/signed-compressed-tensors" "$dir/asym-floats" >"$dir/said" && fail "other floats are equal"
quantized "$dir/signed" "8 4" --grid-kind signed --head-bits 4
served "$dir/signed" gptq
vllm_takes "$dir/signed-gptq"
vllm_takes "$dir/signed-gptq" --sglang
served "$dir/signed" compressed-tensors
vllm_takes "$dir/signed-compressed-tensors" --sglang
[ "$(key "$dir/signed-gptq" checkpoint_format)" = gptq ] || fail "signed grids of 4 and 8 bits are not plain GPTQ"
quantized "$dir/v2" "3 2 8 4"
served "$dir/v2" gptq
[ "$(key "$dir/v2-gptq" checkpoint_format)" = gptq_v2 ] || fail "zero points of 2, 3, 4 and 8 bits are not gptq_v2"

# What quantize --widths-for chooses, by the search, is taken.
for reader in vllm gptq mlx; do
  one quantize "$model" --calib "$calib" --seqlen 32 --seqs 2 --round-seqs 2 --tune-seqs 2 --bits 4.4 --strides 1 \
    --widths-for $reader --reorder fused -o "$dir/$reader"
  one export "$dir/$reader" -o "$dir/$reader-floats" --dtype f32
done
served "$dir/vllm" compressed-tensors
vllm_takes "$dir/vllm-compressed-tensors"
served "$dir/gptq" gptq
served "$dir/mlx" mlx

# MLX: embedding and head too; a bias stands for a zero point.
quantized "$dir/affine" "2 3 4 5 6 8" --embed-bits 6 --head-bits 3
served "$dir/affine" mlx
grep -q '"quantization": ' "$dir/affine-mlx/config.json" || fail "mlx-lm asks for the key quantization"
run 3 export "$dir/affine" -o "$dir/three" --format mlx --overwrite
diff -r "$dir/affine-mlx" "$dir/three" || fail "mlx: other files on 3 ranks"
quantized "$dir/affine" "2 3 4 5 6 8" --grid-kind signed --scale-type bf16 --embed-bits 4 --head-bits 4
served "$dir/affine" mlx
grep -q '"dtype": "bfloat16"' "$dir/affine-mlx/config.json" || fail "mlx: signed grids of bf16 scales are not bf16"

# What does not fit: one line with the matrix and the option.
refuse() { # TEXT FOLDER FORMAT OPTION ...
  local text=$1 folder=$2 format=$3
  shift 3
  refuses 1 "$text" export "$folder" --format "$format" -o "$out" "$@"
  [ ! -e "$out" ] || fail "$folder as $format: left something"
}
refused "lm_head: the scale of row 0 .*--dtype f16\|q_proj.weight: the scale of row 0 .*--dtype f16" export "$dir/asym" \
  --format compressed-tensors --dtype bf16 -o "$out"
refuses 3 "asym-gptq.* exists" export "$dir/asym" --format gptq -o "$dir/asym-gptq"
one quantize "$small" "${blocks[@]}" --embed-bits 8 -o "$dir/embed"
refuse "embed_tokens.weight .*8 bits and zero points, .* --embed-bits 16" "$dir/embed" compressed-tensors
refuse "has codes of 7 bits, and MLX takes 2, 3, 4, 5, 6 and 8; .*--widths-for mlx" "$dir/asym" mlx
refuse "embed_tokens.weight is quantized, and GPTQ .* --embed-bits 16" "$dir/embed" gptq
quantized "$dir/untied" "each 2 3" --head-bits 16
refuse "q_proj.weight has 2 bits and .*k_proj.weight 3, and servers make one module of them; .*--widths-for vllm" "$dir/untied" \
  compressed-tensors
served "$dir/untied" gptq
if $python "$source/tools/check_vllm.py" "$dir/untied-gptq" >"$dir/said"; then fail "vLLM takes what is not tied"; fi
quantized "$dir/mixed" "2 34" --head-bits 16
refuse "o_proj.weight has blocks of 3 and of 4 bits, .* one width for each matrix; quantize with --widths-for gptq" "$dir/mixed" gptq
one quantize "$tiny" --method rtn --bits 3 --block 32x32 --embed-bits 16 --head-bits 16 -o "$dir/ragged"
refuse "has 48 columns, .*groups that divide them, not of 32; quantize with --block 128x8" "$dir/ragged" compressed-tensors
one quantize "$small" --method rtn --bits 3.9 --max-bits 3 --block 16x32 --embed-bits 16 --head-bits 16 -o "$dir/low"
refuse "blocks of 16 rows, whose zero points of 3 bits fill no whole words" "$dir/low" compressed-tensors
one quantize "$small" "${blocks[@]}" --symmetric --head-bits 16 --max-bits 4 --min-bits 4 -o "$dir/half"
refuse "around half a code, .*--grid-kind signed" "$dir/half" gptq
quantized "$dir/one" 1 --head-bits 16
refuse "has codes of 1 bit, and GPTQ takes 2 to 8; quantize with --min-bits 2" "$dir/one" gptq
one quantize "$small" --method rtn --bits 2.5 --codes trellis --embed-bits 16 --head-bits 16 -o "$dir/trellis"
refuse "codes are of kind trellis-12, .* --codes grid" "$dir/trellis" compressed-tensors
finish
