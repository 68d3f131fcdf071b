#!/usr/bin/env bash
# An embedding of 2^31 weights, 4 GiB: rounded, written, verified and exported on 2 ranks; no rank holds more than its share of it.
. "$(dirname "$0")/../support/shell.sh"

cat >"$dir/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "intermediate_size": 256, "num_hidden_layers": 1,
 "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 262272, "max_position_embeddings": 256,
 "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true, "rope_theta": 10000.0}
JSON
run 2 synth --config "$dir/config.json" -o "$dir/model" --file-size 9
run 2 quantize "$dir/model" --method rtn --bits 3.2 --embed-bits 8 -o "$dir/coded" --json "$dir/coded.json"
run 2 verify "$dir/coded"
run 2 inspect "$dir/coded" --json "$dir/inspect.json"
[ "$(value "$dir/inspect.json" file_bytes)" = "$(value "$dir/coded.json" file_bytes)" ] || fail "inspect: another size"
run 2 export "$dir/coded" -o "$dir/bf16" --file-size 9
/usr/bin/python3 "$source/tests/program/large_vocabulary.py" "$dir/model" "$dir/bf16" || fail "the exported embedding is another one"
# Half of the source and of the codes, and half a GiB for all else.
awk -v peak="$(value "$dir/coded.json" peak_resident_bytes)" -v size="$(value "$dir/coded.json" file_bytes)" \
  -v from="$(stat -c %s "$dir/model/model.safetensors")" 'BEGIN { exit !(peak < from / 2 + size / 2 + 2 ^ 29) }' ||
  fail "a rank took $(value "$dir/coded.json" peak_resident_bytes) bytes"
finish
