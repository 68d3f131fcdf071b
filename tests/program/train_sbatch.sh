#!/usr/bin/env bash
# slurm/train.sbatch with stand-ins for srun and scontrol: a job whose time is over asks for another turn, and the next one ends at
# the same weights as a run that was never stopped; what is missing is said before anything starts.
. "$(dirname "$0")/../support/shell.sh"

mkdir "$dir/bin"
cat >"$dir/bin/srun" <<EOF
#!/usr/bin/env bash
[ "\$1" != --mpi=list ] || { echo "specific pmix plugin versions available: pmix_v4"; exit; }
shift 2 # --mpi, --kill-on-bad-exit
program=\$1
shift
if [ -e "$dir/warn" ]; then exec "$mpirun" 2 "\$program" "\$@" --quiet --stop-at 3; fi
exec "$mpirun" 3 "\$program" "\$@" --quiet
EOF
cat >"$dir/bin/scontrol" <<EOF
#!/usr/bin/env bash
echo "\$*" >>"$dir/asked"
EOF
chmod +x "$dir/bin/srun" "$dir/bin/scontrol"
# Bytes of a text are token ids under 96 once they are folded.
head -c 6000 "$source/docs/results.md" | tr -d '\200-\377' | tr 'a-z{|}~' 'A-Z !!!!' | /usr/bin/python3 -c '
import sys
sys.stdout.buffer.write(b"".join(bytes([b % 96, 0]) for b in sys.stdin.buffer.read()))' >"$dir/t.bin"

job() { # VARIABLE=VALUE ...
  env "PATH=$dir/bin:$PATH" SLURM_JOB_ID=7 SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=3 SLURM_CPUS_PER_TASK=1 SHARDBITS="$shardbits" \
    TOKENS="$dir/t.bin" STEPS=6 BATCH=4 SEQLEN=16 LR=0.003 SAVE_EVERY=2 PRECISION=f32 EXTRA="--token-dtype u16 --seed 3" \
    "$@" bash "$source/slurm/train.sbatch" >"$dir/out" 2>"$dir/err"
  code=$?
}
touch "$dir/warn"
job MODEL="$tiny/config.json" OUT="$dir/a"
[ "$code" = 0 ] || fail "a job that is stopped: exit code $code: $(cat "$dir/err")"
[ "$(cat "$dir/asked" 2>/dev/null)" = "requeue 7" ] || fail "no other turn was asked for: $(cat "$dir/out")"
[ ! -e "$dir/a" ] || fail "an output of a run that is not done"
job MODEL="$tiny/config.json" OUT="$dir/a" RESUBMIT=no
grep -q "submit it again" "$dir/out" || fail "RESUBMIT=no: $(cat "$dir/out")"
[ "$(wc -l <"$dir/asked")" = 1 ] || fail "RESUBMIT=no asked for another turn"
rm "$dir/warn"
job MODEL="$tiny/config.json" OUT="$dir/a"
[ "$code" = 0 ] && grep -q "done: $dir/a" "$dir/out" || fail "the last job: $code, $(cat "$dir/out" "$dir/err")"
job MODEL="$tiny/config.json" OUT="$dir/b"
[ "$(sha256sum <"$dir/a/model.safetensors")" = "$(sha256sum <"$dir/b/model.safetensors")" ] || fail "other weights after three jobs"
[ "$(wc -l <"$dir/asked")" = 1 ] || fail "a run that is done asked for another turn"

missing() { # TEXT VARIABLE=VALUE ...
  local text=$1
  shift
  job "$@"
  [ "$code" = 2 ] || fail "$text: exit code $code"
  grep -q "^train.sbatch: .*$text" "$dir/err" || fail "no '$text' in: $(cat "$dir/err")"
}
missing "MODEL is not set" MODEL=
missing "TOKENS is not set" MODEL="$tiny" TOKENS=
missing "cannot be read" MODEL="$dir/nowhere"
missing "policy.json cannot be read" MODEL="$tiny" POLICY="$dir/policy.json"
missing "is there already" MODEL="$tiny" OUT="$dir/a"
missing "is not in PATH" MODEL="$tiny" SHARDBITS=no-such-program
finish
