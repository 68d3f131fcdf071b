/* A broken promise ends the process with its place and the reason, where checks are compiled in;
 * elsewhere nothing is even evaluated. */
#include "base/check.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/assertions.h"

static bool is_even(const int *number, sb_flaw *flaw) {
  return *number % 2 == 0 || sb_flaw_found(flaw, "%d is odd", *number);
}

static int evaluated;

/* Not called where assertions are off. */
__attribute__((unused)) static bool count(bool value) {
  evaluated++;
  return value;
}

/* Runs `body` in a process of its own: its signal (0 for none), and what it wrote to stderr. */
static int signal_of(void (*body)(void), char *text, size_t room) {
  int ends[2], how;
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGABRT, SIG_DFL); /* cmocka's own handler is not for children */
    dup2(ends[1], STDERR_FILENO);
    body();
    _exit(0);
  }
  close(ends[1]);
  const ssize_t got = read(ends[0], text, room - 1);
  text[got < 0 ? 0 : got] = 0;
  close(ends[0]);
  assert_int_equal(waitpid(child, &how, 0), child);
  return WIFSIGNALED(how) ? WTERMSIG(how) : 0;
}

static void odd(void) {
  const int number = 7;
  SB_ASSERT_VALID(is_even, &number);
}

static void even(void) {
  const int number = 8;
  SB_ASSERT_VALID(is_even, &number);
  SB_ASSERT(number > 7);
}

static void too_few(void) {
  const int number = 3;
  SB_ASSERT(number >= 4);
}

static void predicates_give_reasons(void **state) {
  (void)state;
  sb_flaw flaw;
  const int numbers[2] = {4, 5};
  assert_true(is_even(&numbers[0], &flaw));
  assert_false(is_even(&numbers[1], &flaw));
  assert_string_equal(flaw.text, "5 is odd");
}

static void kept_promises(void **state) {
  (void)state;
  char text[512];
  assert_int_equal(signal_of(even, text, sizeof text), 0);
  assert_string_equal(text, "");
}

static void broken_promises(void **state) {
  (void)state;
  char text[512];
#ifdef SB_CHECKS
  assert_int_equal(signal_of(odd, text, sizeof text), SIGABRT);
  assert_non_null(strstr(text, "shardbits: tests/base/test_check.c:"));
  assert_non_null(strstr(text, "is_even(&number): 7 is odd\n"));
  assert_int_equal(signal_of(too_few, text, sizeof text), SIGABRT);
  assert_non_null(strstr(text, "number >= 4: does not hold\n"));
#else
  assert_int_equal(signal_of(odd, text, sizeof text), 0);
  assert_int_equal(signal_of(too_few, text, sizeof text), 0);
#endif
}

static void evaluated_only_where_checked(void **state) {
  (void)state;
  evaluated = 0;
  SB_ASSERT(count(true));
#ifdef SB_CHECKS
  assert_int_equal(evaluated, 1);
#else
  assert_int_equal(evaluated, 0);
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(predicates_give_reasons), cmocka_unit_test(kept_promises),
      cmocka_unit_test(broken_promises), cmocka_unit_test(evaluated_only_where_checked)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
