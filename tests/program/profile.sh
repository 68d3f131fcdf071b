#!/usr/bin/env bash
# `profile`: the same file from any number of ranks; with an optimizer's state; --truth; what policy makes of it; what is refused.
. "$(dirname "$0")/../support/shell.sh"
# shellcheck disable=SC2054 # a list of formats is one word
common=(--tokens "$calib" --precision fp8-128,nvfp4 --batch 5 --seqlen 48 --warmup 3)

# ---- the same bits on 1, 2 and 3 ranks
for ranks in 1 2 3; do
  run $ranks profile "$model" "${common[@]}" --json "$dir/$ranks.json"
  cmp "$dir/1.json" "$dir/$ranks.json" || fail "profiles of 1 and $ranks ranks differ"
done
"$shardbits" profile "$model" "${common[@]}" --json "$dir/told.json" >"$dir/table" 2>"$dir/log" || fail "profile: $(cat "$dir/log")"
grep -q "model.layers.0.mlp.down_proj" "$dir/table" || fail "the table: $(cat "$dir/table")"
"$shardbits" profile "$model" "${common[@]}" --json - --quiet 2>"$dir/err" | cmp - "$dir/1.json" || fail "--json -: not what the file has"
grep -q "warning: moments of 3 batches predict too large" "$dir/log" || fail "no warning of few batches: $(cat "$dir/log")"
"$shardbits" profile "$tiny" --tokens "$tiny_tokens" --precision fp4-128 --seqlen 16 --batch 2 --warmup 8 >"$dir/table" 2>"$dir/few" || fail "profile: $(cat "$dir/few")"
[ "$(grep -c warning "$dir/few")" = 1 ] && grep -q "warning: without --json" "$dir/few" || fail "warnings: $(cat "$dir/few")"
grep -q "moments.*3 batches" "$dir/log" || fail "nothing says where the moments are from: $(cat "$dir/log")"
# on a terminal each phase shows how far it is, the two steps of the profile too
/usr/bin/python3 - "$shardbits" profile "$model" "${common[@]}" --batch 12 --seqlen 256 --json "$dir/long.json" >"$dir/bars" <<'PYTHON'
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
try:
    while text := os.read(terminal, 4096):
        sys.stdout.write(text.decode().replace("\r", "\n"))
except OSError: # the terminal's end
    pass
PYTHON
for bar in 'moments  [0-9]*%' 'profile  [0-9]*%' 'moments .* s .*of 3 batches' 'profile .*slopes .* s, noise step .* s, errors .* s'; do
  grep -qa "$bar" "$dir/bars" || fail "no '$bar' in: $(cat "$dir/bars")"
done
/usr/bin/python3 - "$dir/1.json" <<'PYTHON' || fail "the profile"
import json, math, sys
p = json.load(open(sys.argv[1]))
assert p["combine"] == "squares" and p["batch"] == 5 and p["seqlen"] == 48 and p["step"] == 3 and 2 < p["loss"] < 5
assert len(p["linears"]) == 35
for l in p["linears"]:
    assert all(v > 0 for v in l["norms"].values()), l
    low, high = (l["precisions"][n] for n in ("nvfp4", "fp8-128"))
    assert low["abs_error"] > high["abs_error"] > 0 and low["rel_error"] > high["rel_error"] > 0
    for metric in ("exact", "norms"):
        e = low[metric]
        parts = [e[g]["weight"] for g in ("fprop", "dgrad", "wgrad")]
        assert math.isclose(e["all"]["weight"], math.hypot(*parts), rel_tol=1e-9)
        assert e["all"]["loss"] == e["fprop"]["loss"] > 0 and e["dgrad"]["loss"] == e["wgrad"]["loss"] == 0
        assert e["all"]["weight"] > high[metric]["all"]["weight"] > 0, l["name"]
PYTHON
run 1 policy "$dir/1.json" --target 0.75 -o "$dir/policy.json"

# ---- moments of a training run, and the truth
run 1 train "$model" --tokens "$calib" --steps 4 --stop-at 3 --batch 5 --seqlen 48 --save-every 3 --lr 1e-4 -o "$dir/trained" --checkpoints "$dir/states"
state=$(find "$dir/states" -name optimizer.safetensors | head -1)
run 2 profile "${state%/*}" --tokens "$calib" --precision nvfp4 --batch 5 --seqlen 48 --optimizer "$state" --json "$dir/state.json" \
  --truth --truth-policies 1
/usr/bin/python3 - "$dir/state.json" <<'PYTHON' || fail "the profile of a training run, with its truth"
import json, sys
p = json.load(open(sys.argv[1]))
def ranks(x): return [sorted(x).index(v) for v in x]
def correlation(a, b):
    a, b = ranks(a), ranks(b)
    mean = (len(a) - 1) / 2
    s = lambda x, y: sum((u - mean) * (v - mean) for u, v in zip(x, y))
    return s(a, b) / (s(a, a) * s(b, b)) ** 0.5
assert p["step"] == 3
entries = [l["precisions"]["nvfp4"] for l in p["linears"]]
for what in ("loss", "weight"):
    c = correlation([e["exact"]["all"][what] for e in entries], [e["truth"][what] for e in entries])
    print(what, c)
    assert c > 0.85 # 240 tokens; docs/snip.md has figures of thousands
PYTHON

# ---- what is refused
wrong=2
refused "nvfp5" profile "$tiny" --tokens "$tiny_tokens" --precision nvfp5
refused "twice" profile "$tiny" --tokens "$tiny_tokens" --precision nvfp4,nvfp4
refused "leave --beta1, --beta2 out" profile "$tiny" --tokens "$tiny_tokens" --precision nvfp4 --optimizer "$state" --beta1 0.8
refused "profile: --hadamard is of nvfp4" profile "$tiny" --tokens "$tiny_tokens" --precision fp4-128 --hadamard off --json "$out.json"
refused "of --truth; give it too" profile "$tiny" --tokens "$tiny_tokens" --precision nvfp4 --truth-linears 4
refused "leaves nothing of the profile" profile "$tiny" --tokens "$tiny_tokens" --precision nvfp4
refuses 1 "--beta2 1: a number from 0 to below 1" profile "$tiny" --tokens "$tiny_tokens" --precision nvfp4 --beta2 1 --json "$out.json"
wrong=1
refused "optimizer.safetensors: .*shape" profile "$tiny" --tokens "$tiny_tokens" --precision fp4-128 --seqlen 16 --batch 2 --optimizer "$state" --json "$out.json"
refused "must be multiples of 32" profile "$tiny" --tokens "$tiny_tokens" --precision mxfp8 --seqlen 16 --batch 2 --json "$out.json"
refused "nowhere" profile "$dir/nowhere" --tokens "$tiny_tokens" --precision nvfp4 --json "$out.json"
refused "No such file" profile "$tiny" --tokens "$dir/nothing.bin" --precision fp4-128 --json "$out.json"
for early in "--tokens $dir/nothing.bin" "--tokens $tiny_tokens --optimizer $dir/nothing"; do
  # shellcheck disable=SC2086
  "$shardbits" profile "$tiny" $early --precision fp4-128 --seqlen 16 --json "$out.json" 2>"$dir/stderr" && fail "$early: no failure"
  grep -q "nothing.*No such file" "$dir/stderr" && ! grep -q "^load " "$dir/stderr" || fail "$early: found after loading: $(cat "$dir/stderr")"
done
finish
