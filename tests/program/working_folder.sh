#!/usr/bin/env bash
# -o . --overwrite: the working folder is replaced while the program stands in it. Relative paths mean what they meant at the start.
. "$(dirname "$0")/../support/shell.sh"

cp -r "$tiny" "$dir/model"
for ranks in 1 3; do
  rm -rf "$dir/work" && mkdir "$dir/work" && echo '{}' >"$dir/work/config.json" && : >"$dir/work/old"
  (cd "$dir/work" && SHARDBITS_TRACE=../trace.json run $ranks quantize ../model --calib ../model/tokens.bin --token-dtype u16 --seqlen 48 --seqs 2 \
    --round-seqs 2 --tune-seqs 0 --strides 1 --trades 1 --bits 3 --block 16x32 -o . --overwrite --json ../report.json --checkpoint ../saved) || exit 1
  [ -s "$dir/work/manifest.json" ] || fail "quantize on $ranks ranks: no output"
  [ ! -e "$dir/work/old" ] || fail "quantize on $ranks ranks: the old output is there"
  [ -n "$(value "$dir/report.json" content_hash)" ] || fail "quantize on $ranks ranks: no report"
  [ -s "$dir/trace.json" ] || fail "quantize on $ranks ranks: no trace"
  [ -s "$dir/saved" ] || fail "quantize on $ranks ranks: no checkpoint"
  [ -z "$(find "$dir" -name 'saved.*')" ] || fail "quantize on $ranks ranks: left $(find "$dir" -name 'saved.*')"
  rm "$dir/report.json" "$dir/trace.json" "$dir/saved"

  # The model is read again after it has been written.
  rm -rf "$dir/work" && mkdir -p "$dir/work/below" && echo '{}' >"$dir/work/config.json"
  (cd "$dir/work/below" && run $ranks reorder ../../model --calib ../../model/tokens.bin --token-dtype u16 --seqlen 48 --seqs 2 --block 16x32 \
    -o .. --overwrite --json ../../report.json) || exit 1
  [ -s "$dir/work/model.safetensors" ] || fail "reorder on $ranks ranks: no output"
  [ -s "$dir/report.json" ] || fail "reorder on $ranks ranks: no report"
  [ -z "$(find "$dir" -name '*.partial-*' -o -name '*.lock')" ] || fail "on $ranks ranks: left $(ls "$dir")"
done

# In messages and reports a path is as the user wrote it wherever the working folder stays.
(cd "$dir" && refuses 1 "none: cannot be opened" inspect none && run 1 inspect model --json report.json && finish) || exit 1
[ "$(value "$dir/report.json" path)" = model ] || fail "another path in the report: $(value "$dir/report.json" path)"
finish
