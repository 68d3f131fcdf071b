#!/usr/bin/env bash
# inspect, its check for NaN on several ranks, and plan, on a model made here by hand.
. "$(dirname "$0")/../support/shell.sh"

# One layer, hidden 8, MLP 24, 2 heads of 4, 1 KV head, 10 tokens, tied, F32, all weights zero.
mkdir "$dir/m"
cat >"$dir/m/config.json" <<'END'
{"architectures": ["LlamaForCausalLM"], "vocab_size": 10, "hidden_size": 8, "intermediate_size": 24,
 "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": true,
 "torch_dtype": "float32"}
END
header='{' at=0
tensor() { # NAME SHAPE ELEMENTS
  header+="$([ $at = 0 ] || echo ,)\"$1\":{\"dtype\":\"F32\",\"shape\":[$2],\"data_offsets\":[$at,$((at + 4 * $3))]}"
  at=$((at + 4 * $3))
}
l=model.layers.0
tensor model.embed_tokens.weight 10,8 80
tensor model.norm.weight 8 8
tensor $l.input_layernorm.weight 8 8
tensor $l.self_attn.q_proj.weight 8,8 64
tensor $l.self_attn.k_proj.weight 4,8 32
tensor $l.self_attn.v_proj.weight 4,8 32
tensor $l.self_attn.o_proj.weight 8,8 64
tensor $l.post_attention_layernorm.weight 8 8
tensor $l.mlp.gate_proj.weight 24,8 192
tensor $l.mlp.up_proj.weight 24,8 192
nan_at=$((at + 4 * (3 * 24 + 5))) # down_proj[3, 5]
tensor $l.mlp.down_proj.weight 8,24 192
header+='}'
n=${#header}
{
  printf "\\x$(printf %02x $((n % 256)))\\x$(printf %02x $((n / 256)))\\0\\0\\0\\0\\0\\0%s" "$header"
  head -c $at /dev/zero
} >"$dir/m/model.safetensors"

"$shardbits" inspect "$dir/m" --check --json "$dir/r.json" >"$dir/out" || fail "inspect of a good model"
for want in '"parameters": 872' '"linear_parameters": 768' '"embedding_parameters": 80' '"norm_parameters": 24' \
  '"tensors": 11' '"bytes": 3488' '"files": 1' '"dtypes": "F32"' '"blocks": 7' '"checked_weights": 872' '"ranks": 1'; do
  grep -q "$want" "$dir/r.json" || fail "no $want in $(cat "$dir/r.json")"
done
"$mpirun" 3 "$shardbits" inspect "$dir/m" --check --block 4x8 --json - >"$dir/r.json" || fail "inspect on 3 ranks"
# blocks of 4 x 8: q 2, k 1, v 1, o 2, gate 6, up 6, down 2 x 3
grep -q '"blocks": 24' "$dir/r.json" || fail "blocks of 4x8: $(cat "$dir/r.json")"
[ "$(grep -c '"checked_weights": 872' "$dir/r.json")" = 1 ] || fail "checked weights on 3 ranks"

printf '\0\0\300\177' | dd of="$dir/m/model.safetensors" bs=1 seek=$((8 + n + nan_at)) conv=notrunc 2>/dev/null
for ranks in 1 3; do
  "$mpirun" $ranks -q "$shardbits" inspect "$dir/m" --check >"$dir/out" 2>"$dir/err" && fail "NaN accepted"
  grep -q "^shardbits: .*down_proj.weight has a NaN or an infinity at \[3, 5\]" "$dir/err" || fail "$(cat "$dir/err")"
  [ "$(wc -l <"$dir/err")" = 1 ] || fail "more than one line on $ranks ranks: $(cat "$dir/err")"
done

"$shardbits" plan "$dir/m" --bits 8 --ranks 4 --ranks-per-node 2 --gflops 100 --json "$dir/p.json" >/dev/null || fail "plan"
for want in '"planned_ranks": 4' '"planned_nodes": 2' '"blocks": 7' '"forward": 100000000000' '"reorder": ' '"rank": '; do
  grep -q "$want" "$dir/p.json" || fail "no $want in $(cat "$dir/p.json")"
done
"$shardbits" plan "$dir/m" --bits 0.5 >"$dir/out" 2>"$dir/err" && fail "plan takes any --bits"
grep -q "^shardbits: --bits 0.5: blocks of 128x128 .* can have " "$dir/err" || fail "plan --bits 0.5: $(cat "$dir/err")"

# A 70B model on GPUs: their memory decides where second moments are, and how many sequences go in a wave.
sed 's/"hidden_size": *[0-9]*/"hidden_size": 8192/; s/"intermediate_size": *[0-9]*/"intermediate_size": 28672/
  s/"num_hidden_layers": *[0-9]*/"num_hidden_layers": 80/; s/"num_attention_heads": *[0-9]*/"num_attention_heads": 64/
  s/"num_key_value_heads": *[0-9]*/"num_key_value_heads": 8/; s/"head_dim": *[0-9]*/"head_dim": 128/' "$dir/m/config.json" >"$dir/70b.json"
gpus() { # GIB TEXT WAVES
  "$shardbits" plan "$dir/70b.json" --ranks 64 --ranks-per-node 8 --gpus-per-node 8 --gpu-memory "$1" --seqs 128 --seqlen 2048 \
    --quantizer gptq --gflops 1000 >"$dir/out" 2>&1 || fail "plan for GPUs: $(cat "$dir/out")"
  grep -q "second moments .*$2" "$dir/out" && grep -q "(2 of 128 sequences, $3)" "$dir/out" || fail "GPUs of $1 GiB: $(cat "$dir/out")"
}
gpus 80 "all on every rank" "1 wave"
gpus 20 "spread over all ranks" "2 waves"
# What is not known of GPUs is not made up from a processor.
"$shardbits" plan "$dir/70b.json" --ranks 8 --gpus-per-node 8 --json "$dir/gpus.json" >"$dir/out" 2>&1 || fail "$(cat "$dir/out")"
grep -q "not known: no GPU was measured; --machine FILE" "$dir/out" && ! grep -q '"seconds' "$dir/gpus.json" &&
  grep -q '"gradient_pass"' "$dir/gpus.json" || fail "times of GPUs: $(cat "$dir/out" "$dir/gpus.json")"
finish
