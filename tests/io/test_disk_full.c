/* A disk that fills up: a small tmpfs in a mount namespace of its own where the system allows one,
 * and a limit on file sizes everywhere. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "io/atomic.h"
#include "io/manifest.h"
#include "io/outdir.h"
#include "io/safetensors_writer.h"
#include "io/shards.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"

enum { MIB = 1 << 20 };
static char data[4 * MIB];

/* Mounts a tmpfs of 1 MiB at `path`, seen by this process alone; false where
 * that is not allowed. */
static bool small_disk(const char *path) {
  if (mkdir(path, 0777) != 0 && errno != EEXIST) return false;
  if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return false;
  return mount("none", path, "tmpfs", 0, "size=1m") == 0;
}

static void shard_on(const char *path, const char *why) {
  sb_shard_writer *writer;
  assert_ok(sb_shard_writer_create(path, 1, &writer));
  sb_shard_writer_expect(writer, sizeof data);
  sb_frame_in frames[8];
  for (uint32_t i = 0; i < 8; i++)
    frames[i] = (sb_frame_in){
        .tensor = 0, .row = i, .raw = data + i * (sizeof data / 8), .bytes = sizeof data / 8};
  assert_fails(sb_shard_writer_add_batch(writer, frames, 8), SB_ERR_IO, path, why,
               "of about 4194304 bytes", "nothing was replaced");
  assert_fails(sb_shard_writer_finish(writer, NULL), SB_ERR_INTERNAL, path);
  sb_shard_writer_free(&writer);
  assert_int_not_equal(access(path, F_OK), 0);
}

static void all_on(const char *folder, const char *why) {
  char path[512];
  sb_safetensors_writer *writer;
  const sb_tensor_spec spec = {.name = "w", .dtype = SB_U8, .dims = 1, .shape = {sizeof data}};
  snprintf(path, sizeof path, "%s/s.sbs", folder);
  shard_on(path, why);
  snprintf(path, sizeof path, "%s/m.safetensors", folder);
  assert_fails(sb_safetensors_writer_create(path, &spec, 1, NULL, &writer), SB_ERR_IO, path, why);
  assert_int_not_equal(access(path, F_OK), 0);
  snprintf(path, sizeof path, "%s/result.json", folder);
  assert_ok(sb_file_write_atomic(path, "old", 3));
  assert_fails(sb_file_write_atomic(path, data, sizeof data), SB_ERR_IO, path, why,
               "nothing was replaced");
  size_t bytes;
  unsigned char *old = get_file(path, &bytes);
  assert_int_equal(bytes, 3); /* still the old one */
  free(old);
}

/* Runs `body` in a child process, whose mounts and limits end with it. 0: passed,
 * 77: not possible here. */
static int in_child(int (*body)(void)) {
  int result;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) _exit(body());
  assert_int_equal(waitpid(child, &result, 0), child);
  return WIFEXITED(result) ? WEXITSTATUS(result) : -1;
}

/* Asserts in a child leave it by longjmp into the parent's frames; so they end it instead. */
static const char *child_folder, *child_reason;
static void child_checks(void **state) {
  (void)state;
  all_on(child_folder, child_reason);
}
static int run_checks(const char *folder, const char *why) {
  child_folder = folder;
  child_reason = why;
  const struct CMUnitTest inner[] = {cmocka_unit_test(child_checks)};
  return cmocka_run_group_tests(inner, NULL, NULL) == 0 ? 0 : 1;
}

static int full_disk(void) {
  const char *disk = scratch_path("disk");
  if (!small_disk(disk)) return 77;
  return run_checks(disk, "no space left");
}

static int limited_files(void) {
  const struct rlimit limit = {MIB, MIB};
  signal(SIGXFSZ, SIG_IGN);
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 77;
  return run_checks(scratch, "limit on file sizes");
}

static void no_space(void **state) {
  (void)state;
  int result = in_child(full_disk);
  if (result == 77) {
    print_message("no small disk can be mounted here\n");
    skip();
  }
  assert_int_equal(result, 0);
}

static void file_size_limit(void **state) {
  (void)state;
  assert_int_equal(in_child(limited_files), 0);
}

/* The check ahead of any writing. */
static int space_ahead(void) {
  sb_outdir out;
  const char *disk = scratch_path("ahead");
  char path[600];
  if (!small_disk(disk)) return 77;
  snprintf(path, sizeof path, "%s/out", disk);
  if (sb_outdir_begin(path, false, &out) != SB_OK ||
      sb_outdir_require_space(&out, MIB / 2) != SB_OK)
    return 1;
  if (sb_outdir_require_space(&out, 2 * MIB) != SB_ERR_IO || !strstr(sb_message(), "2.00 MiB"))
    return 2;
  return sb_outdir_abandon(&out) == SB_OK ? 0 : 3;
}

static void space_is_checked_ahead(void **state) {
  (void)state;
  int result = in_child(space_ahead);
  if (result == 77) skip();
  assert_int_equal(result, 0);
}

int main(void) {
  fill_random(data, sizeof data, 3);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_space),
      cmocka_unit_test(file_size_limit),
      cmocka_unit_test(space_is_checked_ahead),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
