#!/usr/bin/env bash
# `policy`: from a profile to a policy, its report and picture; exports say what the policy says; what cannot be is refused by one
# line. TRAINERS_PYTHON: a Python with torchao and megatron-core, whose own code then reads the exports too.
. "$(dirname "$0")/../support/shell.sh"

profile() { /usr/bin/python3 "$source/tests/program/random_profile.py" "$@"; }
profile 12 1024 256 2048 fp8-tensor,fp8-128,mxfp8,nvfp4 >"$dir/P.json"

# ---- a policy, the same from any number of ranks
run 1 policy "$dir/P.json" --precision fp8-128,nvfp4 --target 0.75 -o "$dir/one.json" --picture "$dir/one.svg" --json "$dir/report.json"
run 3 policy "$dir/P.json" --precision fp8-128,nvfp4 --target 0.75 -o "$dir/three.json"
cmp "$dir/one.json" "$dir/three.json" || fail "policies of 1 and 3 ranks differ"
/usr/bin/python3 - "$dir" <<'PYTHON' || fail "the policy, its report or its picture"
import json, sys, xml.dom.minidom
d = sys.argv[1]
profile, policy, report = (json.load(open(f"{d}/{n}.json")) for n in ("P", "one", "report"))
work = lambda l: l["rows"] * l["cols"]
low = sum(work(l) for l in policy["linears"] if l["fprop"] == "nvfp4") / sum(map(work, policy["linears"]))
print(low, report["fp4"], policy["certificate"])
assert low >= 0.75 and abs(policy["share"]["fp4"] - low) < 1e-12 and abs(report["fp4"] - low) < 1e-12
assert policy["certificate"]["optimal"] and policy["certificate"]["gap"] == 0 and report["seconds"] < 5
entry = {l["name"]: l["precisions"] for l in profile["linears"]}
score = sum(sum(entry[l["name"]][l["fprop"]]["exact"]["all"].values()) for l in policy["linears"])
assert abs(score - policy["certificate"]["score"]) < 1e-9 * score
picture = xml.dom.minidom.parse(f"{d}/one.svg")
assert len(picture.getElementsByTagName("title")) == 84
PYTHON
# what a policy says of itself stays when it is translated
run 1 policy "$dir/one.json" -o "$dir/again.json" --format te
cmp "$dir/one.json" "$dir/again.json" || fail "a policy that is read and written changes"

# ---- exports
check() { # POLICY FILES: they are all there, and say what the policy says
  local python=/usr/bin/python3 real=()
  [ -z "${TRAINERS_PYTHON:-}" ] || { python=$TRAINERS_PYTHON; real=(--real); }
  "$python" "$source/tools/check_policy_export.py" "$1" "${real[@]}" >"$dir/checked" 2>"$dir/err" || fail "exports: $(cat "$dir/checked" "$dir/err")"
  grep -q "^$2 files" "$dir/checked" || fail "not $2 files: $(cat "$dir/checked")"
}
check "$dir/again.json" 1
for format in fp8-tensor fp8-128 mxfp8; do
  run 1 policy "$dir/P.json" --precision $format,nvfp4 --tie fused --stages 11,1 --force '*.layers.1.*=bf16' --target 0.6 -o "$dir/$format.json" --format megatron
  for other in te torchao torchtitan; do
    [ $format-$other = fp8-128-torchtitan ] && continue # has no such converter
    run 1 policy "$dir/$format.json" -o "$dir/$format-$other.json" --format $other
    mv "$dir/$format-${other}_$other.py" "$dir/${format}_$other.py"
  done
  files=5; [ $format != fp8-128 ] || files=4
  check "$dir/$format.json" $files
done
# GEMMs of their own: TransformerEngine takes all, torchao tensorwise float8
run 1 policy "$dir/P.json" --by gemm --precision bf16,mxfp8,nvfp4 --speedup 2.5 -o "$dir/gemm.json" --format te
check "$dir/gemm.json" 1
run 1 policy "$dir/P.json" --by gemm --precision bf16,fp8-tensor --speedup 1.5 -o "$dir/float8.json" --format torchao
check "$dir/float8.json" 1
# the check itself notices a file that says something else
spoilt() { # FILE SED: of the policy that FILE is of
  local stem=${1%%[._]*} file
  rm -f "$dir"/x*
  cp "$dir/$stem.json" "$dir/x.json"
  for file in "$dir/$stem".stage*.yaml; do [ ! -e "$file" ] || cp "$file" "$dir/x${file##*"$stem"}"; done
  sed "$2" "$dir/$1" >"$dir/x${1#"$stem"}"
  cmp -s "$dir/$1" "$dir/x${1#"$stem"}" && fail "$2 changes nothing"
  /usr/bin/python3 "$source/tools/check_policy_export.py" "$dir/x.json" >"$dir/checked" && fail "$1 passes after $2"
}
spoilt fp8-tensor.stage0.yaml 's/layers.1.mlp/layers.1*.mlp/'
spoilt fp8-tensor.stage0.yaml 's/override_nonquantized_autocast: true/override_nonquantized_autocast: false/'
spoilt fp8-tensor.stage0.yaml 's/fp4_quantization_recipe: nvfp4/fp4_recipe: nvfp4/'
spoilt fp8-tensor.stage1.yaml 's/enabled: true/enabled: false/'
spoilt fp8-tensor_te.py 's/"nvfp4": "nvfp4_factory"/"nvfp4": "mxfp8_factory"/'
spoilt gemm_te.py 's/"grad_output": (1, 2)/"grad_output": (2, 1)/'
spoilt fp8-tensor_torchao.py 's/("nvfp4", "nvfp4", "nvfp4")/("nvfp4", "nvfp4", "bf16")/'
spoilt fp8-tensor_torchtitan.py '0,/layers.*wo/s///'
spoilt fp8-tensor_torchtitan.py 's/"lm_head",//'

# stages of an earlier policy do not pass for this one's; other files stay
for stage in 2 3; do cp "$dir/mxfp8.stage1.yaml" "$dir/mxfp8.stage$stage.yaml"; done
echo "# mine" >"$dir/mxfp8.stage4.yaml"
cp "$dir/mxfp8.json" "$dir/read.json"
run 1 policy "$dir/read.json" -o "$dir/mxfp8.json" --format megatron
[ "$(cd "$dir" && echo mxfp8.stage*)" = "mxfp8.stage0.yaml mxfp8.stage4.yaml" ] || fail "stages: $(ls "$dir")"

# ---- --help shows a file of rates, and each list once; rates that are not known are told
"$shardbits" policy --help >"$dir/help"
sed -n '/shardbits-rates/,/}}}/p' "$dir/help" >"$dir/rates.json"
run 1 policy "$dir/P.json" --precision fp8-128,nvfp4 --rates "$dir/rates.json" --speedup 2.5
[ "$(grep -c least-absolute "$dir/help")" = 1 ] || fail "--help: $(grep least-absolute "$dir/help")"
"$shardbits" policy "$dir/one.json" --rates h200 | grep -q "not known: h200 has no rate for nvfp4" || fail "a speed that is not known"

# ---- what cannot be: rank 0 works, so a few cases on several ranks say enough
refused "a share of 1 in FP4 is out of reach: 0 to 0.9166 are possible" policy "$dir/P.json" --precision fp8-128,nvfp4 --target 1 --keep-first 1 -o "$out"
refuses 1 "stage 1 (layers 10 to 11): 0 to 0.5 are possible" policy "$dir/P.json" --precision fp8-128,nvfp4 --stages 10,2 --keep-last 1 -o "$out"
refuses 1 "a speed-up of 5 is out of reach: at most 4 is possible" policy "$dir/P.json" --speedup 5 -o "$out"
refuses 1 "mxfp4 was not measured; it has fp8-tensor, fp8-128, mxfp8, nvfp4" policy "$dir/P.json" --precision mxfp4 -o "$out"
refuses 1 "the stages 10,3 have at least 13 layers; the model has 12" policy "$dir/P.json" --stages 10,3 -o "$out"
refused "choose --tie fused" policy "$dir/one.json" -o "$out" --format megatron
refuses 1 "torchtitan has no fp8-128" policy "$dir/one.json" -o "$out" --format torchtitan
refuses 1 "b400: " policy "$dir/P.json" --rates b400 --speedup 2 -o "$out"
refuses 1 "b300: has no rate for fp8-tensor" policy "$dir/P.json" --rates b300 --speedup 2 -o "$out"
profile 12 1024 256 2080 fp8-128,nvfp4 >"$dir/odd.json"
refuses 1 "nvfp4 in torchao wants multiples of 128" policy "$dir/odd.json" --precision nvfp4 --target 1 -o "$out" --format torchao
refuses 1 "made for another model: 2048 channels of the MLP where this one has 2080" policy "$dir/odd.json" --present "$dir/one.json" -o "$out"
head -c 5000 "$dir/P.json" >"$dir/cut.json"
refused "is not valid JSON" policy "$dir/cut.json" -o "$out"
refuses 1 "not shardbits-profile; shardbits profile makes such files" policy "$model/config.json" -o "$out"
refuses 1 "--force makes model.layers.0.mlp.down_proj nvfp4, and --keep-first 1" policy "$dir/P.json" --force '*.down_proj=nvfp4' --keep-first 1
refuses 1 "out of reach: no precision to choose from has 4 bits" policy "$dir/P.json" --precision bf16,mxfp8
refuses 1 "more layers than the model's 12" policy "$dir/P.json" --keep-first 7 --keep-last 6 -o "$out"
refuses 1 "not shardbits-rates; shardbits policy --help shows" policy "$dir/P.json" --rates "$dir/one.json"
wrong=2
refuses 1 '"fp4" is none of bf16, fp8-tensor' policy "$dir/P.json" --precision fp8-128,fp4 -o "$out"
refuses 1 "nvfp4 is given twice" policy "$dir/P.json" --precision nvfp4,bf16,nvfp4 -o "$out"
refused "two targets" policy "$dir/P.json" --target 0.5 --speedup 2 -o "$out"
for option in "--target 0.5" "--by gemm" "--force *=bf16" "--metric norms" "--balance --stages 2"; do
  # shellcheck disable=SC2086 # an option and its value
  refuses 1 "has its choices already" policy "$dir/one.json" $option -o "$out"
done
refuses 1 "of --baseline random" policy "$dir/P.json" --baseline by-type --seed 3
refuses 1 "all-mlp has no target" policy "$dir/P.json" --baseline all-mlp --target 0.5
refuses 1 "needs --stages" policy "$dir/P.json" --balance -o "$out"
refuses 1 "needs --present" policy "$dir/P.json" --switch-cost 1 -o "$out"
refuses 1 "needs -o" policy "$dir/P.json" --format te
refuses 1 "neither --speedup nor --by gemm" policy "$dir/P.json" --baseline random --by gemm -o "$out"
refuses 1 "neither --speedup nor --by gemm, --balance" policy "$dir/P.json" --baseline by-type --stages 2 --balance
refuses 1 "leave --loss-factor out" policy "$dir/P.json" --metric absolute --loss-factor 3
finish
