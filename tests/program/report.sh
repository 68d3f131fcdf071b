#!/usr/bin/env bash
# report.sh SHARDBITS MPIRUN SOURCE: what report shows of real runs is what their --json says (read_report.py); the same bytes every time
# and on any ranks; names of others stay text; files that do not go together.
. "$(dirname "$0")/../support/shell.sh"

few="--calib $tiny_tokens --seqlen 8 --seqs 4 --trades 1 --strides 1 --round-seqs 4 --tune-seqs 4 --block 16x16 --embed-bits 16 --head-bits 16"
mkdir "$dir/a<b>&c" || exit 1
uniform="$dir/a<b>&c/uniform"
# shellcheck disable=SC2086
run 2 quantize "$tiny" $few --bits 4 --reorder fused -o "$dir/ours" --json "$dir/ours.json"
run 1 quantize "$tiny" --block 16x16 --bits 5 --method rtn -o "$uniform" --json "$dir/uniform.json"
for which in ours uniform; do
  folder=$dir/ours
  [ $which = ours ] || folder=$uniform
  run 1 eval "$folder" --ref "$tiny" --tokens "$tiny_tokens" --seqlen 8 --json "$dir/$which.eval.json"
done
all=("$dir/ours.json" "$dir/uniform.json" "$dir/ours.eval.json" "$dir/uniform.eval.json")
run 1 report "${all[@]}" -o "$dir/page.html" --json "$dir/report.json"
/usr/bin/python3 "$source/tests/program/read_report.py" "$dir/page.html" "${all[@]}" || fail "the page"
[ "$(value "$dir/report.json" bytes)" = "$(wc -c <"$dir/page.html")" ] || fail "report's own --json"

for ranks in 1 3; do
  "$mpirun" $ranks "$shardbits" report "${all[@]}" -o - --quiet >"$dir/again" 2>"$dir/err" || fail "on $ranks ranks: $(cat "$dir/err")"
  cmp "$dir/page.html" "$dir/again" || fail "other bytes on $ranks ranks"
done

# Training: 1000 steps are drawn as 334 means of up to three. A profile: errors of one precision in two layers.
/usr/bin/python3 - "$dir" <<'END' || fail "files of training"
import json, sys
with open(sys.argv[1] + "/events.jsonl", "w") as file:
    for step in range(1, 1001):
        file.write(json.dumps({"event": "step", "step": step, "loss": 8 / (1 + step / 100)}) + "\n")
    file.write(json.dumps({"event": "eval", "step": 1000, "loss": 1.25, "perplexity": 3.5}) + "\n")
train = {"program": "shardbits", "command": "train", "ranks": 2, "model": "m", "precision": "bf16 <b>", "step": 1000, "loss": 0.7273, "seconds": 61}
json.dump(train, open(sys.argv[1] + "/train.json", "w"))
linear = lambda layer, error: {"name": "model.layers.%d.mlp.up_proj.weight" % layer, "layer": layer, "precisions": {"nvfp4": {
    "rel_error": error, "exact": {"all": {"loss": 0, "weight": error / 2}}, "truth": {"loss": 0, "weight": error / 4}}}}
json.dump({"format": "shardbits-profile", "step": 7, "precisions": ["nvfp4"], "linears": [linear(0, 0.125), linear(1, 0.25)]},
          open(sys.argv[1] + "/profile.json", "w"))
END
run 1 report "$dir/train.json" "$dir/events.jsonl" -o "$dir/training.html"
run 1 report "$dir/profile.json" -o "$dir/profile.html"
/usr/bin/python3 - "$dir" <<'END' || fail "pages of training"
import sys, xml.etree.ElementTree as xml
def figures(name):
    root = xml.fromstring(open(sys.argv[1] + name, encoding="utf-8").read().split("\n", 1)[1])
    words = lambda e: "".join(e.itertext())
    return root, {words(f.find("h4")): [[words(td) for td in tr] for tr in f.iter("tr")][1:] for f in root.iter("figure")}
root, found = figures("/training.html")
assert any("bf16 <b>" == "".join(td.itertext()) for td in root.iter("td"))
loss = found["Training loss"]
assert len(loss) == 334, len(loss)
expected = sum(8 / (1 + step / 100) for step in (1, 2, 3)) / 3
assert float(loss[0][1]) == 2 and abs(float(loss[0][2]) - expected) < 1e-5 * expected, loss[0]
assert loss[-1][1:] == ["1000", "%.6g" % (8 / 11)], loss[-1]
assert found["Held-out loss"] == [["events.jsonl", "1000", "1.25"]], found["Held-out loss"]
root, found = figures("/profile.html")
assert found["Errors of nvfp4"] == [["0", "0.125"], ["1", "0.25"]], found
assert found["Error a layer with nvfp4, predicted and measured"] == [
    ["predicted", "0", "0.0625"], ["predicted", "1", "0.125"], ["measured", "0", "0.03125"], ["measured", "1", "0.0625"]], found
END
refuses 1 'make two' report "$dir/train.json" "$dir/ours.json" -o "$out"

# Time against ranks: of runs that differ in these alone.
sed 's/"ranks": 2,/"ranks": 4,/; s/"out": ".*"/"out": "other"/' "$dir/ours.json" >"$dir/four.json"
run 1 report "${all[@]}" "$dir/four.json" -o "$dir/ranks.html"
grep -q 'Time against ranks' "$dir/page.html" && fail "times against ranks where only other runs have other ranks"
grep -q '<h4[^>]*>Time against ranks' "$dir/ranks.html" || fail "no times against ranks"

echo '{"program": "other"}' >"$dir/other.json"
run 1 plan "$tiny" --json "$dir/plan.json"
refused 'no result of shardbits' report "${all[@]}" "$dir/other.json" -o "$out"
refuses 1 'is of shardbits plan; a report shows' report "$dir/plan.json" -o "$out"
refuses 1 'choose' report "${all[@]}" -o "$dir/ours.json"
wrong=2 refuses 1 'RUN.json is missing' report -o "$out"
many=()
for _ in $(seq 65); do many+=("$dir/ours.json"); done
wrong=2 refuses 1 'comes more than 64 times' report "${many[@]}" -o "$out"
finish
