#!/usr/bin/env bash
# EXL3: codes for exllamav3 are the same on any number of ranks, and what export --format exl3 makes of them is, by a decoder written
# from the format, what export makes of them in floats. The model is small, with random weights: finding its codes takes seconds.
. "$(dirname "$0")/../support/shell.sh"

small=$dir/small
cat >"$dir/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1,
 "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 501, "max_position_embeddings": 256,
 "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true, "rope_theta": 10000.0}
JSON
run 1 synth --config "$dir/config.json" --tokens 4000 -o "$small"
tokens=$small/tokens.bin
options=(--calib "$tokens" --bits 2.9 --widths-for exl3 --seqs 6 --seqlen 48 --round-seqs 6)

hash=
for ranks in 1 2 3 5; do
  run $ranks quantize "$small" "${options[@]}" -o "$dir/coded" --overwrite --json "$dir/coded.json"
  [ "${hash:=$(value "$dir/coded.json" content_hash)}" = "$(value "$dir/coded.json" content_hash)" ] || fail "other frames on $ranks ranks"
done
grep -q '"codes": "exl3"' "$dir/coded/manifest.json" || fail "the manifest does not name EXL3: $(grep codes "$dir/coded/manifest.json")"
run 2 verify "$dir/coded"
run 2 export "$dir/coded" -o "$dir/floats" --dtype f32

# The same files by any number of ranks, in one file or in several with an index.
run 1 export "$dir/coded" -o "$dir/exl3" --format exl3 --json "$dir/exl3.json"
run 3 export "$dir/coded" -o "$dir/exl3-3" --format exl3
diff -r "$dir/exl3" "$dir/exl3-3" || fail "other files on 3 ranks"
/usr/bin/python3 "$source/tools/check_exl3.py" "$dir/exl3" "$dir/floats" || fail "not what export makes in floats"
run 2 export "$dir/coded" -o "$dir/parts" --format exl3 --file-size 0.00005
[ "$(find "$dir/parts" -name 'model-*-of-*.safetensors' | wc -l)" -gt 2 ] || fail "not several files: $(ls "$dir/parts")"
[ -s "$dir/parts/model.safetensors.index.json" ] || fail "several files without an index"
/usr/bin/python3 "$source/tools/check_exl3.py" "$dir/parts" "$dir/floats" || fail "several files: not what export makes in floats"
awk -v b="$(value "$dir/exl3.json" code_bits)" -v e="$(value "$dir/coded.json" effective_bits)" 'BEGIN { exit !(b > 2 && b < e && e <= 2.9) }' ||
  fail "$(value "$dir/exl3.json" code_bits) bits of codes, $(value "$dir/coded.json" effective_bits) effective bits"

# Through the decoder back into an ordinary folder: the same predictions.
/usr/bin/python3 "$source/tools/exl3_to_hf.py" "$dir/exl3" "$dir/back" --dtype f32 || fail "exl3_to_hf.py"
for name in coded back; do
  run 2 eval "$dir/$name" --tokens "$tokens" --seqs 6 --seqlen 64 --ref "$small" --json "$dir/$name.eval.json"
done
for key in perplexity mean_kl; do
  a=$(value "$dir/coded.eval.json" $key) b=$(value "$dir/back.eval.json" $key)
  awk -v a="$a" -v b="$b" 'BEGIN { d = a - b; exit !(b > 0 && d * d <= 1e-8 * b * b) }' || fail "$key of the folder $a, decoded $b"
done

# Without a tied head, with random weights, to nearest.
sed 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' "$dir/config.json" >"$dir/untied.json"
run 1 synth --config "$dir/untied.json" --layers 1 -o "$dir/untied"
run 2 quantize "$dir/untied" --method rtn --bits 8.3 --widths-for exl3 -o "$dir/untied-out"
run 2 export "$dir/untied-out" -o "$dir/untied-exl3" --format exl3
run 2 export "$dir/untied-out" -o "$dir/untied-floats" --dtype f32
/usr/bin/python3 "$source/tools/check_exl3.py" "$dir/untied-exl3" "$dir/untied-floats" || fail "untied: not what export makes in floats"
/usr/bin/python3 - "$dir/untied-exl3" <<'PYTHON' || fail "untied: no LM head"
import json, sys
modules = json.load(open(sys.argv[1] + "/quantization_config.json"))["tensor_storage"]
sys.exit("lm_head" not in modules)
PYTHON

# What EXL3 cannot carry: one line with matrix, size and option.
refused "gate_proj.weight is 704x256, and EXL3 takes sides that are multiples of 128" quantize "$model" --method rtn --bits 3 \
  --widths-for exl3 -o "$out"
wrong=2
refused "--method scalebits gives each block a width" quantize "$small" "${options[@]}" --method scalebits -o "$out"
refused "--block 64x128 does not go with --widths-for exl3" quantize "$small" "${options[@]}" --block 64x128 -o "$out"
refused "--max-bits 9" quantize "$small" "${options[@]}" --max-bits 9 -o "$out"
refused "--dtype f16 does not go with --format exl3" export "$dir/coded" --format exl3 --dtype f16 -o "$out"
wrong=1
run 2 quantize "$small" --method rtn --bits 2.5 -o "$dir/grid"
refused "codes are of kind grid, and --format exl3 takes those of quantize --widths-for exl3" export "$dir/grid" --format exl3 -o "$out"
run 2 quantize "$small" --method rtn --bits 2.5 --codes trellis -o "$dir/trellis"
refused "codes are of kind trellis-12" export "$dir/trellis" --format exl3 -o "$out"
run 2 quantize "$small" --calib "$tokens" --seqs 2 --seqlen 32 --bits 2.5 --quantizer rtn --sensitivity diagonal \
  --method table -o "$dir/mixed" --reorder none --allocation "$dir/mixed.bits"
refused "mixed.bits: made for codes of grid, here they are of exl3" quantize "$small" --method rtn --bits 2.5 --widths-for exl3 \
  --allocation "$dir/mixed.bits" -o "$out"
finish
