#!/usr/bin/env bash
# --overwrite never removes what the run itself reads, however it is spelled.
. "$(dirname "$0")/../support/shell.sh"

mkdir "$dir/project" && cp -r "$tiny" "$dir/project/model" && ln -s project/model "$dir/link"
cp "$tiny_tokens" "$dir/project/calib.bin" && echo '{}' >"$dir/project/config.json"
before=$(hash_of "$dir/project")

kept() { # TEXT ARGUMENT ...
  local text=$1
  shift
  for ranks in 1 3; do
    tell $ranks quantize "$@" --bits 3 --block 16x32 --overwrite
    one_line "$* on $ranks ranks" "$text"
    [ "$(hash_of "$dir/project")" = "$before" ] || fail "$*: changed the folder of the input"
    [ -z "$(find "$dir" -name '*.partial*')" ] || fail "$*: left $(find "$dir" -name '*.partial*')"
  done
}
needs="which this run needs; choose another output folder"
kept "project/model, $needs" "$dir/project/model" --method rtn -o "$dir/project/model"
kept "project/model, $needs" "$dir/project/model" --method rtn -o "$dir/link/" # another name of the same folder
kept "/link, $needs" "$dir/link" --method rtn -o "$dir/project"                # a folder that holds it
kept "calib.bin, $needs" "$tiny" --calib "$dir/project/calib.bin" --seqlen 48 -o "$dir/project"
kept "project/bits, $needs" "$tiny" --method rtn --allocation "$dir/project/bits" -o "$dir/project"

# a folder beside the input, and one in it, are nobody's input
run 2 quantize "$dir/project/model" --bits 3 --block 16x32 --method rtn -o "$out"
run 2 quantize "$dir/project/model" --bits 4 --block 16x32 --method rtn -o "$out" --overwrite
[ "$(hash_of "$dir/project")" = "$before" ] || fail "an output elsewhere changed the model"

before_out=$(hash_of "$out")
for ranks in 1 3; do
  tell $ranks export "$out" -o "$out" --overwrite
  one_line "export onto its source on $ranks ranks" "OUT, $needs"
  [ "$(hash_of "$out")" = "$before_out" ] || fail "export onto its source changed it"
done
run 2 verify "$out"
finish
