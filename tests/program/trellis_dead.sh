#!/usr/bin/env bash
# Inputs that are dead, or nearly so, in the first and in the last layer: second moments have rows of zeros or all but, rows and
# columns of weights have a root mean square of 0. Factorisations succeed, all vectors are finite, and the loss is near the source's.
# The model is the first two layers of the demo model, with 64 dead channels in its MLPs.
. "$(dirname "$0")/../support/shell.sh"

dead=$dir/dead
spoil() { /usr/bin/python3 "$source/tests/program/spoil_model.py" "$dead" "$@"; }
cp -r "$model" "$dead" && chmod -R u+w "$dead" && spoil layers 2 && /usr/bin/python3 "$source/tests/program/widen_mlp.py" "$dead" 768
for layer in 0 1; do
  spoil fill "model.layers.$layer.input_layernorm.weight" 3 5 0       # dead inputs of q, k and v
  spoil fill "model.layers.$layer.input_layernorm.weight" 130 4 1e-25 # nearly dead
  spoil fill "model.layers.$layer.post_attention_layernorm.weight" 250 6 0
  spoil fill "model.layers.$layer.self_attn.v_proj.weight" 0 512 0 # two rows: dead inputs of o
  spoil fill "model.layers.$layer.self_attn.k_proj.weight" 256 256 1e-20
  spoil fill "model.layers.$layer.mlp.down_proj.weight" 0 768 0 # a dead row in the last matrix of the layer
done

options=("$dead" --calib "$calib" --seqs 6 --seqlen 48 --round-seqs 6 --method rtn --quantizer gptq --bits 4.2)
run 2 eval "$dead" --tokens "$heldout" --seqs 12 --seqlen 64 --json "$dir/source.json"
run 3 quantize "${options[@]}" --codes trellis -o "$dir/trellis" --json "$dir/trellis.json"
run 2 quantize "${options[@]}" --widths-for exl3 -o "$dir/exl3" --json "$dir/exl3.json"
run 1 quantize "${options[@]}" --codes trellis -o "$dir/trellis-1" --json "$dir/trellis-1.json"
[ "$(value "$dir/trellis.json" content_hash)" = "$(value "$dir/trellis-1.json" content_hash)" ] || fail "other frames on 3 ranks"
for name in trellis exl3; do
  run 2 verify "$dir/$name"
  run 2 export "$dir/$name" -o "$dir/$name-hf" --dtype f16 # refuses what is infinite or no number
  run 2 eval "$dir/$name" --tokens "$heldout" --seqs 12 --seqlen 64 --ref "$dead" --json "$dir/$name.eval.json"
  awk -v k="$(value "$dir/$name.eval.json" mean_kl)" -v p="$(value "$dir/$name.eval.json" perplexity)" \
    -v s="$(value "$dir/source.json" perplexity)" 'BEGIN { print k, p, s; exit !(k > 0 && k < 0.02 && p < 1.05 * s) }' ||
    fail "$name: divergence $(value "$dir/$name.eval.json" mean_kl), perplexity $(value "$dir/$name.eval.json" perplexity)"
done
run 2 export "$dir/exl3" -o "$dir/exl3-tensors" --format exl3
/usr/bin/python3 - "$source/tools" "$dir/exl3-tensors" <<'PYTHON' || fail "vectors that are infinite, no number or 0"
import sys
sys.path.insert(0, sys.argv[1])
import exl3_to_hf, numpy
vectors = {n: t for n, (_, t) in exl3_to_hf.read(sys.argv[2]).items() if n.endswith(("suh", "svh"))}
sys.exit(not vectors or any(not numpy.isfinite(v).all() or (v == 0).any() for v in vectors.values()))
PYTHON
finish
