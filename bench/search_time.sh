#!/usr/bin/env bash
# bench/search_time.sh MODEL TOKENS [BUDGET ...]: how many gradient passes the search takes for 95% of what it can win. Of a long
# search (TRADES batches, 40) what it makes less, the loss or the divergence on the calibration tokens, is held after every step
# against that of the largest uniform width within the budget; "before trades" is the end of the path or, with the divergence, of
# the allocation from a table, "all" what the long search ends at. Prints a table; SHARDBITS names the program, RANKS the ranks, and
# OPTIONS has more for quantize.
set -euo pipefail
model=$(readlink -f "$1") tokens=$(readlink -f "$2")
shift 2
[ $# -gt 0 ] || set -- 2.1 2.3 2.5 3.1 3.5 4.1
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
shardbits=${SHARDBITS:-build/release/shardbits}
ranks=${RANKS:-2} trades=${TRADES:-40} seqs=64 seqlen=128
read -ra more <<<"${OPTIONS:-}"
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
run() { on_ranks "$ranks" "$shardbits" "$@" --seqs $seqs --seqlen $seqlen --quiet >/dev/null; }

# The report's steps as lines: kind, loss, accepted, seconds.
steps() {
  awk '/^  "search": *\[/ { inside = 1 } inside && /^  \]/ { exit }
    inside && /"(kind|loss|accepted|seconds)":/ { gsub(/[",]/, ""); value[substr($1, 1, length($1) - 1)] = $2 }
    inside && /^    }/ { print value["kind"], value["loss"], value["accepted"], value["seconds"] }' "$1"
}

echo "| budget | uniform | before trades | 8 trades | all | gradient passes for 95% | seconds | gradient passes of 8 trades | of all |"
echo "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
for budget in "$@"; do
  run quantize "$model" --calib "$tokens" --bits "$budget" --method rtn --grid fitted -o "$work/uniform" --overwrite "${more[@]}"
  run eval "$work/uniform" --tokens "$tokens" --ref "$model" --json "$work/uniform.json"
  run quantize "$model" --calib "$tokens" --bits "$budget" --head-bits 16 --embed-bits 16 --trades "$trades" --quantizer rtn -o "$work/ours" --overwrite \
    --json "$work/ours.json" "${more[@]}"
  # A stride takes a gradient pass, and so does the first trade and each that follows one that was kept; the table takes one.
  key=loss passes=0
  grep -q '"search_loss": "divergence"' "$work/ours.json" && key=mean_kl passes=1
  steps "$work/ours.json" | awk -v budget="$budget" -v uniform="$(json_number "$work/uniform.json" $key)" -v passes=$passes \
    -v path="$(json_number "$work/ours.json" path_loss)" -v all="$(json_number "$work/ours.json" calibration_loss)" '
    function reached(loss) { if (!enough && loss <= uniform - 0.95 * (uniform - all)) { enough = passes; at = seconds } }
    BEGIN { fresh = 1; eight = path }
    $1 == "path" { passes++; seconds += $4 }
    $1 == "trade" {
      if (!trades++) reached(path)
      passes += fresh; seconds += $4; fresh = $3 == "true"
      if (fresh) { reached($2); if (trades <= 8) eight = $2 }
      if (trades <= 8) passes_of_eight = passes
    }
    END { if (!trades) reached(path)
      printf "| %s | %.4f | %.4f | %.4f | %.4f | %d | %.0f | %d | %d |\n",
      budget, uniform, path, eight, all, enough, at, passes_of_eight, passes }'
done
