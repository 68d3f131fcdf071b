#!/usr/bin/env bash
# end_to_end.sh SHARDBITS MPIRUN SOURCE MODEL TOKENS OPTION ...: --device cuda against --device cpu through whole commands. Skipped
# (77) where there is no device. In f32 both compute the same sums in other orders: losses agree to 1e-3
# (on the stand-in of tests/cuda_host to 1e-5), and the same search takes the same decisions but for near ties: at least 90%
# of the blocks get the same bits. In bf16 a loss is right to two digits.
. "$(dirname "$0")/../support/shell.sh"
model=$4 tokens=$5
shift 5
options=("$@")

if ! "$mpirun" 1 "$shardbits" eval "$model" --tokens "$tokens" "${options[@]}" --seqs 1 --device cuda --quiet >"$dir/out" 2>"$dir/err"; then
  grep -Eq "no (NVIDIA driver|CUDA device) was found" "$dir/err" || { cat "$dir/err"; exit 1; }
  echo "skipped: $(head -n 1 "$dir/err")"
  exit 77
fi

close() { # A B TOLERANCE
  awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d < t && -d < t) }'
}
loss() { # FOLDER RANKS DEVICE ARGUMENT ...
  local folder=$1 ranks=$2 device=$3
  shift 3
  run "$ranks" eval "$folder" --tokens "$tokens" "${options[@]}" --device "$device" --json "$dir/eval.json" "$@"
  value "$dir/eval.json" loss
}

cpu=$(loss "$model" 1 cpu) gpu=$(loss "$model" 1 cuda)
echo "loss: $cpu on processors, $gpu on the device"
close "$cpu" "$gpu" "${TOLERANCE:-1e-3}" || fail "losses differ"
for ranks in 2 3; do # with 3, one may have no sequence at all
  [ "$(loss "$model" $ranks cuda)" = "$gpu" ] || fail "another loss on $ranks ranks"
done
brain=$(loss "$model" 1 cuda --compute bf16)
close "$cpu" "$brain" 0.05 || fail "loss in bf16: $brain"
[ "$brain" != "$gpu" ] || fail "bf16 makes no difference"

search=(--trades 1)
quantize() { # NAME RANKS DEVICE ARGUMENT ...
  local name=$1 ranks=$2 device=$3
  shift 3
  run "$ranks" quantize "$model" --calib "$tokens" "${options[@]}" --bits 3 --block 16x32 "${search[@]}" --quantizer rtn --device "$device" \
    -o "$dir/$name" --overwrite --json "$dir/$name.json" "$@"
}
digits() { # FILE: one digit a block
  grep -o '"bits": *"[0-9]*"' "$1" | tr -cd 0-9
}
compare() { # NAME ARGUMENT ...
  local name=$1 ranks size differ
  shift
  quantize "$name-cpu" 1 cpu --allocation "$dir/$name-cpu.bits" "$@"
  quantize "$name-gpu" 1 cuda --allocation "$dir/$name-gpu.bits" "$@"
  case " $* " in *" gptq "*) ranks=1 ;; *) ranks=2 ;; esac # cuBLAS may sum in an order that depends on the number of rows
  quantize "$name-again" $ranks cuda "$@"
  [ "$(value "$dir/$name-gpu.json" content_hash)" = "$(value "$dir/$name-again.json" content_hash)" ] ||
    fail "$name: other frames on $ranks ranks"
  digits "$dir/$name-cpu.bits" >"$dir/a"
  digits "$dir/$name-gpu.bits" >"$dir/b"
  size=$(stat -c %s "$dir/a")
  differ=$(cmp -l "$dir/a" "$dir/b" | wc -l)
  echo "$name: $differ of $size blocks get other bits"
  [ "$size" -gt 0 ] && [ $((differ * 10)) -le "$size" ] || fail "$name: allocations differ"
  cpu=$(loss "$dir/$name-gpu" 1 cpu) gpu=$(loss "$dir/$name-gpu" 1 cuda)
  close "$cpu" "$gpu" "${TOLERANCE:-1e-3}" || fail "$name: losses of the output: $cpu and $gpu"
  gpu=$(loss "$dir/$name-gpu" 1 cuda --compute packed)
  close "$cpu" "$gpu" "${TOLERANCE:-1e-3}" || fail "$name: loss of the packed weights: $gpu, not $cpu"
}
[ -n "${QUICK:-}" ] || compare plain # a stand-in is slow, and the next one searches too
compare indexed --reorder indexed --quantizer gptq
compare table --method table --sensitivity hessian
search=() # of grids alone
compare trellis --codes trellis --block 64x32 --quantizer gptq
finish
