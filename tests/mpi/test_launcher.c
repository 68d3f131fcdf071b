/* What the variables of launchers say to a program that MPI leaves alone. */
#include "mpi/launcher.h"

#include <stdlib.h>

#include "tests/support/assertions.h"

static const char *const known[] = {"OMPI_COMM_WORLD_SIZE",
                                    "OMPI_COMM_WORLD_RANK",
                                    "PMI_SIZE",
                                    "PMI_RANK",
                                    "PMIX_RANK",
                                    "SLURM_STEP_ID",
                                    "SLURM_STEP_NUM_TASKS",
                                    "SLURM_NTASKS",
                                    "SLURM_PROCID",
                                    "SHARDBITS_ALONE"};

static void set(const char *name, const char *value) {
  assert_int_equal(setenv(name, value, 1), 0);
}

static sb_launcher in_environment(const char *const pairs[][2]) {
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) unsetenv(known[i]);
  for (; (*pairs)[0]; pairs++) set((*pairs)[0], (*pairs)[1]);
  return sb_launcher_read();
}
#define IN(...) in_environment((const char *const[][2]){__VA_ARGS__, {NULL, NULL}})

static void several_that_are_alone(void **state) {
  (void)state;
  sb_launcher l = IN({"SLURM_NTASKS", "8"}, {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "2"},
                     {"SLURM_PROCID", "1"});
  assert_fails(sb_launcher_check(&l, 1), SB_ERR_MPI, "SLURM_STEP_NUM_TASKS=2", "does not join them",
               "srun --mpi=pmix", "SHARDBITS_ALONE=1");
  assert_int_equal(l.task, 1);
  assert_fails(sb_launcher_check(&l, 0), SB_ERR_MPI, "SLURM_STEP_NUM_TASKS=2"); /* nobody to ask */
  assert_ok(sb_launcher_check(&l, 2)); /* MPI has found them */
  l = IN({"PMI_SIZE", "4"}, {"PMI_RANK", "3"});
  assert_fails(sb_launcher_check(&l, 1), SB_ERR_MPI, "PMI_SIZE=4");
  assert_ok(sb_launcher_check(&l, 0)); /* MPI may join them */
  l = IN({"SLURM_STEP_NUM_TASKS", "2"}, {"PMIX_RANK", "0"}, {"SLURM_PROCID", "0"});
  assert_ok(sb_launcher_check(&l, 0));
  assert_fails(sb_launcher_check(&l, 1), SB_ERR_MPI, "SLURM_STEP_NUM_TASKS=2");
  l = IN({"OMPI_COMM_WORLD_SIZE", "3"}, {"OMPI_COMM_WORLD_RANK", "0"});
  assert_fails(sb_launcher_check(&l, 1), SB_ERR_MPI, "OMPI_COMM_WORLD_SIZE=3");
  l = IN({"SLURM_NTASKS", "2"},
         {"SLURM_PROCID", "1"}); /* no batch script has another number than 0 */
  assert_fails(sb_launcher_check(&l, 1), SB_ERR_MPI, "SLURM_PROCID=1");
}

static void alone_on_purpose(void **state) {
  (void)state;
  sb_launcher l = IN({"HOME", "/"});
  assert_ok(sb_launcher_check(&l, 1));
  assert_int_equal(l.unstarted, 0);
  /* mpirun -n 1, on a node where Slurm has started the daemon of mpirun as one of several */
  l = IN({"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_STEP_ID", "0"},
         {"SLURM_PROCID", "2"});
  assert_ok(sb_launcher_check(&l, 1));
  l = IN({"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_STEP_ID", "3"}, {"SLURM_NTASKS", "8"},
         {"SLURM_PROCID", "0"}); /* srun -n 1 in a job of eight tasks */
  assert_ok(sb_launcher_check(&l, 1));
  assert_int_equal(l.unstarted, 0);
  l = IN({"SLURM_STEP_NUM_TASKS", "4"}, {"SHARDBITS_ALONE", "1"});
  assert_ok(sb_launcher_check(&l, 1));
  l = IN({"SLURM_STEP_NUM_TASKS", "2(x2)"},
         {"PMIX_RANK", "-2"}); /* what is no number says nothing */
  assert_ok(sb_launcher_check(&l, 1));
}

/* The shell of a batch script: allowed, and worth a line. */
static void batch_script(void **state) {
  (void)state;
  const sb_launcher l = IN({"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"});
  assert_ok(sb_launcher_check(&l, 1));
  assert_int_equal(l.unstarted, 8);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(several_that_are_alone),
                                     cmocka_unit_test(alone_on_purpose),
                                     cmocka_unit_test(batch_script)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
