/* What the libraries take is refused at once where address space is short, and is theirs later,
 * whatever happens then. Each case has a process of its own: limits and pools are a process's. */
#include "kernels/blas_room.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cpu/cpu_sgemm.h"
#include "kernels/factor.h"
#include "tests/support/assertions.h"

void *blas_memory_alloc(int unused) __attribute__((weak)); /* OpenBLAS' own */

enum { THREADS = 3 };

#ifdef __SANITIZE_ADDRESS__ /* whose own memory would be what is refused */
enum { LIMITS = 0 };
#else
enum { LIMITS = 1 };
#endif

static size_t address_space(void) {
  size_t pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file && fscanf(file, "%zu", &pages) != 1) pages = 0;
  if (file) fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* From here on the process may have `mib` more. */
static void limit(size_t mib) {
  const rlim_t most = address_space() + ((size_t)mib << 20);
  const struct rlimit to = {most, most};
  if (setrlimit(RLIMIT_AS, &to) != 0) _exit(90);
}

/* Runs `body` in a child, which SIGALRM ends where it tries again without end; its exit status. */
static int in_a_child(int (*body)(void)) {
  fflush(NULL);
  const pid_t child = fork();
  if (child == 0) {
    alarm(3);
    _exit(body());
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* As many threads at work in OpenBLAS at a time: each holds a buffer. */
static int threads_at_work(void) {
  for (int i = 0; i < THREADS; i++)
    if (!blas_memory_alloc(0)) return 4;
  return 0;
}

static int products(void) {
  const float a[4] = {1, 2, 3, 4};
  float c[4];
  for (int kind = 0; kind < 4; kind++)
    if (!sb_cpu_sgemm(kind & 1, kind & 2, 2, 2, 2, 1.0f, a, 2, a, 2, 0.0f, c, 2)) return 5;
  return 0;
}

static int short_of_space(void) {
  limit(100);
  if (sb_blas_room_take(THREADS) != SB_ERR_MEMORY) return 1;
  if (!strstr(sb_message(), "3 threads") || !strstr(sb_message(), "ulimit -v")) return 2;
  return strchr(sb_message(), '\n') || strlen(sb_message()) > 200 ? 3 : 0;
}

static int taken_before(void) {
  if (sb_blas_room_take(THREADS) != SB_OK) return 1;
  limit(16); /* less than one buffer */
  if (sb_blas_room_take(THREADS) != SB_OK || sb_blas_room_take(1) != SB_OK) return 2;
  double h[4] = {2, 0, 0, 2};
  float factor[4];
  sb_factor_repair repair;
  if (sb_factor_lapack(factor, h, 2, 0.01, &repair) != SB_OK) return 6;
  const int bad = threads_at_work();
  return bad ? bad : products();
}

static int not_taken(void) {
  limit(16);
  return threads_at_work();
}

static void refused_at_once(void **state) {
  (void)state;
  if (!LIMITS) skip();
  assert_int_equal(in_a_child(short_of_space), 0);
}

static void theirs_afterwards(void **state) {
  (void)state;
  if (!LIMITS || !blas_memory_alloc) skip();              /* a BLAS without such a pool */
  assert_int_equal(in_a_child(not_taken), 128 + SIGALRM); /* what there is to be prevented */
  assert_int_equal(in_a_child(taken_before), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(refused_at_once),
                                     cmocka_unit_test(theirs_afterwards)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
