#!/usr/bin/env bash
# Folders that say the same in another way, or more than is needed: the loss is that of the plain folder, bit for bit, and what is
# not used is said in one line. Folders that contradict themselves are refused.
. "$(dirname "$0")/../support/shell.sh"

tied=$source/tests/golden/gqa-tied untied=$source/tests/golden/mha-untied sharded=$source/tests/golden/sharded-f16
layer=model.layers.0

copy() { # FROM: $m is a copy that may be changed
  m=$dir/m
  rm -rf "$m"
  cp -r "$1" "$m" && rm "$m/grads.safetensors" "$m/logits.bin"
  tokens=$1/tokens.bin
}
spoil() { /usr/bin/python3 "$source/tests/program/spoil_model.py" "$m" "$@" || fail "the test is wrong: $*"; }
loss_of() { # FOLDER [RANKS]: $loss, all digits, and $dir/err
  local start=("$shardbits")
  [ "${2:-1}" = 1 ] || start=("$mpirun" "$2" "$shardbits")
  "${start[@]}" eval "$1" --tokens "$tokens" --token-dtype u16 --seqlen 48 --json "$dir/eval.json" >"$dir/out" 2>"$dir/err" || {
    fail "eval of $1: $(cat "$dir/err")"
    loss=none
    return
  }
  loss=$(value "$dir/eval.json" loss)
}
same() { # WHAT [NOTE]: $m has the loss of the plain folder, on 1 rank and on 2; a line of the log says NOTE, once, or there is no note
  for ranks in 1 2; do
    loss_of "$m" $ranks
    [ "$loss" = "$plain" ] || fail "$1 on $ranks ranks: loss $loss, expected $plain"
    [ "$(grep -c '^note: ' "$dir/err")" = $((${2:+1} + 0)) ] || fail "$1 on $ranks ranks: notes: $(grep '^note: ' "$dir/err")"
    [ -z "${2:-}" ] || grep -q "^note: .*$2" "$dir/err" || fail "$1: no '$2' in $(cat "$dir/err")"
  done
}
no() { # TEXT: $m is refused
  refused "$1" eval "$m" --tokens "$tokens" --seqlen 48
}

# ---- names (15)
copy "$untied" && loss_of "$m" && plain=$loss
spoil rename model. "" && same "names without model."
copy "$untied" && spoil rename model. language_model.model. && spoil move lm_head.weight language_model.lm_head.weight && same "a wrapper"
copy "$untied" && spoil rename model. module.model. && same "a wrapper around all but the head"
copy "$untied" && spoil rename model. a.b. && spoil move lm_head.weight a.b.lm_head.weight && same "any prefix"
copy "$untied" && spoil rename model. x. && spoil copy x.layers.0.input_layernorm.weight y.layers.0.input_layernorm.weight
no "$m: holds several models, by [xy].layers.0.input_layernorm.weight and [xy]"

# ---- what is not needed (12)
copy "$untied" && spoil add freqs_cis C64 4 && spoil add vision.weight F16 3 && same "foreign tensors" "ignored: 2 tensors without a place (.*freqs_cis"
copy "$untied" && spoil split && first=model-00001-of-00002.safetensors second=model-00002-of-00002.safetensors
same "two shards"
spoil stale $layer.self_attn.rotary_emb.inv_freq $first && same "a stale entry" "ignored: 1 entry of the index; inspect"
spoil stale other.weight gone.safetensors && same "a missing shard that nobody needs" "ignored: 2 entries of the index"
spoil add dup.buffer F32 3 $first && spoil add dup.buffer F32 3 $second && cp "$m/$first" "$m/extra.safetensors"
same "doubled buffers and a file" "ignored: 2 tensors without a place (dup.buffer, dup.buffer), 2 entries of the index, 1 file; inspect"
"$shardbits" inspect "$m" --json "$dir/inspect.json" >"$dir/out" || fail "inspect of an odd folder"
for want in "tensor .*dup.buffer, F32" "index .*inv_freq" "index .*other.weight, in a shard that is missing" "file .*extra.safetensors"; do
  grep -q "^  $want" "$dir/out" || fail "inspect does not list $want: $(cat "$dir/out")"
done
tr -d ' \n' <"$dir/inspect.json" | grep -q '"ignored_tensors":\["dup.buffer","dup.buffer"\],"stale_index_entries":\["model.*inv_freq","other.weight"\],"ignored_files":\["extra.safetensors"\]' ||
  fail "inspect's report: $(cat "$dir/inspect.json")"
copy "$untied" && spoil split && spoil stale $layer.mlp.up_proj.weight $second && same "another shard than the index says" "1 tensor is not in the shard"
rm "$m/model.safetensors.index.json" && same "shards without an index"
rm "$m/$second" && no "$m: has no model.safetensors.index.json, and shard 2 of 2 is missing"
copy "$untied" && spoil split && cp "$m/$first" "$m/third.safetensors" && spoil stale x third.safetensors
same "a shard twice" "ignored: .* tensors without a place"
spoil change $layer.input_layernorm.weight third.safetensors
no "tensor '$layer.input_layernorm.weight' is also in .*, and differs"
copy "$sharded" && spoil stale "$layer.input_layernorm.weight" model-00004-of-00003.safetensors && loss_of "$m"
copy "$untied" && spoil drop $layer.mlp.up_proj.weight && no "$layer.mlp.up_proj.weight is missing"

# ---- flags that override tensors (03, 17)
copy "$untied" && spoil set tie_word_embeddings true
same "a head that is another" "the stored LM head differs .* is used, although config.json says tie_word_embeddings"
run 2 quantize "$m" --calib "$tokens" --token-dtype u16 --bits 4 --block 16x32 --seqlen 48 --seqs 2 --quantizer rtn --tune-seqs 0 -o "$dir/packed" --overwrite
run 1 export "$dir/packed" -o "$dir/hf" --overwrite
grep -q '"tie_word_embeddings": false' "$dir/packed/config.json" || fail "the output still ties the head: $(cat "$dir/packed/config.json")"
grep -q '"tie_word_embeddings": false' "$dir/hf/config.json" || fail "export still ties the head: $(cat "$dir/hf/config.json")"
loss_of "$dir/packed" && coded=$loss && loss_of "$dir/hf" && awk -v a="$coded" -v b="$loss" 'BEGIN { exit !(a - b < 0.02 && b - a < 0.02) }' ||
  fail "export of an untied head: loss $loss, coded $coded"
run 1 reorder "$m" --calib "$tokens" --token-dtype u16 --seqs 2 --seqlen 48 --bits 3 --no-shares --block 16x32 -o "$dir/hf" --overwrite
grep -q '"tie_word_embeddings": false' "$dir/hf/config.json" || fail "reorder still ties the head"
copy "$tied" && loss_of "$m" && plain=$loss && spoil copy model.embed_tokens.weight lm_head.weight && same "a head that is the same"
copy "$tied" && spoil move model.embed_tokens.weight lm_head.weight && same "only the head stored"
spoil set tie_word_embeddings false && no "model.embed_tokens.weight is missing"
copy "$tied" && spoil set attention_bias true && no "the bias of $layer.self_attn.q_proj.weight is missing"
for i in 0 1; do
  for p in q k v o; do spoil add model.layers.$i.self_attn.${p}_proj.bias BF16 "$([ $p = k ] || [ $p = v ] && echo 24 || echo 48)"; done
done
same "biases of zero"
run 1 quantize "$m" --calib "$tokens" --token-dtype u16 --bits 4 --block 16x32 --seqlen 48 --seqs 2 --quantizer rtn --tune-seqs 0 -o "$dir/packed" --overwrite
run 1 export "$dir/packed" -o "$dir/hf" --overwrite
grep -q '"attention_bias": false' "$dir/hf/config.json" || fail "export announces biases: $(cat "$dir/hf/config.json")"
spoil add $layer.self_attn.q_proj.bias BF16 48+63 && no "q_proj.bias is not zero; only linear layers and norms without biases"
copy "$tied" && spoil add model.norm.bias BF16 48+1 && no "model.norm.bias is not zero"
copy "$tied" && spoil add model.norm.bias BF16 48+128 && same "a bias of minus zero"
copy "$tied" && spoil set num_hidden_layers 1 && no "model.layers.1.* is stored, but config.json counts 1 layers; correct num_hidden_layers"
copy "$tied" && spoil set torch_dtype '"float32"' && same "another label of the type" "config.json says float32, but 14 of 14 matrices"

# ---- truncated weights: inspect and plan say so
copy "$tied" && truncate -s -100 "$m/model.safetensors"
refused "model.safetensors: .*truncated" inspect "$m"
"$shardbits" plan "$m" --gflops 1 --json "$dir/plan.json" >"$dir/out" 2>"$dir/err" || fail "plan of truncated weights: $(cat "$dir/err")"
grep -q "^warning: quantize would refuse these weights: .*truncated" "$dir/err" && grep -q '"refused_weights": ".*truncated' "$dir/plan.json" ||
  fail "plan does not say that weights are truncated: $(cat "$dir/err")"
rm "$m/model.safetensors" && "$shardbits" plan "$m" --gflops 1 >"$dir/out" 2>"$dir/err" && ! grep -q warning "$dir/err" || fail "plan without weights: $(cat "$dir/err")"

# ---- lengths
copy "$tied" && spoil set rope_scaling '{"type": "dynamic", "factor": 2.0}' && same "dynamic RoPE below the trained length"
refused "--seqlen 129: beyond 128 tokens .*dynamic RoPE.*at most 128" eval "$m" --tokens "$tokens" --seqlen 129
copy "$tied" && spoil set max_position_embeddings 40 && loss_of "$m"
grep -q "^warning: --seqlen 48 is longer than the 40 positions" "$dir/err" || fail "no warning beyond the trained context: $(cat "$dir/err")"
copy "$tied" && spoil set architectures null && spoil set model_type '"mistral"' && same "Mistral by its type, with the window of 4096"
spoil set sliding_window 48 && same "a window that is just reached"
spoil set sliding_window 47 && no "--seqlen 48: beyond 47 tokens .*sliding_window in config.json"

# ---- what is no folder of a model
refused "is a file of weights; give the folder that holds it and config.json" eval "$tied/model.safetensors" --tokens "$tokens"
refused "hf download org/name --local-dir DIR" eval org/name --tokens "$tokens"
refused "$dir/nothing/here: cannot be opened: No such file" eval "$dir/nothing/here" --tokens "$tokens"
mkdir -p "$dir/models--o--n/snapshots/0a" "$dir/models--o--n/snapshots/1b" "$dir/models--o--n/refs"
refused "is the root of a hub's cache, not a model; give snapshots/0a in it" eval "$dir/models--o--n" --tokens "$tokens"
echo 1b >"$dir/models--o--n/refs/main"
refused "give snapshots/1b in it" plan "$dir/models--o--n"
ln -s ../../blobs/77 "$dir/models--o--n/snapshots/1b/config.json"
refused "1b/config.json: is a link to ../../blobs/77, which is not there" inspect "$dir/models--o--n/snapshots/1b"
refused "is an output of quantize, .*or export it first" quantize "$dir/packed" --calib "$tokens" --bits 3 -o "$out"
finish
