/* Another program: what it says, how it ends, what it inherits. */
#include "io/child.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/assertions.h"

typedef struct heard {
  char data[64], lines[256];
  size_t bytes, count;
  uint64_t sum;
  sb_status answer; /* to data */
} heard;

static sb_status hear_data(void *context, const void *bytes, size_t count) {
  heard *h = context;
  const unsigned char *from = bytes;
  for (size_t i = 0; i < count; i++) {
    if (h->bytes + i < sizeof h->data - 1) h->data[h->bytes + i] = (char)from[i];
    h->sum += from[i] * (h->bytes + i + 1);
  }
  h->bytes += count;
  return h->answer == SB_OK ? SB_OK : sb_fail(h->answer, "no room for it");
}

static void hear_line(void *context, const char *line) {
  heard *h = context;
  const size_t at = strlen(h->lines);
  h->count++;
  snprintf(h->lines + at, sizeof h->lines - at, "%.100s|", line);
}

static sb_status shell(const char *script, heard *h, int *exit_code) {
  char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script,
                  NULL};
  const sb_child_ears ears = {h, hear_data, hear_line};
  return sb_child_run(argv, &ears, exit_code);
}

static void what_it_says(void **state) {
  heard h = {0};
  int code = -1;
  (void)state;
  assert_ok(shell("printf 'a\\nb'; echo one >&2; printf '\\ntwo' >&2; exit 3", &h, &code));
  assert_int_equal(code, 3);
  assert_string_equal(h.data, "a\nb");
  assert_string_equal(h.lines, "one|two|");
  h = (heard){0};
  assert_ok(shell("kill -TERM $$", &h, &code));
  assert_int_equal(code, 128 + SIGTERM);
  assert_int_equal(h.bytes + h.count, 0);
}

/* More than pipes hold, on both streams in turn: neither waits for the other. */
static void much_of_both(void **state) {
  enum { ROUNDS = 40, BYTES = 100000 };
  heard h = {0};
  int code;
  uint64_t expected = 0;
  (void)state;
  assert_ok(shell("i=0; while [ $i -lt 40 ]; do i=$((i+1));"
                  "head -c 100000 /dev/zero | tr '\\0' x; head -c 99999 /dev/zero | tr '\\0' y >&2;"
                  "echo >&2; done",
                  &h, &code));
  for (uint64_t i = 1; i <= (uint64_t)ROUNDS * BYTES; i++) expected += i * 'x';
  assert_int_equal(code, 0);
  assert_int_equal(h.bytes, ROUNDS * BYTES);
  assert_true(h.sum == expected);
  assert_int_equal(h.count, ROUNDS);
}

static void data_that_is_refused(void **state) {
  heard h = {.answer = SB_ERR_IO};
  int code;
  struct timespec begun, ended;
  (void)state;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  assert_fails(shell("echo a; exec sleep 60", &h, &code), SB_ERR_IO, "no room for it");
  clock_gettime(CLOCK_MONOTONIC, &ended);
  assert_int_equal(code, 128 + SIGKILL);
  assert_true(ended.tv_sec - begun.tv_sec < 30);
}

static void no_such_program(void **state) {
  char *argv[] = {(char *)(uintptr_t) "/no/such program", NULL};
  heard h = {0};
  const sb_child_ears ears = {&h, hear_data, hear_line};
  int code;
  (void)state;
  assert_fails(sb_child_run(argv, &ears, &code), SB_ERR_ABSENT, "/no/such program: cannot be",
               "No such file");
}

/* No file of this process, no ignored signal, no blocked one, and nothing to read. */
static void what_it_inherits(void **state) {
  heard h = {0};
  sigset_t usr1;
  int code;
  const int fd = open("/dev/null", O_RDONLY); /* not closed by exec */
  (void)state;
  assert_true(fd > STDERR_FILENO);
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  signal(SIGPIPE, SIG_IGN);
  sigprocmask(SIG_BLOCK, &usr1, NULL);
  /* bits of 31 signals: those of threads (32, 33) are the C library's own */
  assert_ok(shell("ls /proc/self/fd | tr '\\n' ' '; wc -c; set -- $(sed -n 's/^Sig\\(Ign\\|Blk\\):"
                  "\\t/0x/p' /proc/self/status); echo $(($1 & 0x7fffffff)) $(($2 & 0x7fffffff))",
                  &h, &code));
  sigprocmask(SIG_UNBLOCK, &usr1, NULL);
  signal(SIGPIPE, SIG_DFL);
  close(fd);
  /* 3 is what ls reads the folder by */
  assert_string_equal(h.data, "0 1 2 3 0\n0 0\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_it_says),         cmocka_unit_test(much_of_both),
      cmocka_unit_test(data_that_is_refused), cmocka_unit_test(no_such_program),
      cmocka_unit_test(what_it_inherits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
