#!/usr/bin/env bash
# A disk that fills up, a read-only one, and a limit on the size of files: one line that says what ran out and where, nothing
# left behind, the old output as it was.
. "$(dirname "$0")/../support/shell.sh"

rtn() { # RANKS OUT [ARGUMENT ...]
  local ranks=$1 to=$2
  shift 2
  tell "$ranks" quantize "$model" --bits 3.25 --method rtn -o "$to" "$@"
}
# A limit on the ranks alone: mpirun itself writes files. MPI's shared memory between ranks is a file of 4 MiB, below which
# there is no run of several ranks at all; an exported folder's is 16 MiB.
run 2 quantize "$model" --bits 3.25 --method rtn -o "$dir/good"
for ranks in 1 3; do
  timeout 60 "$mpirun" $ranks -q bash -c 'ulimit -f 8192; exec "$0" "$@"' "$shardbits" export "$dir/good" --dtype f32 \
    -o "$out" --quiet >"$dir/stdout" 2>"$dir/stderr"
  code=$?
  one_line "a limit on the size of files, $ranks ranks" "model.safetensors: the limit on file sizes is reached"
  [ -z "$(find "$dir" -maxdepth 1 -name 'OUT*')" ] || fail "a limit on the size of files: left $(ls "$dir")"
done

small=$dir/small
mkdir "$small"
if ! mount -t tmpfs -o size=1m none "$small" 2>/dev/null; then
  echo "no file system may be mounted here: full and read-only ones are not tried"
  finish
  exit
fi
trap 'umount "$small"; rm -rf "$dir"' EXIT
disk() { umount "$small" && mount -t tmpfs -o "$1" none "$small"; }
empty() { [ "$(ls -A "$small")" = "${2:-}" ] || fail "$1: left $(ls -A "$small")"; }

# 2.4 MiB are to be written: on a smaller disk that is known beforehand, and before any work.
disk size=300k && rtn 3 "$small/OUT"
one_line "too small a disk" "small/OUT: needs about 2.[0-9]* MiB and its disk has [0-9.]* [KM]iB free" && empty "too small a disk"
disk size=2m && rm -f "$dir/bits" && tell 2 quantize "$model" --calib "$calib" --seqs 2 --seqlen 32 --bits 3.25 -o "$dir/no" \
  --checkpoint "$small/search" --allocation "$dir/bits"
one_line "no room for a checkpoint" "small/search: needs about [0-9.]* MiB and its disk has [12].[0-9]* MiB" && empty "no room for a checkpoint"
[ ! -e "$dir/bits" ] && [ ! -e "$dir/no" ] || fail "no room for a checkpoint: found when the search was done"
tell 1 reorder "$model" --calib "$calib" --seqs 2 --seqlen 32 -o "$small/OUT" --overwrite # 8 MiB; found before the scores
one_line "reorder on too small a disk" "small/OUT: needs about 8.[0-9]* MiB and its disk has [12].[0-9]* MiB" && empty "reorder"
# A disk that somebody else fills while the work lasts: what is in the way, and how to go on.
disk size=8m && start "$shardbits" quantize "$model" --calib "$calib" --seqs 4 --bits 3.25 --method table -o "$dir/no" \
  --checkpoint "$small/saved" >"$dir/stdout" 2>"$dir/stderr"
for _ in $(seq 600); do grep -q "^table" "$dir/stderr" && break || sleep 0.05; done
{ head -c 9m /dev/zero >"$small/fill"; } 2>/dev/null
wait "$job" && fail "a checkpoint on a full disk: exit code 0"
grep "^shardbits: " "$dir/stderr" | grep -q "saved.rounded[.layers]*: no space left .*the same command goes on" ||
  fail "a checkpoint on a full disk: $(tail -n 1 "$dir/stderr")"
empty "a checkpoint on a full disk" fill

# A disk that fills up only when it is written: it has bytes, but no names left for the shards.
for ranks in 1 3; do
  disk size=8m,nr_inodes=$((ranks + 4)) && rtn $ranks "$small/OUT"
  one_line "a disk that fills up, $ranks ranks" "small/OUT.*: .*[Nn]o space left" && empty "a disk that fills up"
done
disk size=1200k && tell 3 export "$dir/good" -o "$small/OUT"
one_line "export to too small a disk" "small/OUT: needs about 8.[0-9]* MiB and its disk has" && empty "export"

# an old output survives
disk size=1200k
tell 1 quantize "$tiny" --bits 3 --block 16x32 --method rtn -o "$small/OUT" && old=$(hash_of "$small/OUT")
rtn 3 "$small/OUT" --overwrite
one_line "overwriting on a full disk" "small/OUT: needs about 2.[0-9]* MiB" && empty "overwriting on a full disk" OUT
[ "$(hash_of "$small/OUT")" = "$old" ] || fail "overwriting on a full disk: the old output changed"

# reports and bit maps
disk size=64k && { head -c 1m /dev/zero >"$small/fill"; } 2>/dev/null
tell 2 eval "$dir/good" --tokens "$heldout" --seqs 1 --seqlen 32 --json "$small/report.json"
one_line "a report on a full disk" "small/report.json: no space left" && empty "a report on a full disk" fill
rtn 2 "$out" --allocation "$small/bits"
one_line "a bit map on a full disk" "small/bits: no space left" && empty "a bit map on a full disk" fill
[ ! -e "$out" ] || fail "a bit map on a full disk: an output without it"

disk ro
for ranks in 1 3; do
  rtn $ranks "$small/OUT"
  one_line "a read-only disk" "small is not writable (Read-only file system)"
done
finish
