#!/usr/bin/env bash
# bench/compare_torch.sh MODEL [ROUNDS]: forward and forward+backward of a whole model, shardbits against transformers on
# PyTorch: same tokens, same cores, run in turns; the best of all rounds. MODEL is a folder made by tools/get_smollm2.sh.
# PYTHON has torch and transformers (tools/requirements-golden.txt); BENCH is the built bench_model.
set -euo pipefail
model=$(readlink -f "$1") rounds=${2:-3}
cd "$(dirname "$(readlink -f "$0")")/.."
. tools/setup.sh
bench=${BENCH:-build/test/bench/bench_model} seqs=4 seqlen=512
python=${PYTHON:-python3}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

ours() { # NAME RANKS THREADS COMPUTE
  OMP_NUM_THREADS=$3 on_ranks "$2" "$bench" "$model" "$model/heldout.bin" $seqs $seqlen "$4" 1 >>"$work/$1"
}
for _ in $(seq "$rounds"); do
  "$python" tools/bench_torch.py "$model" "$model/heldout.bin" --seqs $seqs --seqlen $seqlen --threads 2 --repeats 1 \
    2>/dev/null >>"$work/torch"
  ours ranks2 2 1 f32
  ours threads2 1 2 f32
  ours bf16 2 1 bf16
done

awk -v tokens=$((seqs * seqlen)) '
  function least(key, value) { if (!(key in best) || value < best[key]) best[key] = value }
  FILENAME ~ /torch$/ { match($0, /"forward": [0-9.]*/); least("torch forward", substr($0, RSTART + 11, RLENGTH - 11) + 0)
                        match($0, /"gradient": [0-9.]*/); least("torch gradient", substr($0, RSTART + 12, RLENGTH - 12) + 0) }
  FILENAME !~ /torch$/ { n = split(FILENAME, path, "/"); who = path[n]
    if ($0 ~ /square GEMM [0-9]+ GFLOP/) { match($0, /square GEMM [0-9]+/); s = substr($0, RSTART + 12, RLENGTH - 12) + 0
                                           if (s > square[who]) square[who] = s }
    if ($1 == "forward") { if (!((who " forward") in best) || $2 < best[who " forward"]) share[who " forward"] = $7
                           least(who " forward", $2); rate[who " forward"] = $2 * $4 }
    if ($1 == "forward+backward") { if (!((who " gradient") in best) || $2 < best[who " gradient"]) share[who " gradient"] = $7
                                    least(who " gradient", $2); rate[who " gradient"] = $2 * $4 }
    if ($1 == "with") least(who " scores", $3) }
  END {
    label["ranks2"] = "2 ranks x 1 thread, f32"; label["threads2"] = "1 rank x 2 threads, f32"; label["bf16"] = "2 ranks x 1 thread, bf16"
    print "| | forward | tokens/s | GFLOP/s | GEMM time | of square GEMM | against PyTorch |"
    print "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for (p = 0; p < 2; p++) {
      phase = p ? "gradient" : "forward"
      if (p) { print ""; print "| | forward + backward | tokens/s | GFLOP/s | GEMM time | of square GEMM | against PyTorch | scores add |"
               print "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |" }
      t = best["torch " phase]
      printf "| transformers on PyTorch, 2 threads, f32 | %.2f s | %.0f | | | | 1 |%s\n", t, tokens / t, p ? " |" : ""
      split("ranks2 threads2 bf16", order, " ")
      for (i = 1; i <= 3; i++) { w = order[i]; s = best[w " " phase]
        printf "| %s | %.2f s | %.0f | %.0f | %s | %.2f | **%.2f** |%s\n", label[w], s, tokens / s, rate[w " " phase] / s,
               share[w " " phase], rate[w " " phase] / s / square[w], t / s,
               p ? sprintf(" %.1f%% |", 100 * (best[w " scores"] / s - 1)) : "" }
    }
  }' "$work"/*
