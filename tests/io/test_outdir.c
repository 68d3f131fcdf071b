/* The output folder: complete or not there. */
#include "io/atomic.h"
#include "io/unfinished.h"
#include "io/outdir.h"

#include <dirent.h>
#include <sys/stat.h>

#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"

static void touch(const char *folder, const char *name, const char *text) {
  char path[SB_PATH_MAX];
  assert_ok(sb_path_join(path, folder, name));
  put_file(path, text, strlen(text));
}

static int exists(const char *path) {
  return access(path, F_OK) == 0;
}

/* Number of names in a folder of the scratch folder that start with `prefix`. */
static int count_names_in(const char *name, const char *prefix) {
  DIR *folder = opendir(scratch_path(name));
  int n = 0;
  for (struct dirent *e; (e = readdir(folder));)
    n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
  closedir(folder);
  return n;
}

static int count_names(const char *prefix) {
  return count_names_in(".", prefix);
}

/* A folder with a file in it, as a run of this host that was killed leaves them. */
static void leave_dead(const char *start, char *path) {
  assert_ok(sb_unfinished_name(scratch_path(start), path));
  assert_int_equal(mkdir(path, 0700), 0);
  touch(path, "shard", "x");
}

static void commit_makes_it_appear(void **state) {
  (void)state;
  sb_outdir out;
  assert_ok(sb_outdir_begin(scratch_path("new//"), false, &out));
  assert_false(exists(scratch_path("new")));
  assert_non_null(strstr(out.partial, "new.partial-"));
  touch(out.partial, "a", "1");
  assert_ok(sb_outdir_commit(&out));
  assert_true(exists(scratch_path("new/a")));
  assert_int_equal(count_names("new"), 1);
  assert_ok(sb_outdir_abandon(&out)); /* nothing left to abandon */
  assert_true(exists(scratch_path("new/a")));
}

static void abandon_leaves_nothing(void **state) {
  (void)state;
  sb_outdir out;
  assert_ok(sb_outdir_begin(scratch_path("gone"), false, &out));
  touch(out.partial, "a", "1");
  char sub[SB_PATH_MAX];
  assert_ok(sb_path_join(sub, out.partial, "sub"));
  mkdir(sub, 0777);
  touch(sub, "b", "2");
  assert_int_equal(symlink(scratch, scratch_path("link-target")), 0);
  char link[SB_PATH_MAX];
  assert_ok(sb_path_join(link, out.partial, "link"));
  assert_int_equal(symlink(scratch, link), 0); /* must not be followed */
  assert_ok(sb_outdir_abandon(&out));
  assert_int_equal(count_names("gone"), 0);
  assert_true(exists(scratch));
  assert_true(exists(scratch_path("link-target")));
}

/* A folder that is there keeps its place, so a mount point will do, and its parent need not be
 * writable. What others put there meanwhile stays. */
static void empty_folder_is_written_inside(void **state) {
  (void)state;
  sb_outdir out;
  struct stat before, after;
  char dead[SB_PATH_MAX];
  mkdir(scratch_path("empty"), 0711);
  mkdir(scratch_path("empty/lost+found"), 0700); /* of a file system */
  leave_dead("empty/.shardbits-partial-", dead); /* of a killed run, which is cleared */
  assert_int_equal(stat(scratch_path("empty"), &before), 0);
  assert_ok(sb_outdir_begin(scratch_path("empty"), false, &out));
  assert_true(out.inside);
  assert_false(exists(dead));
  touch(out.partial, "a", "1");
  touch(out.partial, "config.json", "2");
  touch(out.partial, "manifest.json", "3");
  assert_false(exists(scratch_path("empty/a")));
  assert_ok(sb_outdir_commit(&out));
  assert_true(exists(scratch_path("empty/a")));
  assert_true(exists(scratch_path("empty/config.json")));
  assert_true(exists(scratch_path("empty/manifest.json")));
  assert_int_equal(count_names_in("empty", ".shardbits"), 0);
  assert_int_equal(stat(scratch_path("empty"), &after), 0);
  assert_true(before.st_ino == after.st_ino && before.st_mode == after.st_mode);
}

static void inside_a_taken_name_puts_all_back(void **state) {
  (void)state;
  sb_outdir out;
  mkdir(scratch_path("taken"), 0777);
  assert_ok(sb_outdir_begin(scratch_path("taken"), false, &out));
  touch(out.partial, "a", "1");
  touch(scratch_path("taken"), "theirs", "x");
  assert_fails(sb_outdir_commit(&out), SB_ERR_IO, "taken", "meanwhile");
  assert_true(exists(scratch_path("taken/theirs")));
  unlink(scratch_path("taken/theirs"));
  mkdir(scratch_path("taken/.shardbits-x"), 0700); /* not counted as content, and in the way */
  touch(scratch_path("taken/.shardbits-x"), "b", "1");
  char blocked[SB_PATH_MAX];
  assert_ok(sb_path_join(blocked, out.partial, ".shardbits-x"));
  mkdir(blocked, 0700);
  touch(out.partial, "manifest.json", "3");
  assert_fails(sb_outdir_commit(&out), SB_ERR_IO, ".shardbits-x", "nothing was replaced");
  assert_false(exists(scratch_path("taken/a")));
  assert_false(exists(scratch_path("taken/manifest.json")));
  assert_ok(sb_outdir_abandon(&out));
  assert_int_equal(count_names_in("taken", ""), 3); /* . .. and .shardbits-x */
}

/* Found when it begins, not after the work: a folder of somebody else's in a sticky parent. */
static void sticky_parent(void **state) {
  (void)state;
  sb_outdir out;
  if (geteuid() != 0) skip();
  assert_int_equal(chmod(scratch, 0755), 0);
  mkdir(scratch_path("sticky"), 0700);
  assert_int_equal(chmod(scratch_path("sticky"), 01777), 0);
  mkdir(scratch_path("sticky/out"), 0777);
  assert_int_equal(chmod(scratch_path("sticky/out"), 0777), 0);
  assert_int_equal(seteuid(65534), 0);
  sb_status empty = sb_outdir_begin(scratch_path("sticky/out"), false, &out);
  sb_outdir_abandon(&out);
  touch(scratch_path("sticky/out"), "manifest.json", "{}");
  sb_status full = sb_outdir_begin(scratch_path("sticky/out"), true, &out);
  sb_outdir_abandon(&out);
  assert_int_equal(seteuid(0), 0);
  assert_int_equal(empty, SB_OK); /* it is written inside */
  assert_fails(full, SB_ERR_IO, "sticky/out", "may not be replaced", "another output folder");
  assert_int_equal(count_names_in("sticky", "out"), 1);
  assert_true(exists(scratch_path("sticky/out/manifest.json")));
}

/* One job at a time, named; the lock of a dead process is taken over. */
static void locked(void **state) {
  (void)state;
  sb_outdir mine, theirs;
  char dead[SB_PATH_MAX];
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  touch(scratch, "job.lock", "process 1 on nowhere since 1970\n"); /* left by a killed run */
  leave_dead("job.partial-", dead);
  assert_ok(sb_outdir_begin(scratch_path("job"), false, &mine));
  assert_false(exists(dead));
  assert_fails(sb_outdir_begin(scratch_path("job"), false, &theirs), SB_ERR_IO, "job: is in use by",
               host, " since 20");
  assert_true(exists(mine.partial));
  touch(mine.partial, "a", "1");
  assert_ok(sb_outdir_commit(&mine));
  assert_false(exists(scratch_path("job.lock")));
  touch(scratch_path("job"), "manifest.json", "{}");
  assert_ok(sb_outdir_begin(scratch_path("job"), true, &theirs));
  assert_ok(sb_outdir_abandon(&theirs));
  assert_int_equal(count_names("job"), 1);
}

static void existing_output(void **state) {
  (void)state;
  sb_outdir out;
  mkdir(scratch_path("old"), 0777);
  touch(scratch_path("old"), "precious", "x");
  assert_fails(sb_outdir_begin(scratch_path("old"), false, &out), SB_ERR_IO, "old", "not empty",
               "--overwrite");
  assert_fails(sb_outdir_begin(scratch_path("old"), true, &out), SB_ERR_IO, "old", "manifest.json");
  touch(scratch_path("old"), "manifest.json", "{}");
  assert_ok(sb_outdir_begin(scratch_path("old"), true, &out));
  touch(out.partial, "new", "x");
  assert_true(exists(scratch_path("old/precious"))); /* until the commit */
  assert_ok(sb_outdir_commit(&out));
  assert_true(exists(scratch_path("old/new")));
  assert_false(exists(scratch_path("old/precious")));
  assert_int_equal(count_names("old"), 1);
  touch(scratch, "file", "x");
  assert_fails(sb_outdir_begin(scratch_path("file"), true, &out), SB_ERR_IO, "file",
               "not a folder");
}

static void abandoned_overwrite_keeps_the_old(void **state) {
  (void)state;
  sb_outdir out;
  mkdir(scratch_path("keep"), 0777);
  touch(scratch_path("keep"), "manifest.json", "{}");
  assert_ok(sb_outdir_begin(scratch_path("keep"), true, &out));
  assert_ok(sb_outdir_abandon(&out));
  assert_true(exists(scratch_path("keep/manifest.json")));
  assert_int_equal(count_names("keep"), 1);
}

static sb_status spare(const char *out, const char *input) {
  return sb_outdir_spare(scratch_path(out), scratch_path(input));
}

static void inputs_are_spared(void **state) {
  (void)state;
  mkdir(scratch_path("in"), 0777);
  mkdir(scratch_path("in/model"), 0777);
  mkdir(scratch_path("in-2"), 0777);
  touch(scratch_path("in"), "calib.bin", "x");
  assert_int_equal(symlink(scratch_path("in"), scratch_path("in-link")), 0);
  assert_fails(spare("in", "in"), SB_ERR_IO, "in:", "another output folder");
  assert_fails(spare("in", "in/model"), SB_ERR_IO, "in/model");
  assert_fails(spare("in", "in/calib.bin"), SB_ERR_IO, "in/calib.bin");
  assert_fails(spare("in", "in/to-be-made"), SB_ERR_IO, "in/to-be-made");
  assert_fails(spare("in-link", "in/model"), SB_ERR_IO, "in/model");
  assert_fails(spare("in/../in/", "in-link/model"), SB_ERR_IO, "in-link/model");
  assert_ok(spare("in/model", "in")); /* replaces what is in the folder, not the folder */
  assert_ok(spare("in-2", "in"));
  assert_ok(spare("in", "in-2")); /* a longer name is another folder */
  assert_ok(spare("not-there", "in"));
  assert_ok(spare("in", "not/there"));
}

static void taken_meanwhile(void **state) {
  (void)state;
  sb_outdir out;
  assert_ok(sb_outdir_begin(scratch_path("race"), false, &out));
  mkdir(scratch_path("race"), 0777);
  touch(scratch_path("race"), "theirs", "x");
  assert_fails(sb_outdir_commit(&out), SB_ERR_IO, "race", "meanwhile");
  assert_true(exists(scratch_path("race/theirs")));
  assert_ok(sb_outdir_abandon(&out));
  assert_int_equal(count_names("race"), 1);
}

static void parents(void **state) {
  (void)state;
  sb_outdir out;
  assert_fails(sb_outdir_begin(scratch_path("no/such"), false, &out), SB_ERR_IO, "no/such",
               "make it first");
  touch(scratch, "plain", "x");
  assert_fails(sb_outdir_begin(scratch_path("plain/out"), false, &out), SB_ERR_IO, "plain");
  assert_fails(sb_outdir_begin("", false, &out), SB_ERR_USAGE, "empty");
}

static void unwritable_parent(void **state) {
  (void)state;
  sb_outdir out;
  bool root =
      geteuid() == 0; /* root may write anywhere, so it becomes somebody else for a moment */
  mkdir(scratch_path("locked"), 0555);
  if (root) assert_int_equal(chmod(scratch, 0755) | seteuid(65534), 0);
  sb_status status = sb_outdir_begin(scratch_path("locked/out"), false, &out);
  if (root) assert_int_equal(seteuid(0), 0);
  assert_fails(status, SB_ERR_IO, "locked", "not writable");
}

static void space(void **state) {
  (void)state;
  sb_outdir out;
  assert_ok(sb_outdir_begin(scratch_path("space"), false, &out));
  assert_ok(sb_outdir_require_space(&out, 1));
  assert_fails(sb_outdir_require_space(&out, (uint64_t)1 << 60), SB_ERR_IO, "space", "free");
  assert_ok(sb_outdir_abandon(&out));
}

static void single_files(void **state) {
  (void)state;
  size_t bytes;
  static char big[3000000];
  fill_random(big, sizeof big, 5);
  assert_ok(sb_file_write_atomic(scratch_path("f"), "first", 5));
  assert_ok(sb_file_write_atomic(scratch_path("f"), big, sizeof big));
  assert_ok(sb_copy_file(scratch_path("f"), scratch_path("f2")));
  unsigned char *got = get_file(scratch_path("f2"), &bytes);
  assert_int_equal(bytes, sizeof big);
  assert_memory_equal(got, big, bytes);
  free(got);
  assert_int_equal(count_names("f."), 0);
  assert_fails(sb_copy_file(scratch_path("absent"), scratch_path("f3")), SB_ERR_IO, "absent",
               "No such file");
  assert_false(exists(scratch_path("f3")));
  assert_fails(sb_file_write_atomic(scratch_path("nowhere/f"), "x", 1), SB_ERR_IO, "nowhere/f");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(commit_makes_it_appear),
      cmocka_unit_test(abandon_leaves_nothing),
      cmocka_unit_test(empty_folder_is_written_inside),
      cmocka_unit_test(inside_a_taken_name_puts_all_back),
      cmocka_unit_test(sticky_parent),
      cmocka_unit_test(locked),
      cmocka_unit_test(existing_output),
      cmocka_unit_test(abandoned_overwrite_keeps_the_old),
      cmocka_unit_test(inputs_are_spared),
      cmocka_unit_test(taken_meanwhile),
      cmocka_unit_test(parents),
      cmocka_unit_test(unwritable_parent),
      cmocka_unit_test(space),
      cmocka_unit_test(single_files),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
