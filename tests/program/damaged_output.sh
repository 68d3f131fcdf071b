#!/usr/bin/env bash
# Output folders that are damaged or incomplete are refused by eval, verify and export, in one line from one rank.
. "$(dirname "$0")/../support/shell.sh"

run 2 quantize "$model" --bits 2.5 --method rtn -o "$dir/good"
first=shard-00001-of-00002.sbz second=shard-00002-of-00002.sbz
copy() { rm -rf "$dir/bad" && cp -r "$dir/good" "$dir/bad"; }
spoil() { # FILE OFFSET: one byte
  local byte
  byte=$(od -An -tu1 -j "$2" -N1 "$dir/bad/$1")
  # shellcheck disable=SC2059
  printf "\\x$(printf %02x $((byte ^ 64)))" | dd of="$dir/bad/$1" bs=1 seek="$2" conv=notrunc status=none
}
turn=0
refused() { # TEXT: verify and, in turn, one of the others; on one rank and on several
  turn=$((turn + 1))
  refuses $((turn % 3 + 1)) "$1" verify "$dir/bad"
  if [ $((turn % 2)) = 0 ]; then
    refuses $((turn % 3 + 1)) "$1" eval "$dir/bad" --tokens "$heldout" --seqs 1
  else
    refuses $((turn % 3 + 1)) "$1" export "$dir/bad" -o "$dir/hf"
    [ ! -e "$dir/hf" ] || fail "$1: export left a folder"
  fi
}

copy && spoil $second 5000
refused "$second: .*damaged"
copy && spoil $first 3
refused "$first"
copy && spoil $first $(($(stat -c %s "$dir/bad/$first") - 100)) # in the index
refused "$first"
copy && truncate -s -1 "$dir/bad/$second"
refused "$second"
copy && rm "$dir/bad/$second"
refused "$second"
copy && cp "$dir/bad/$first" "$dir/bad/$second" # a shard of another rank
refused "$second"
copy && sed -i 's/"format_version": 1/"format_version": 99/' "$dir/bad/manifest.json"
refused "manifest.json: .*version"
copy && truncate -s 300 "$dir/bad/manifest.json"
refused "manifest.json: "
copy && sed -i 's/"hidden_size": 256/"hidden_size": 128/' "$dir/bad/manifest.json"
refused "manifest.json: "
copy && sed -i 's/"cols": 128/"cols": 8192/' "$dir/bad/manifest.json" # wider than any that is made
refused "manifest.json: blocks of 128x8192; .* 1 to 1024"
refuses 2 "manifest.json: blocks of 128x8192; " inspect "$dir/bad"
copy && rm "$dir/bad/manifest.json"
refuses 2 "manifest.json" verify "$dir/bad"
refuses 2 "manifest.json" export "$dir/bad" -o "$dir/hf"
refuses 2 "safetensors" eval "$dir/bad" --tokens "$heldout" --seqs 1 # taken for a model folder
run 2 verify "$dir/good"

# Of trellis codes: whatever bits codes have they can be read, so the checksums find what is wrong with them.
rm -r "$dir/good"
run 2 quantize "$model" --bits 2.5 --codes trellis --method rtn -o "$dir/good"
copy && spoil $second 300000
refused "$second: .*damaged"
copy && sed -i 's/"codes": "trellis-12"/"codes": "trellis-13"/' "$dir/bad/manifest.json"
refused "manifest.json: its codes are 'trellis-13', which this program does not know"
copy && sed -i 's/"codes": "trellis-12"/"codes": "trellis-14"/' "$dir/bad/manifest.json"
refused "its bit map does not make its size, or is not of trellis-14"
copy && sed -i 's/"codes": "trellis-12"/"symmetry": "symmetric"/' "$dir/bad/manifest.json"
refused "block row 0 of .* has [0-9]* bytes; its shape allows\|its bit map names widths that do not make its size"
copy && sed -i 's/"col_signs": "02/"col_signs": "12/' "$dir/bad/manifest.json"
refused "manifest.json: .*q_proj.* has col_signs 12.*, expected 02"
copy && sed -i 's/"format_version": 3/"format_version": 99/' "$dir/bad/manifest.json"
refused "manifest.json: .*version 99; this program reads up to [0-9]*: update shardbits"
run 2 verify "$dir/good"
finish
