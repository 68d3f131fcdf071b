#!/usr/bin/env bash
# The Python package by NumPy alone: folders of all kinds of codes, against what export makes of them in floats.
. "$(dirname "$0")/../support/shell.sh"

cat >"$dir/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 2048, "max_position_embeddings": 256,
 "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false, "rope_theta": 10000.0}
JSON
run 1 synth --config "$dir/config.json" -o "$dir/small"
SHARDBITS_LIBRARY=$(dirname "$shardbits")/python/libshardbits_native.so /usr/bin/python3 "$source/python/tests/test_numpy.py" "$shardbits" \
  "$dir/small" "$calib" >"$dir/said" 2>&1 || fail "$(cat "$dir/said")"
finish
