/* What users see when a GPU is missing, too old, full or broken; and that the stand-in is as strict
 * as cuda_host.h says. */
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/cuda_device.h"
#include "tests/cuda_host/cuda_host.h"
#include "tests/support/assertions.h"

static const sb_cuda_host healthy = {.devices = 1,
                                     .driver = 13000,
                                     .major = 9,
                                     .memory = (size_t)1 << 30,
                                     .blas = 1,
                                     .solver = 1,
                                     .fail_in = -1};

static sb_backend *opened(void) {
  sb_backend *b;
  sb_cuda_host_device = healthy;
  if (sb_cuda_create(SB_COMPUTE_F32, 3, "gpu07", &b) != SB_OK) fail_msg("%s", sb_message());
  return b;
}

static void refused(sb_cuda_host device, sb_status status, const char *text) {
  sb_backend *b = NULL;
  sb_cuda_host_device = device;
  assert_int_equal(sb_cuda_create(SB_COMPUTE_F32, 0, "gpu07", &b), status);
  assert_null(b);
  assert_says(text);
  assert_says("--device cpu");
}

static void devices_that_cannot_be_used(void **state) {
  (void)state;
  sb_cuda_host device = healthy;
  device.driver = 0, device.devices = 0;
  refused(device, SB_ERR_ABSENT, "no NVIDIA driver was found");
  device.driver = 12020;
  refused(device, SB_ERR_DEVICE,
          "the NVIDIA driver is for CUDA 12.2 and older than the CUDA 13.0 of this build");
  device.driver = 13000;
  refused(device, SB_ERR_ABSENT, "no CUDA device was found");
  device = healthy, device.major = 7, device.minor = 5;
  refused(device, SB_ERR_DEVICE,
          "of gpu07 has compute capability 7.5; 8.0 (A100) or newer is needed");
  device = healthy, device.blas = 0;
  refused(device, SB_ERR_UNSUPPORTED, "of gpu07: cuBLAS is missing");
}

static void ranks_may_outnumber_devices(void **state) {
  (void)state;
  sb_device_identity third, first;
  sb_backend *b = opened();
  sb_cuda_identify(b, &third);
  assert_non_null(strstr(third.name, "GPU 0 ("));
  assert_non_null(strstr(third.name, " of gpu07"));
  b->op->destroy(b);
  sb_cuda_host_device.devices = 2;
  assert_int_equal(sb_cuda_create(SB_COMPUTE_F32, 3, "gpu07", &b), SB_OK);
  sb_cuda_identify(b, &first);
  assert_non_null(strstr(first.name, "GPU 1 ("));
  assert_memory_not_equal(first.uuid, third.uuid, sizeof first.uuid);
  b->op->destroy(b);
}

static void full_memory_names_numbers_and_options(void **state) {
  (void)state;
  sb_backend *b = opened();
  void *most, *more;
  assert_int_equal(b->op->alloc(b, (size_t)3 << 28, "most", &most), SB_OK);
  assert_int_equal(b->op->alloc(b, (size_t)1 << 29, "activations", &more), SB_ERR_MEMORY);
  assert_null(more);
  assert_says("0.500 GiB for activations do not fit: 0.219 of 1.000 GiB are free");
  assert_says("--activation-memory");
  assert_says("of gpu07");
  b->op->free(b, most);
  assert_int_equal(b->op->alloc(b, (size_t)1 << 29, "activations", &more), SB_OK);
  b->op->free(b, more);
  b->op->destroy(b);
}

/* Factors: without cuSOLVER, and where there is no room to make them; then with both. */
static void factors_say_what_they_lack(void **state) {
  (void)state;
  enum { N = 2048 };
  sb_backend *b = opened();
  sb_factor_job job = {.n = N, .quantum = 1, .damping = 0.01};
  void *rest;
  float *ones;
  assert_int_equal(b->op->alloc(b, N * N * sizeof(int64_t), "sums", &job.sums), SB_OK);
  assert_int_equal(b->op->alloc(b, N * N * sizeof(float), "factor", (void **)&job.factor), SB_OK);
  assert_int_equal(b->op->zero(b, NULL, job.sums, N * N * sizeof(int64_t)), SB_OK);
  sb_cuda_host_device.solver = 0;
  assert_int_equal(b->op->factor_moments(b, NULL, &job, 1), SB_ERR_UNSUPPORTED);
  assert_says("cuSOLVER is missing");
  assert_says("--factor distributed");
  sb_cuda_host_device.solver = 1;
  assert_int_equal(b->op->alloc(b, (size_t)930 << 20, "the rest", &rest), SB_OK);
  assert_int_equal(b->op->factor_moments(b, NULL, &job, 1), SB_ERR_MEMORY);
  assert_says("for a Cholesky factor (--factor distributed takes less) do not fit");
  b->op->free(b, rest);
  assert_int_equal(b->op->factor_moments(b, NULL, &job, 1),
                   SB_OK); /* all inputs dead: damped ones */
  assert_int_equal(job.status, SB_OK);
  assert_int_equal(job.repair.dead, N);
  ones = malloc(N * N * sizeof *ones);
  assert_int_equal(b->op->download(b, NULL, ones, job.factor, N * N * sizeof *ones), SB_OK);
  assert_int_equal(b->op->sync(b, NULL), SB_OK);
  assert_true(fabs((double)ones[N + 1] - 1 / sqrt(1.01)) < 1e-7 && ones[1] == 0.0f);
  free(ones);
  b->op->free(b, job.sums);
  b->op->free(b, job.factor);
  b->op->destroy(b);
}

/* Runs `what` in a child; returns its status as wait gives it. */
static int in_a_child(void (*what)(sb_backend *)) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    (void)!freopen("/dev/null", "w", stderr);
    (void)signal(SIGSEGV, SIG_DFL); /* not cmocka's */
    what(opened());
    _exit(42);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

static void fails_in_mid_run(sb_backend *b) {
  float *x, host[4] = {0};
  int step = 0;
  if (b->op->alloc(b, sizeof host, "x", (void **)&x) != SB_OK) _exit(1);
  sb_cuda_host_device.fail_in = 2;
  sb_status status = b->op->zero(b, NULL, x, sizeof host);
  for (; status == SB_OK && step < 10; step++) {
    status = b->op->add(b, NULL, x, x, 4);
    if (status == SB_OK) status = b->op->sync(b, NULL);
  }
  const char *m = sb_message();
  if (status != SB_ERR_DEVICE || step != 3 || !strstr(m, "GPU 0 (") || !strstr(m, " of gpu07: ") ||
      !strstr(m, "cudaErrorLaunchFailure"))
    _exit(2);
  if (b->op->download(b, NULL, host, x, sizeof host) != SB_ERR_DEVICE)
    _exit(3); /* it stays broken */
  b->op->free(b, x);
  b->op->destroy(b); /* and is left in peace */
  _exit(0);
}

static void a_failing_device_is_an_error(void **state) {
  (void)state;
  const int status = in_a_child(fails_in_mid_run);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static volatile float sink;

static void follows_a_device_pointer(sb_backend *b) {
  float *x;
  if (b->op->alloc(b, 64, "x", (void **)&x) != SB_OK) _exit(1);
  sink = x[0];
}

static void reads_beyond_the_end(sb_backend *b) {
  float *x, *y;
  if (b->op->alloc(b, 64, "x", (void **)&x) != SB_OK ||
      b->op->alloc(b, 4096, "y", (void **)&y) != SB_OK)
    _exit(1);
  if (b->op->add(b, NULL, y, x, 1024) != SB_OK || b->op->sync(b, NULL) != SB_OK) _exit(1);
}

static void the_stand_in_is_strict(void **state) {
  (void)state;
  int status = in_a_child(follows_a_device_pointer);
  assert_true(WIFSIGNALED(status) ||
              WEXITSTATUS(status) == 1); /* by the signal, or by a sanitizer's report of it */
  status = in_a_child(reads_beyond_the_end);
  assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 1);
  /* what is queued has not happened before somebody waits */
  sb_backend *b = opened();
  float one = 1.0f, got = 0.0f, *x;
  assert_int_equal(b->op->alloc(b, sizeof one, "x", (void **)&x), SB_OK);
  assert_int_equal(b->op->upload(b, NULL, x, &one, sizeof one), SB_OK);
  assert_int_equal(b->op->download(b, NULL, &got, x, sizeof one), SB_OK);
  assert_true(got == 0.0f);
  assert_int_equal(b->op->sync(b, NULL), SB_OK);
  assert_true(got == 1.0f);
  b->op->free(b, x);
  b->op->destroy(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(devices_that_cannot_be_used),
      cmocka_unit_test(ranks_may_outnumber_devices),
      cmocka_unit_test(full_memory_names_numbers_and_options),
      cmocka_unit_test(factors_say_what_they_lack),
      cmocka_unit_test(a_failing_device_is_an_error),
      cmocka_unit_test(the_stand_in_is_strict),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
