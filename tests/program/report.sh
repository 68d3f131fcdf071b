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
