#!/usr/bin/env bash
# Embedding and LM head with widths: the same frames on any number of ranks and after a stop, folders that read back, tied and not, on
# grids and beside trellis codes, reordered or not, by a saved bit map; what cannot carry them refuses.
. "$(dirname "$0")/../support/shell.sh"

# Without a tied head, and with a vocabulary that ends within a block and takes several chunks.
untied=$dir/untied
cat >"$dir/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 9001, "max_position_embeddings": 256,
 "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false, "rope_theta": 10000.0}
JSON
run 1 synth --config "$dir/config.json" --tokens 4000 -o "$untied"
untied_tokens=$untied/tokens.bin

hash() { value "$dir/$1.json" content_hash; }
quantize() { # NAME RANKS MODEL ARGUMENT ...
  local name=$1 ranks=$2 of=$3
  shift 3
  run "$ranks" quantize "$of" "$@" -o "$dir/$name" --overwrite --json "$dir/$name.json"
}
loss() { # FOLDER RANKS TOKENS
  run "$2" eval "$1" --tokens "$3" --seqs 3 --seqlen 40 --json "$dir/eval.json"
  value "$dir/eval.json" loss
}
# A folder by verify, by inspect, by the reader of docs/format.md, and by its loss, which is that of the model exported.
reads_back() { # NAME TOKENS
  local before
  run 3 verify "$dir/$1" --json "$dir/verify.json"
  [ "$(value "$dir/verify.json" content_hash)" = "$(hash "$1")" ] || fail "$1: verify: another content hash"
  run 1 inspect "$dir/$1" --json "$dir/inspect.json"
  for key in content_hash file_bits; do
    [ "$(value "$dir/inspect.json" $key)" = "$(value "$dir/$1.json" $key)" ] || fail "$1: inspect: another $key"
  done
  run 2 export "$dir/$1" -o "$dir/f32" --dtype f32 --file-size 0.002 --overwrite
  /usr/bin/python3 "$source/tests/program/read_format.py" "$source/docs/format.md" "$dir/$1" "$dir/f32" ||
    fail "$1: the reader of docs/format.md finds other weights"
  before=$(loss "$dir/$1" 3 "$2")
  [ "$(loss "$dir/f32" 1 "$2")" = "$before" ] || fail "$1: another loss after export"
}
# The same frames on each number of ranks, then read back.
any_ranks() { # RANKS NAME MODEL TOKENS ARGUMENT ...
  local ranks first='' all=$1 name=$2 of=$3 tokens=$4
  shift 4
  for ranks in $all; do
    quantize "$name" "$ranks" "$of" "$@"
    [ "${first:=$(hash "$name")}" = "$(hash "$name")" ] || fail "$name: other frames on $ranks ranks"
  done
  reads_back "$name" "$tokens"
}
tensors() { # NAME: how many are quantized that name their codes
  grep -c '"codes": "\(symmetric-\)\{0,1\}grid"' "$dir/$1/manifest.json"
}

any_ranks "1 2 3 5" both "$untied" "$untied_tokens" --method rtn --bits 3.2 --head-bits 6 --embed-bits 3
any_ranks 3 head "$untied" "$untied_tokens" --method rtn --bits 3.2 --head-bits 1 --embed-bits 16
any_ranks 2 embedding "$untied" "$untied_tokens" --method rtn --bits 3.2 --head-bits 16 --embed-bits 8 --block 64x36
any_ranks "1 5" trellis "$untied" "$untied_tokens" --method rtn --bits 2.2 --codes trellis --head-bits 6 --embed-bits 3
[ "$(tensors both) $(tensors head) $(tensors embedding) $(tensors trellis)" = "2 1 1 2" ] || fail "other tensors are quantized"

# The whole way: a search, rounding by second moments, training of scales.
whole=(--bits 2.7 --seqs 4 --seqlen 32 --round-seqs 4 --tune-seqs 4 --strides 1 --trades 1)
any_ranks "1 2 3 5" searched "$model" "$heldout" "${whole[@]}" --calib "$calib" --head-bits 4 --embed-bits 4 --reorder none
any_ranks "3 1" searched-untied "$untied" "$untied_tokens" "${whole[@]}" --calib "$untied_tokens" --head-bits 5 --embed-bits 3
for mode in fused indexed; do
  any_ranks "1 3" $mode "$model" "$heldout" "${whole[@]}" --calib "$calib" --head-bits 4 --embed-bits 4 --block 64x64 --reorder $mode
done

# A saved bit map brings the widths of the tables back.
quantize saved 2 "$untied" --method rtn --bits 3.2 --head-bits 6 --embed-bits 3 --allocation "$dir/bits"
quantize again 3 "$untied" --method rtn --bits 3.2 --allocation "$dir/bits"
[ "$(hash saved) $(hash again)" = "$(hash both) $(hash both)" ] || fail "--allocation: other frames"
quantize saved 2 "$model" "${whole[@]}" --calib "$calib" --head-bits 4 --embed-bits 4 --reorder none --allocation "$dir/bits2"
quantize again 1 "$model" "${whole[@]}" --calib "$calib" --reorder none --allocation "$dir/bits2"
[ "$(hash saved) $(hash again)" = "$(hash searched) $(hash searched)" ] || fail "--allocation: other frames with compensation"

# Rounding and training that were cut off go on to the same frames.
saved=$dir/state
resumed=("$model" --method rtn --bits 2.25 --quantizer gptq --refine 1 --calib "$calib" --round-seqs 12 --seqlen 64
  --tune-batch 2 --head-bits 4 --embed-bits 4)
quantize uncut 2 "${resumed[@]}"
cut_off "$saved.rounded" '"groups": [1-9]' "$dir/cut" quantize "${resumed[@]}" --checkpoint "$saved"
refuses 2 "$saved.rounded: .*another bit map" quantize "${resumed[@]/#4/5}" --checkpoint "$saved" -o "$dir/no"
quantize resumed 1 "${resumed[@]}" --checkpoint "$saved"
[ "$(hash resumed)" = "$(hash uncut)" ] || fail "other frames after rounding was cut off"
cut_off "$saved.trained" '"steps": [1-5],' "$dir/cut" quantize "${resumed[@]}" --checkpoint "$saved"
quantize resumed 3 "${resumed[@]}" --checkpoint "$saved"
[ "$(hash resumed)" = "$(hash uncut)" ] || fail "other frames after training was cut off"

# EXL3 has no such tables: left as they are, and refused when they are asked for. Other widths than there are.
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 1/; s/"num_key_value_heads": 2/"num_key_value_heads": 4/' "$dir/config.json" \
  >"$dir/exl3.json"
run 1 synth --config "$dir/exl3.json" -o "$dir/small"
quantize exl3 2 "$dir/small" --method rtn --bits 8.3 --widths-for exl3
[ "$(tensors exl3)" = 0 ] || fail "--widths-for exl3: embedding or head is on grids"
run 2 export "$dir/exl3" -o "$dir/exl3-out" --format exl3
wrong=2
refused "does not go with --widths-for exl3" quantize "$dir/small" --method rtn --bits 8.3 --widths-for exl3 --embed-bits 6 -o "$out"
refused "--head-bits 9: 1 to 8 bits are expected, or 16" quantize "$untied" --method rtn --bits 3 --head-bits 9 -o "$out"
refused "--embed-bits 4 and --head-bits 5" quantize "$model" --method rtn --bits 3 --head-bits 5 --embed-bits 4 -o "$out"
finish
