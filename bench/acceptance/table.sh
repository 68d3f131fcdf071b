#!/usr/bin/env bash
# table.sh OUT: the results of a run, as docs/performance.md takes them.
set -u
out=$1
value() { sed -n "s/^ *\"$2\": *\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" "$out/$1.part.json" 2>/dev/null | head -n 1; }
echo "$(date -u +%F), $(sed -n 's/^  GPU 0  *\([^,]*\),.*/\1/p' "$out/doctor.log"), $(sed -n 's/^  CUDA  *\(driver[^,]*, this build [^,]*\).*/\1/p' "$out/doctor.log"), commit $(cut -c1-12 "$(dirname "$0")/../../commit")"
echo
echo "| step | result | seconds |"
echo "| --- | --- | ---: |"
sed -e 's/left out/left_out/; s/timed out/timed_out/; s/no device/no_device/' "$out/steps" | awk '{ gsub(/_/, " ", $2); printf "| %s | %s | %d |\n", $1, $2, $3 }'
echo
echo "| the demo model | bits | perplexity | content hash |"
echo "| --- | ---: | ---: | --- |"
for how in cuda_f32 cuda_bf16 cpu_f32 cuda_f32_trellis cpu_f32_trellis; do
  [ -s "$out/eval_$how.part.json" ] || continue
  echo "| $how | $(value "quantize_$how" effective_bits) | $(value "eval_$how" perplexity) | $(value "quantize_$how" content_hash) |"
done
[ ! -s "$out/billion.part.json" ] || printf '\nA model of a billion weights, 16 sequences of 2048 tokens, bf16: loss %s, %s tokens/s; transformers: loss %s, %s tokens/s.\n' \
  "$(value billion loss)" "$(awk -v t="$(value billion tokens)" -v s="$(value billion seconds)" 'BEGIN { printf "%.0f", s ? t / s : 0 }')" \
  "$(sed -n 's/.*"loss": \([0-9.]*\).*/\1/p' "$out/transformers.part.json" 2>/dev/null)" \
  "$(sed -n 's/.*"forward": \([0-9.]*\).*/\1/p' "$out/transformers.part.json" 2>/dev/null | awk '{ printf "%.0f", 16 * 2048 / $1 }')"
for log in kernels layer_70b int4; do
  [ ! -s "$out/$log.log" ] || printf '\n%s:\n\n```\n%s\n```\n' "$log" "$(cat "$out/$log.log")"
done
