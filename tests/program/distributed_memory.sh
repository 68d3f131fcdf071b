#!/usr/bin/env bash
# What spreading second moments is for: a wide layer on 4 ranks needs a part of the memory that it needs with all of them on
# every rank. 2560 channels: replicated 24 n^2 = 150 MiB; distributed 16 n^2 / 4 = 25 MiB, panels of 24 x 512 n = 30 MiB and
# kept inputs of 4 MiB. 91 MiB less, of which the test asks for 60.
. "$(dirname "$0")/../support/shell.sh"
python3 "$(dirname "$0")/wide_model.py" "$dir/wide" 2560 || exit 1

peak() { # FACTOR: MiB of the largest rank
  run 4 quantize "$dir/wide" --calib "$dir/wide/calib.bin" --bits 3.3 --method rtn --quantizer gptq --round-seqs 8 \
    --seqlen 64 --factor "$1" --activation-memory 0.004 -o "$dir/packed" --overwrite --json "$dir/packed.json"
  echo $(($(value "$dir/packed.json" peak_resident_bytes) >> 20))
}
replicated=$(peak replicated)
for factor in distributed distributed-single; do
  spread=$(peak $factor)
  echo "replicated $replicated MiB, $factor $spread MiB"
  [ "$((spread + 60))" -lt "$replicated" ] || fail "$factor: $spread MiB, replicated $replicated MiB"
done
finish
