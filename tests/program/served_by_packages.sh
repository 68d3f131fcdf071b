#!/usr/bin/env bash
# Folders for servers, read by the packages that their formats come from (tools/requirements-served.txt), which the Python that
# SHARDBITS_PYTHON names has: compressed-tensors and transformers on every width and both grids, GPTQModel in its three dialects.
. "$(dirname "$0")/../support/shell.sh"

python=${SHARDBITS_PYTHON:-python3}
$python -c 'import compressed_tensors, gptqmodel, transformers' >/dev/null 2>"$dir/err" || {
  echo "skipped: $python has not the packages of tools/requirements-served.txt: $(tail -n 1 "$dir/err")"
  exit 77
}
cat >"$dir/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 224, "num_hidden_layers": 4,
 "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 544, "max_position_embeddings": 256,
 "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false, "rope_theta": 10000.0, "bos_token_id": 1,
 "eos_token_id": 2}
JSON
run 1 synth --config "$dir/config.json" -o "$dir/small"
cp "$model"/tokenizer* "$dir/small" # GPTQModel asks for one

# read_by FORMAT WIDTHS OPTION ...
read_by() {
  local format=$1 widths=$2 bits=$dir/bits
  shift 2
  rm -f "$bits"
  set -- quantize "$dir/small" --method rtn --bits 9.9 --block 32x32 --embed-bits 16 "$@" -o "$dir/quantized" --overwrite --allocation "$bits"
  run 1 "$@"
  # shellcheck disable=SC2086
  python3 "$source/tests/program/set_widths.py" "$bits" $widths
  run 1 "$@"
  run 1 export "$dir/quantized" -o "$dir/floats" --dtype f32 --overwrite
  run 3 export "$dir/quantized" -o "$dir/served" --format "$format" --overwrite
  $python "$source/tools/check_served.py" "$dir/served" "$dir/floats" --real >"$dir/said" 2>&1 ||
    fail "$format, $widths, $*: $(tail -n 20 "$dir/said")"
  grep -E "read|differ by" "$dir/said"
}
read_by compressed-tensors "2 3 4 5 6 7 8" --head-bits 16
read_by compressed-tensors "2 3 4 5 6 7 8" --head-bits 5 --scale-type bf16
read_by compressed-tensors "2 3 4 5 6 7 8" --head-bits 16 --grid-kind signed
grep -q "transformers: logits differ by" "$dir/said" || fail "transformers did not read signed grids"
read_by gptq "2 3 4 5 6 7 8" --head-bits 4
read_by gptq "2 3 4 8" --head-bits 3
read_by gptq "2 3 4 8" --head-bits 16 --grid-kind signed --scale-type bf16

# mlx-lm may be in another Python: of SHARDBITS_MLX_PYTHON (tools/requirements-mlx.txt).
mlx=${SHARDBITS_MLX_PYTHON:-$python}
if $mlx -c 'import mlx_lm' 2>/dev/null; then
  python=$mlx
  sed -i 's/"intermediate_size": 224/"intermediate_size": 256/' "$dir/config.json"
  run 1 synth --config "$dir/config.json" -o "$dir/small" --overwrite
  read_by mlx "2 3 4 5 6 8" --embed-bits 6 --head-bits 4
  read_by mlx "2 3 4 5 6 8" --embed-bits 8 --head-bits 3 --grid-kind signed --scale-type bf16
else
  echo "left out: $mlx has no mlx-lm (tools/requirements-mlx.txt)"
fi
finish
