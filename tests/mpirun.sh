#!/usr/bin/env bash
# mpirun.sh RANKS PROGRAM [ARG ...]: runs a test on that many ranks of this machine, whatever it has of cores and users.
set -u
ranks=$1
shift
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec mpirun --oversubscribe --bind-to none --mca btl self,vader --mca mpi_yield_when_idle 1 -n "$ranks" "$@"
