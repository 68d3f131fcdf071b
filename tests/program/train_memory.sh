#!/usr/bin/env bash
# Memory of a rank that trains: what plan --train says against the largest resident set, on 1, 2 and 4 ranks, with a checkpoint
# of every step; and it falls with the number of ranks, as weights, moments, sums and activations are spread.
. "$(dirname "$0")/../support/shell.sh"
last=
for ranks in 1 2 4; do
  run "$ranks" train "$model" --tokens "$source/data/calib.bin" --steps 3 --batch 8 --seqlen 256 --precision f32 --save-every 1 \
    -o "$dir/trained$ranks" --threads 1 --json "$dir/run.json"
  run 1 plan "$model" --train 8 --seqlen 256 --compute f32 --threads 1 --ranks "$ranks" --json "$dir/plan.json"
  used=$(($(value "$dir/run.json" peak_resident_bytes) >> 20))
  said=$(python3 -c 'import json, sys; print(int(json.load(open(sys.argv[1]))["train"]["rank"]) >> 20)' "$dir/plan.json")
  echo "$ranks ranks: $used MiB used, $said MiB planned"
  [ $((used * 100)) -lt $((said * 115)) ] && [ $((said * 100)) -lt $((used * 130)) ] || fail "$ranks ranks: $used MiB used, $said MiB planned"
  [ -z "$last" ] || [ $((used * 10)) -lt $((last * 8)) ] || fail "$ranks ranks: $used MiB, half as many need $last MiB"
  last=$used
done
finish
