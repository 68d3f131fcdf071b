/* A golden model whose vocabulary is repeated until it takes several chunks: token v + k V has the
 * embedding and the row of the LM head of token v. So logits repeat, all soft-maxes and gradients
 * are those of the golden model, and losses grow by log(copies). */
#ifndef SB_TESTS_SUPPORT_WIDE_H
#define SB_TESTS_SUPPORT_WIDE_H

#include "io/atomic.h"
#include "tests/support/golden.h"
#include "tests/support/shared_scratch.h"

#include "io/safetensors.h"
#include "io/safetensors_writer.h"

enum { WIDE_COPIES = 72, WIDE_TENSORS = 64 };

static inline bool wide_repeats(const char *tensor) {
  return strcmp(tensor, "model.embed_tokens.weight") == 0 || strcmp(tensor, "lm_head.weight") == 0;
}

static inline void wide_weights(const char *from, const char *to) {
  sb_safetensors *source = NULL;
  sb_safetensors_writer *writer = NULL;
  sb_tensor_spec specs[WIDE_TENSORS];
  EXPECT_OK(sb_safetensors_open(from, &source));
  const size_t count = sb_safetensors_count(source);
  EXPECT(count <= WIDE_TENSORS);
  for (size_t i = 0; i < count; i++) {
    const sb_tensor_info *t = sb_safetensors_at(source, i);
    specs[i] = (sb_tensor_spec){t->name, t->dtype, t->dims, {t->shape[0], t->shape[1]}};
    if (wide_repeats(t->name)) specs[i].shape[0] *= WIDE_COPIES;
  }
  EXPECT_OK(sb_safetensors_writer_create(to, specs, count, NULL, &writer));
  for (size_t i = 0; i < count; i++) {
    const sb_tensor_info *t = sb_safetensors_at(source, i);
    void *data = malloc(t->bytes);
    EXPECT_OK(sb_safetensors_read(source, t, 0, t->bytes, data));
    for (size_t k = 0; k < (wide_repeats(t->name) ? WIDE_COPIES : 1); k++)
      EXPECT_OK(sb_safetensors_writer_write(writer, i, k * t->bytes, t->bytes, data));
    free(data);
  }
  EXPECT_OK(sb_safetensors_writer_finish(writer));
  sb_safetensors_writer_free(&writer);
  sb_safetensors_close(&source);
}

/* The golden tokens, each as one of its copies. */
static inline void wide_tokens(const char *from, const char *to, size_t vocab) {
  char *data = NULL;
  size_t bytes;
  EXPECT_OK(sb_file_read_all(from, 1 << 20, &data, &bytes));
  uint16_t *ids = (uint16_t *)data;
  for (size_t i = 0; i < bytes / 2; i++)
    ids[i] = (uint16_t)(ids[i] + vocab * (mix(i) % WIDE_COPIES));
  EXPECT_OK(sb_file_write_atomic(to, data, bytes));
  sb_free(&data);
}

/* Makes the folder in scratch and returns its path. Collective. */
static inline const char *wide_make(const char *name) {
  char from[1024], path[2048];
  const char *folder = scratch_path(name);
  snprintf(from, sizeof from, "%s/tests/golden/%s", SB_SOURCE_DIR, name);
  if (world.rank == 0) {
    snprintf(path, sizeof path, "mkdir '%s'", folder);
    EXPECT(system(path) == 0);
    snprintf(path, sizeof path, "%s/config.json", from);
    json_t *config = json_load_file(path, 0, NULL);
    const size_t vocab = (size_t)json_integer_value(json_object_get(config, "vocab_size"));
    json_object_set_new(config, "vocab_size", json_integer((json_int_t)(vocab * WIDE_COPIES)));
    snprintf(path, sizeof path, "%s/config.json", folder);
    EXPECT(json_dump_file(config, path, 0) == 0);
    json_decref(config);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    wide_weights(from, path);
    char tokens[2048];
    snprintf(tokens, sizeof tokens, "%s/tokens.bin", from);
    snprintf(path, sizeof path, "%s/tokens.bin", folder);
    wide_tokens(tokens, path, vocab);
  }
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  return folder;
}

#endif
