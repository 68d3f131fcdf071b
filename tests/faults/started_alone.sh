#!/usr/bin/env bash
# Processes that a launcher started and MPI does not join: one line and no work. In a batch script, a run of one rank and a line.
# Two jobs with one output or one checkpoint: the second is refused, and told who has it.
. "$(dirname "$0")/../support/shell.sh"

as() { # VARIABLE=VALUE ... -- ARGUMENT ...
  local variables=()
  while [ "$1" != -- ]; do variables+=("$1") && shift; done
  shift
  env "${variables[@]}" timeout 60 "$shardbits" "$@" >"$dir/stdout" 2>"$dir/stderr"
  code=$?
}
rtn=(quantize "$tiny" --bits 3 --block 16x32 --method rtn -o "$out")
as SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2 SLURM_PROCID=0 -- "${rtn[@]}"
one_line "task 0 of 2" "SLURM_STEP_NUM_TASKS=2 says .* MPI does not join them; start them with srun --mpi=pmix"
as SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2 SLURM_PROCID=1 -- "${rtn[@]}"
[ $code = 1 ] && [ ! -s "$dir/stderr" ] || fail "task 1 of 2: exit code $code, $(cat "$dir/stderr")"
as SLURM_NTASKS=2 SLURM_PROCID=1 -- "${rtn[@]}"
one_line "task 1 without a step" "SLURM_PROCID=1 says"
[ ! -e "$out" ] || fail "an output of a process that is not alone"
as SLURM_JOB_ID=1 SLURM_NTASKS=2 SLURM_PROCID=0 -- "${rtn[@]}"
[ $code = 0 ] || fail "a batch script: $(cat "$dir/stderr")"
grep -q "^ranks .*1, though this job has 2 tasks; srun --mpi=pmix" "$dir/stderr" || fail "a batch script: $(cat "$dir/stderr")"
as SLURM_STEP_NUM_TASKS=2 SHARDBITS_ALONE=1 -- "${rtn[@]}" --overwrite --quiet
[ $code = 0 ] && [ ! -s "$dir/stderr" ] || fail "SHARDBITS_ALONE: $(cat "$dir/stderr")"

# One job at a time: the second is told of the first, which goes on. What a killed job leaves holds up nobody.
rm -rf "$out"
start "$shardbits" quantize "$model" --calib "$calib" --bits 2.5 --seqlen 64 --trades 1000 -o "$out" --checkpoint "$dir/search" \
  >"$dir/first" 2>&1
for _ in $(seq 200); do grep -q '^search' "$dir/first" && break || sleep 0.1; done
who="is in use by process [0-9]* on $(hostname) since 20"
tell 1 quantize "$tiny" --bits 3 --block 16x32 --method rtn -o "$out"
one_line "a second job with the same output" "OUT: $who"
tell 1 quantize "$tiny" --bits 3 --block 16x32 --method rtn -o "$dir/other" --checkpoint "$dir/search"
one_line "a second job with the same checkpoint" "search: $who"
[ ! -e "$dir/other" ] || fail "an output of the second job"
running || fail "the first job has ended: $(cat "$dir/first")"
kill -KILL "$job"
wait "$job"
[ -e "$out.lock" ] && [ -e "$dir/search.lock" ] || fail "the test is wrong: no lock was left"
tell 1 quantize "$tiny" --bits 3 --block 16x32 --method rtn -o "$out"
[ $code = 0 ] || fail "after a killed job: $(cat "$dir/stderr")"
[ "$(cd "$dir" && echo OUT*)" = OUT ] || fail "after a killed job: left $(cd "$dir" && echo OUT*)"
finish
