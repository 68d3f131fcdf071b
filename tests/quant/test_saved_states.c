/* Saved states of rounding and of training: every byte that a later run goes on from is under a
 * checksum. One changed byte anywhere in either file, and the state is refused on all ranks; so is
 * a bulk of another run. */
#include <fcntl.h>

#include "quant/encode.h"
#include "quant/gptq_checkpoint.h"
#include "quant/tune_checkpoint.h"
#include "tests/support/golden.h"
#include "tests/support/shared_scratch.h"

enum { MOST_FLIPS = 3000 }; /* of a file; a longer one is tried at bytes evenly spread */

/* A state to be saved and opened again. */
typedef struct state {
  golden g;
  sb_model *coded;
  sb_scales *scales;
  sb_key key;
  const char *path;
} state;

static void begin(state *s, const char *path, uint64_t seed) {
  const golden_setup setup = {.name = "gqa-tied", GOLDEN_DEFAULTS};
  *s = (state){.path = path};
  golden_open(&s->g, &setup);
  golden_mixed_bits(s->g.model, 2, 4, seed);
  EXPECT_OK(sb_encode_nearest(s->g.model, &s->coded));
  EXPECT_OK(sb_scales_create(s->coded, (sb_trained){0}, &s->scales));
  sb_key_add(&s->key, "model", "model", "%d", 7);
}

static void end(state *s) {
  sb_scales_free(&s->scales);
  sb_model_free(&s->coded);
  golden_close(&s->g);
}

static sb_status open_rounded(state *s) {
  sb_gptq_checkpoint *checkpoint = NULL;
  size_t layers = 0;
  const sb_status status =
      sb_gptq_checkpoint_open(s->path, &s->key, s->coded, &layers, &checkpoint);
  if (status == SB_OK) EXPECT(layers == s->coded->config.layers);
  sb_gptq_checkpoint_close(&checkpoint);
  return status;
}

static void save_rounded(state *s) {
  sb_gptq_checkpoint *checkpoint = NULL;
  size_t layers = 0;
  EXPECT_OK(sb_gptq_checkpoint_open(s->path, &s->key, s->coded, &layers, &checkpoint));
  for (size_t l = 0; l < s->coded->config.layers; l++)
    EXPECT_OK(sb_gptq_checkpoint_add(checkpoint, s->coded->layer_first + l));
  sb_gptq_checkpoint_close(&checkpoint);
}

static sb_status open_trained(state *s) {
  sb_tune_checkpoint *checkpoint = NULL;
  sb_tune_checkpoint_progress progress;
  const sb_status status = sb_tune_checkpoint_open(s->path, &s->key, s->g.model->world, s->scales,
                                                   &progress, &checkpoint);
  if (status == SB_OK) EXPECT(progress.steps == 3 && progress.before == 0.12345678901234567);
  sb_tune_checkpoint_close(&checkpoint);
  return status;
}

static void save_trained(state *s) {
  sb_tune_checkpoint *checkpoint = NULL;
  sb_tune_checkpoint_progress progress;
  EXPECT_OK(sb_tune_checkpoint_open(s->path, &s->key, s->g.model->world, s->scales, &progress,
                                    &checkpoint));
  progress = (sb_tune_checkpoint_progress){3, 0.12345678901234567};
  EXPECT_OK(sb_tune_checkpoint_offer(checkpoint, &progress));
  sb_tune_checkpoint_close(&checkpoint);
}

/* Changes byte `at` by `mask`, on rank 0. Collective. */
static void change(int fd, off_t at, unsigned char mask) {
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  if (world.rank == 0) {
    unsigned char byte = 0;
    EXPECT(pread(fd, &byte, 1, at) == 1);
    byte ^= mask;
    EXPECT(pwrite(fd, &byte, 1, at) == 1);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
}

/* Each byte in turn; the file is whole again afterwards. */
static void flip_bytes(state *s, const char *file, sb_status (*reopen)(state *)) {
  size_t accepted = 0;
  const int fd = open(file, O_RDWR);
  EXPECT(fd >= 0);
  const off_t bytes = lseek(fd, 0, SEEK_END), step = bytes / MOST_FLIPS + 1;
  EXPECT(bytes > 100);
  for (off_t at = 0; at < bytes; at += step) {
    const unsigned char mask = (unsigned char)(1u << at / step % 8);
    change(fd, at, mask);
    const sb_status status = reopen(s);
    if (status == SB_OK && accepted++ < 3)
      print_error("%s: byte %lld, changed by %#x, is not noticed\n", file, (long long)at, mask);
    change(fd, at, mask);
  }
  EXPECT(accepted == 0);
  close(fd);
  EXPECT_OK(reopen(s));
}

static void check_state(const char *name, const char *suffix, void (*save)(state *),
                        sb_status (*reopen)(state *)) {
  state s, other;
  char path[1024], bulk[1100], path_other[1024], bulk_other[1100];
  scratch_begin();
  snprintf(path, sizeof path, "%s", scratch_path(name));
  snprintf(path_other, sizeof path_other, "%s", scratch_path("other"));
  snprintf(bulk, sizeof bulk, "%s.%s", path, suffix);
  snprintf(bulk_other, sizeof bulk_other, "%s.%s", path_other, suffix);
  begin(&s, path, 5);
  save(&s);
  EXPECT_OK(reopen(&s));
  flip_bytes(&s, path, reopen);
  flip_bytes(&s, bulk, reopen);
  begin(&other, path_other, 6); /* the same sizes or not: never taken for this one */
  save(&other);
  if (world.rank == 0) EXPECT(rename(bulk_other, bulk) == 0);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  EXPECT(reopen(&s) == SB_ERR_FORMAT && strstr(sb_message(), "damaged"));
  end(&other);
  end(&s);
  scratch_end();
}

static void rounded_layers(void **unused) {
  (void)unused;
  check_state("rounded", "layers", save_rounded, open_rounded);
  all_ranks_passed();
}

static void trained_scales(void **unused) {
  (void)unused;
  check_state("trained", "scales", save_trained, open_trained);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(rounded_layers),
                                          cmocka_unit_test(trained_scales)};
RANKS_MAIN(tests)
