#!/usr/bin/env bash
# mpirun.sh RANKS PROGRAM [ARG ...]: runs a test on that many ranks of this machine, whatever it has of cores and users.
# Shared memory copies twice (single_copy_mechanism none): as fast here, and silent where a container forbids one
# process to read another's memory.
set -u
ranks=$1
shift
# More threads than cores must sleep while they wait: spinning, a test of seconds takes minutes.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# What MPI itself keeps until the end is no leak of ours (sanitizer builds).
export ASAN_OPTIONS=allocator_may_return_null=1:fast_unwind_on_malloc=0:${ASAN_OPTIONS:-}
here=$(dirname "$(readlink -f "$0")")
export LSAN_OPTIONS=suppressions=$here/lsan.supp:print_suppressions=0
exec mpirun --oversubscribe --bind-to none --mca btl self,vader --mca btl_vader_single_copy_mechanism none \
  --mca mpi_yield_when_idle 1 -n "$ranks" "$@"
