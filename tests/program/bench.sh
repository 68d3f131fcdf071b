#!/usr/bin/env bash
# shardbits bench, and plan with what it measured. How fast anything is, no test can say: that every figure is there, and what
# is made of it.
. "$(dirname "$0")/../support/shell.sh"
mkdir "$dir/disk"

for ranks in 1 2; do
  run $ranks bench "$model" --rounds 1 --seqlen 32 --block 64x64 --folder "$dir/disk" --json "$dir/bench-$ranks.json"
  grep -q "^Phases, one layer of $model, 32 tokens, f32" "$dir/out" || fail "$ranks ranks: $(cat "$dir/out")"
  [ -z "$(ls -A "$dir/disk")" ] || fail "$ranks ranks: left $(ls -A "$dir/disk")"
  /usr/bin/python3 - "$dir/bench-$ranks.json" $ranks <<'PYTHON' || fail "$ranks ranks: $(cat "$dir/bench-$ranks.json")"
import json, sys
report, ranks = json.load(open(sys.argv[1])), int(sys.argv[2])
assert report["command"] == "bench" and report["ranks"] == ranks and report["seqlen"] == 32
limits = {"gemm_f32", "memory_read", "memory_copy", "disk_write", "disk_read", "compress", "decompress"}
phases = {"forward", "backward", "moments", "grams", "factor", "rounding", "refine", "fit", "quantize", "score", "pack", "unpack",
          "trellis_12", "trellis_14", "trellis_16"}
assert limits <= set(report["limits"]) <= limits | {"gemm_bf16"}, report["limits"]
assert set(report["phases"]) == phases | ({"gather"} if ranks > 1 else set()), report["phases"]
assert len(report["network"]) == (4 if ranks > 1 else 0)
for phase in report["phases"].values():
    limit = report["limits"][phase["limit"]]["rate"]
    assert phase["rate"] > 0 and phase["share"] > 0
    if phase["unit"] == "FLOP/s":
        assert abs(phase["share"] - phase["rate"] / limit) < 1e-6 * phase["share"], phase
PYTHON
done

# config.json alone, of which one layer is made; nothing at all; several nodes
run 1 bench "$model/config.json" --rounds 1 --seqlen 16 --folder "$dir/disk" --json "$dir/layer.json"
[ "$(value "$dir/layer.json" model)" = "$model/config.json" ] || fail "config.json alone"
SHARDBITS_RANKS_PER_NODE=2 run 3 bench --rounds 1 --seqlen 16 --folder "$dir/disk" --json "$dir/nodes.json"
[ "$(value "$dir/nodes.json" nodes)" = 2 ] || fail "two nodes"

# plan from it: the arithmetic, from rates that are easy to follow
/usr/bin/python3 - "$dir/bench-1.json" "$dir/even.json" <<'PYTHON'
import json, sys
report = json.load(open(sys.argv[1]))
for name, phase in report["phases"].items():
    phase["rate"] = 1e9
for limit in report["limits"].values():
    limit["rate"] = 1e9
json.dump(report, open(sys.argv[2], "w"))
PYTHON
plan() { run 1 plan "$model" --seqs 6 --seqlen 32 --ranks 2 --strides 3 --trades 2 --threads 1 --json "$dir/plan.json" "$@"; }
plan --quantizer gptq --round-seqs 8 --machine "$dir/even.json" --embed-bits 16
grep -q "^Rates of a rank, of $dir/even.json: cpu, 1 rank x 1 thread, 32 tokens of " "$dir/out" || fail "$(cat "$dir/out")"
/usr/bin/python3 - "$dir/plan.json" <<'PYTHON' || fail "plan --machine: $(cat "$dir/plan.json")"
import json, sys
plan = json.load(open(sys.argv[1]))
linear, layers, T, h, i, q, kv, vocab = 3686400, 5, 32, 256, 704, 256, 128, 2048
near = lambda a, b: abs(a - b) < 1e-6 * b
assert linear == layers * (h * q * 2 + h * kv * 2 + 3 * h * i)
parts, attention, head = plan["seconds_by_part"], layers * 4 * q * T * (T + 1) / 2, 2 * T * vocab * h
forward, backward = 3 * (2 * T * linear + attention + head), 3 * (6 * T * linear + 3.5 * attention + 2 * head)
loss, gradient = forward + 2 * linear, forward + backward + (4 + 2) * linear + 3 * linear
assert near(plan["loss_pass"]["seconds"], loss / 1e9), (plan, loss)
assert near(plan["gradient_pass"]["seconds"], gradient / 1e9), (plan, gradient)
assert near(parts["gradient"], (3 * gradient + 2 * (gradient - loss)) / 1e9)
assert near(parts["loss"], 3 * loss / 1e9) and near(parts["importance"], forward / 1e9)
squares, cubes = 3 * h * h + i * i, 3 * h ** 3 + i ** 3
assert near(parts["moments"], 4 * layers * 2 * T * squares / 1e9)
assert near(parts["factor"], layers * cubes * 4 / 3 / 1e9)
rounding = layers / 2 * (h * h * (q + 2 * kv + h + 2 * i) + h * i * i) # on one of 2 ranks
assert near(parts["rounding"], rounding / 1e9) and near(parts["refine"], 2 * (1 + 6) * rounding / 1e9)
assert near(parts["forward"], (4 * 2 * (2 * T * linear + attention) + linear) / 1e9)
assert near(plan["seconds"], sum(parts.values()))
PYTHON

cp "$dir/plan.json" "$dir/left.json"
plan --quantizer gptq --round-seqs 8 --machine "$dir/even.json"
/usr/bin/python3 - "$dir/plan.json" "$dir/left.json" <<'PYTHON' || fail "plan: embedding and head: $(cat "$dir/plan.json")"
import json, sys
chosen, left = (json.load(open(path)) for path in sys.argv[1:])
parts, before = chosen["seconds_by_part"], left["seconds_by_part"]
T, h, vocab = 32, 256, 2048 # a gradient pass at full precision, and two second moments of 3 sequences of a rank
linear, attention, head = 3686400, 5 * 4 * 256 * T * (T + 1) / 2, 2 * T * vocab * h
work = 3 * (8 * T * linear + 4.5 * attention + 3 * head + 4 * T * h * h)
assert abs(parts["tables"] - work / 1e9) < 1e-6 * work / 1e9, (parts["tables"], work / 1e9)
assert "tables" not in before and chosen["file_bytes"] < left["file_bytes"] and chosen["layer_bits"] == left["layer_bits"]
PYTHON

refuses 2 "not a report of shardbits bench" plan "$model" --machine "$dir/plan.json"
refuses 2 "none.json: cannot be" plan "$model" --machine "$dir/none.json"
refuses 2 "was measured with --compute f32" plan "$model" --machine "$dir/even.json" --compute bf16
refuses 2 "the folder .*nowhere" bench --folder "$dir/nowhere" --rounds 1
refuses 2 "nothing: cannot be" bench "$dir/nothing" --rounds 1 --folder "$dir/disk"
[ -z "$(ls -A "$dir/disk")" ] || fail "left $(ls -A "$dir/disk")"

# Stopped while it writes: nothing is left.
start "$mpirun" 2 -q "$shardbits" bench --rounds 1 --folder "$dir/disk" --quiet >"$dir/out" 2>"$dir/err"
until compgen -G "$dir/disk/.shardbits-bench-*" >/dev/null || ! running; do :; done
kill -TERM "$job"
wait "$job" && fail "SIGTERM: exit code 0"
for _ in $(seq 100); do ranks_of_job >/dev/null || break; sleep 0.1; done
[ -z "$(ls -A "$dir/disk")" ] || fail "SIGTERM: left $(ls -A "$dir/disk")"
finish
