#!/usr/bin/env bash
# train in low precision: uniform or by a policy per GEMM, the same weights on any number of ranks and after a stop; a policy of
# another model, a shape that cannot carry a precision, and a state of another policy are refused by name.
. "$(dirname "$0")/../support/shell.sh"

config=$dir/config.json tokens=$dir/tokens.bin
sed 's/"hidden_size": 48/"hidden_size": 64/; s/"intermediate_size": 136/"intermediate_size": 128/' "$tiny/config.json" >"$config"
/usr/bin/python3 - "$source/docs/results.md" "$tokens" "$config" "$dir" <<'EOF'
import json, struct, sys
open(sys.argv[2], "wb").write(b"".join(struct.pack("<H", b) for b in open(sys.argv[1], "rb").read()))
c = json.load(open(sys.argv[3]))
h, i, d = c["hidden_size"], c["intermediate_size"], c["hidden_size"] // c["num_attention_heads"]
q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
shapes = [("self_attn.q_proj", q, h), ("self_attn.k_proj", kv, h), ("self_attn.v_proj", kv, h), ("self_attn.o_proj", h, q),
          ("mlp.gate_proj", i, h), ("mlp.up_proj", i, h), ("mlp.down_proj", h, i)]
linears = [dict(name="model.layers.%d.%s" % (l, n), layer=l, rows=r, cols=k) for l in range(2) for n, r, k in shapes]
model = dict(architecture="LlamaForCausalLM", layers=2, hidden=h, intermediate=i, vocab=c["vocab_size"], linears=len(linears))
def write(name, choose, **changes):
    for n, e in enumerate(linears):
        e.update(zip(("fprop", "dgrad", "wgrad"), choose(n, e)))
    json.dump({"format": "shardbits-policy", "version": 1, "model": dict(model, **changes), "linears": linears},
              open(sys.argv[4] + "/" + name, "w"))
write("mixed.json", lambda n, e: (("nvfp4", "fp8-128", "mxfp4") if n % 3 else ("bf16", "fp8-tensor", "nvfp4")))
write("mlp.json", lambda n, e: ("nvfp4",) * 3 if "mlp" in e["name"] else ("bf16",) * 3)
write("high.json", lambda n, e: ("bf16",) * 3)
write("other.json", lambda n, e: ("bf16",) * 3, hidden=128)
write("unknown.json", lambda n, e: ("fp3",) * 3)
EOF
options=("$config" --tokens "$tokens" --token-dtype u16 --seqlen 32 --batch 5 --steps 12 --lr 0.003 --save-every 3)
weights() { sha256sum <"$1/model.safetensors"; }

high=$(run 1 train "${options[@]}" -o "$dir/high" && weights "$dir/high")
run 2 train "${options[@]}" --policy "$dir/high.json" -o "$dir/h"
[ "$(weights "$dir/h")" = "$high" ] || fail "a policy that keeps all high has other weights than none"
declare -A seen=([$high]=f32)
for how in "--precision nvfp4" "--precision fp8-128 --keep-first 1" "--policy $dir/mixed.json" "--policy $dir/mlp.json --stochastic off"; do
  # shellcheck disable=SC2086
  run 1 train "${options[@]}" $how -o "$dir/one" --overwrite --checkpoints "$dir/c1" --eval-tokens "$tokens" --json "$dir/one.json"
  # shellcheck disable=SC2086
  run 3 train "${options[@]}" $how -o "$dir/three" --overwrite --checkpoints "$dir/c3" --stop-at 5
  # shellcheck disable=SC2086
  run 2 train "${options[@]}" $how -o "$dir/three" --overwrite --checkpoints "$dir/c3" --eval-tokens "$tokens" --json "$dir/three.json"
  one=$(weights "$dir/one")
  [ "$one" = "$(weights "$dir/three")" ] || fail "$how: other weights on other ranks"
  [ "$(value "$dir/one.json" heldout_loss)" = "$(value "$dir/three.json" heldout_loss)" ] || fail "$how: another held-out loss"
  [ -z "${seen[$one]:-}" ] || fail "$how: the weights of ${seen[$one]}"
  seen[$one]=$how
  awk -v l="$(value "$dir/one.json" loss)" 'BEGIN { exit !(l > 1 && l < 5) }' || fail "$how: loss $(value "$dir/one.json" loss)"
  rm -rf "$dir/c1" "$dir/c3"
done
run 1 train "${options[@]}" --policy "$dir/mlp.json" --checkpoints "$dir/k" -o "$dir/m" --stop-at 4 --json "$dir/m.json"
run 1 train "${options[@]}" --precision nvfp4 --keep-first 1 --save-every 0 -o "$dir/kept" --json "$dir/kept.json"
grep -q '"precision": "nvfp4, first 1 and last 0 layers high"' "$dir/kept.json" || fail "the name of the precision: $(grep precision "$dir/kept.json")"
# a layer: three matrices of 128 x 64 in its MLP; 64 x 64 twice and 32 x 64 twice in attention
[ "$(value "$dir/m.json" fp4_share)" = 0.66666666666666663 ] || fail "share of fp4: $(value "$dir/m.json" fp4_share)"
run 1 train "${options[@]}" --policy "$dir/mlp.json" --checkpoints "$dir/k" -o "$dir/m" --eval-precision trained --eval-tokens "$tokens" \
  --json "$dir/m.json"
trained=$(value "$dir/m.json" heldout_loss)
run 1 eval "$dir/m" --tokens "$tokens" --seqlen 32 --json "$dir/e.json"
[ "$trained" != "$(value "$dir/e.json" loss)" ] || fail "held-out loss in the precision of training is that of high precision"

refused "other.json: made for another model: .*hidden" train "${options[@]}" --policy "$dir/other.json" -o "$out"
refuses 1 "unknown.json: .*fp3 is no precision; known are" train "${options[@]}" --policy "$dir/unknown.json" -o "$out"
refuses 1 "mixed.json: made for another model" train "$tiny" "${options[@]:1}" --policy "$dir/mixed.json" -o "$out"
refuses 1 "layer 0: model.layers.0.self_attn.q_proj.weight .*48, 48.* mxfp8 .*multiples of 32" train "$tiny" "${options[@]:1}" \
  --precision mxfp8 -o "$out"
refuses 1 "another precision .*: policy [0-9a-f]* there, nvfp4 here" train "${options[@]}" --precision nvfp4 --checkpoints "$dir/k" -o "$out"
refuses 1 "another --hadamard: on there, off here" train "${options[@]}" --policy "$dir/mlp.json" --hadamard off --checkpoints "$dir/k" -o "$out"
wrong=2 refuses 1 "--policy and --precision nvfp4 both choose" train "${options[@]}" --policy "$dir/mlp.json" --precision nvfp4 -o "$out"
wrong=2 refuses 1 "--precision f32 contradicts --compute bf16" train "${options[@]}" --precision f32 --compute bf16 -o "$out"
wrong=2 refuses 1 "--keep-last keeps layers out of low precision" train "${options[@]}" --keep-last 1 -o "$out"
refuses 1 "--keep-first 1 and --keep-last 1 leave none of the 2 layers" train "${options[@]}" --precision nvfp4 --keep-first 1 --keep-last 1 -o "$out"
wrong=2 refuses 1 "train: --mxfp4-scale is of mxfp4" train "${options[@]}" --precision nvfp4 --mxfp4-scale even -o "$out"
wrong=2 refuses 1 "train: --f32-scales is of fp8-128" train "${options[@]}" --policy "$dir/mlp.json" --f32-scales on -o "$out"
wrong=2 refuses 1 "train: --stochastic is of formats of 4 bits" train "${options[@]}" --precision mxfp8 --stochastic off -o "$out"
refuses 1 "--keep-first 2 and --keep-last 1 are more layers than the 2 of the model" train "${options[@]}" --precision nvfp4 \
  --keep-first 2 --keep-last 1 -o "$out"
finish
