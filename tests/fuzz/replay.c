/* fuzz_replay run TARGET COUNT [FILE ...]: the seeds, the files, and `COUNT` mutations of them, the
 *                                          same on every machine.
 * fuzz_replay seeds TARGET FOLDER:         writes the seeds there: a corpus for libFuzzer.
 *
 * An input that ends the process is left in fuzz-TARGET-failing. */
#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/target.h"
#include "tests/support/random.h"

#define ADDRESS(name) &fuzz_##name,
static const fuzz_target *const targets[] = {FUZZ_TARGETS(ADDRESS)};
enum { TARGETS = sizeof targets / sizeof *targets, MOST_SEEDS = 256 };

typedef struct input {
  uint8_t *data;
  size_t bytes;
} input;
static input inputs[MOST_SEEDS];
static size_t input_count;

static const fuzz_target *find(const char *name) {
  for (size_t i = 0; i < TARGETS; i++)
    if (strcmp(targets[i]->name, name) == 0) return targets[i];
  fprintf(stderr, "no target is called %s; there are:", name);
  for (size_t i = 0; i < TARGETS; i++) fprintf(stderr, " %s", targets[i]->name);
  fprintf(stderr, "\n");
  exit(2);
}

static void take(void *context, const void *data, size_t bytes) {
  const fuzz_target *target = context;
  fuzz_require(input_count < MOST_SEEDS && bytes <= target->limit);
  uint8_t *copy = malloc(bytes + 1);
  fuzz_require(copy != NULL);
  memcpy(copy, data, bytes);
  inputs[input_count++] = (input){copy, bytes};
}

static void take_file(const fuzz_target *target, const char *path) {
  uint8_t *data = malloc(target->limit + 1);
  FILE *file = fopen(path, "rb");
  if (!file || !data) {
    fprintf(stderr, "%s: cannot be read\n", path);
    exit(2);
  }
  const size_t bytes = fread(data, 1, target->limit, file);
  fclose(file);
  take((void *)(uintptr_t)target, data, bytes);
  free(data);
}

/* The input is run from memory of its own size, for the address sanitizer. */
static const uint8_t *running;
static size_t running_bytes;
static char failing[128];

static void run(const fuzz_target *target, const uint8_t *data, size_t bytes) {
  uint8_t *copy = malloc(bytes ? bytes : 1);
  fuzz_require(copy != NULL);
  memcpy(copy, data, bytes);
  running = copy;
  running_bytes = bytes;
  target->run(copy, bytes);
  running = NULL;
  free(copy);
}

static void keep_failing(void) {
  FILE *file = running ? fopen(failing, "wb") : NULL;
  if (!file) return;
  fwrite(running, 1, running_bytes, file);
  fclose(file);
  fprintf(stderr, "the input is in %s\n", failing);
}

static void on_signal(int signal) {
  keep_failing();
  raise(signal);
}

/* Of the sanitizers' libraries, where they are linked: they print their report first. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch_failures(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
  sigaction(SIGABRT, &action, NULL);
  if (__sanitizer_set_death_callback)
    __sanitizer_set_death_callback(keep_failing);
  else
    sigaction(SIGSEGV, &action, NULL);
}

static void run_all(const fuzz_target *target, size_t mutations) {
  uint64_t random = 1;
  uint8_t *data = malloc(target->limit + 1);
  fuzz_require(data != NULL);
  for (size_t i = 0; i < input_count; i++) run(target, inputs[i].data, inputs[i].bytes);
  for (size_t k = 0; k < mutations; k++) {
    const input *from = &inputs[draw(&random, input_count)];
    size_t bytes = from->bytes;
    memcpy(data, from->data, bytes);
    for (size_t changes = 1 + draw(&random, 4); changes > 0; changes--)
      bytes = fuzz_change(data, bytes, target->limit, &random);
    if (target->mend && k % 8 < 7) target->mend(data, bytes);
    run(target, data, bytes);
  }
  free(data);
  printf("%s: %zu inputs and %zu mutations of them\n", target->name, input_count, mutations);
}

static void write_seeds(const fuzz_target *target, const char *to) {
  char path[4096];
  for (size_t i = 0; i < input_count; i++) {
    snprintf(path, sizeof path, "%s/seed-%03zu", to, i);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(inputs[i].data, 1, inputs[i].bytes, file) != inputs[i].bytes) {
      fprintf(stderr, "%s: cannot be written\n", path);
      exit(2);
    }
    fclose(file);
  }
  printf("%s: %zu seeds\n", target->name, input_count);
}

int main(int argc, char **argv) {
  const bool seeds = argc == 4 && strcmp(argv[1], "seeds") == 0;
  if (!seeds && (argc < 4 || strcmp(argv[1], "run") != 0)) {
    fprintf(stderr, "usage: %s run TARGET COUNT [FILE ...] | seeds TARGET FOLDER\n", argv[0]);
    return 2;
  }
  const fuzz_target *target = find(argv[2]);
  snprintf(failing, sizeof failing, "fuzz-%s-failing", target->name);
  watch_failures();
  omp_set_num_threads(1); /* regions of a few microseconds: waking threads takes longer */
  if (target->begin) target->begin();
  target->seeds(take, (void *)(uintptr_t)target);
  if (seeds) {
    write_seeds(target, argv[3]);
    return 0;
  }
  for (int i = 4; i < argc; i++) take_file(target, argv[i]);
  run_all(target, strtoul(argv[3], NULL, 10));
  for (size_t i = 0; i < input_count; i++) free(inputs[i].data);
  return 0;
}
