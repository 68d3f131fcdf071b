#!/usr/bin/env bash
# run_events.sh SHARDBITS MPIRUN SOURCE: --events of commands beside train: every line an object, phases in pairs, the search as --json has it,
# the outcome at the end, of failures too; to stdout; no other result for it.
. "$(dirname "$0")/../support/shell.sh"

few=(--calib "$tiny_tokens" --seqlen 8 --seqs 4 --trades 1 --strides 1 --round-seqs 4 --tune-seqs 4 --block 16x16 --embed-bits 16 --head-bits 16)
run 2 quantize "$tiny" "${few[@]}" --bits 4 -o "$dir/a" --json "$dir/a.json" --events "$dir/a.jsonl"
run 1 quantize "$tiny" "${few[@]}" --bits 4 -o "$dir/b" --json "$dir/b.json"
[ "$(value "$dir/a.json" content_hash)" = "$(value "$dir/b.json" content_hash)" ] || fail "other bits with --events"
/usr/bin/python3 - "$dir/a.jsonl" "$dir/a.json" <<'END' || fail "events: $(cat "$dir/a.jsonl")"
import json, sys
lines = open(sys.argv[1]).read().split("\n")
assert lines.pop() == ""
events = [json.loads(line) for line in lines]
run = json.load(open(sys.argv[2]))
assert all(isinstance(e["event"], str) for e in events)
times = [e["seconds"] for e in events]
assert times == sorted(times) and times[0] >= 0, times
first, last = events[0], events[-1]
assert (first["event"], first["command"], first["ranks"], first["version"]) == ("begin", "quantize", 2, run["version"]), first
assert last["event"] == "end" and last["complete"] is True and "message" not in last, last
begun = []
ended = {}
for e in events:
    if e["event"] == "phase_begin":
        begun.append(e["phase"])
    if e["event"] == "phase_end":
        assert e["phase"] in begun
        ended[e["phase"]] = ended.get(e["phase"], 0) + e["took"]
assert {"load", "search", "round", "tune", "write"} <= set(ended) and set(begun) == set(ended), (begun, ended)
for phase in run["phases"]:
    if phase["name"] != "write":  # under way when the report is made
        assert abs(ended[phase["name"]] - phase["ranks"]["seconds"][0]) < 1e-6, phase
steps = [e for e in events if e["event"] == "search_step"]
assert len(steps) == len(run["search"]) > 0
for e, s in zip(steps, run["search"]):
    assert all(abs(e[k] - s[k]) < 1e-6 for k in ("step", "loss", "effective_bits", "raised", "cut")) and abs(e["took"] - s["seconds"]) < 1e-6
END

# A failure: the line that stderr has.
rm "$dir"/a/*.sbz || fail "no shards"
tell 1 verify "$dir/a" --events "$dir/v.jsonl"
[ "$code" = 1 ] || fail "verify of a folder without shards: exit code $code"
/usr/bin/python3 - "$dir/v.jsonl" "$dir/stderr" <<'END' || fail "failure: $(cat "$dir/v.jsonl" "$dir/stderr")"
import json, sys
last = json.loads(open(sys.argv[1]).read().split("\n")[-2])
said = open(sys.argv[2]).read().strip()
assert last["event"] == "end" and last["complete"] is False, last
assert said == "shardbits: " + last["message"], (said, last)
END

"$shardbits" verify "$dir/b" --events - --quiet >"$dir/lines" 2>/dev/null || fail "verify with events to stdout"
[ "$(grep -c '^{"event":' "$dir/lines")" = "$(wc -l <"$dir/lines")" ] || fail "stdout has more than events: $(cat "$dir/lines")"
[ "$(wc -l <"$dir/lines")" -ge 4 ] || fail "few events: $(cat "$dir/lines")"
wrong=2 refuses 1 'would mix on stdout' verify "$dir/b" --events - --json -
refuses 1 'choose another name' verify "$dir/b" --events "$dir/x" --json "$dir/x"
finish
