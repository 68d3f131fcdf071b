#include "folders/synth.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "folders/hf_path.h"
#include "folders/made_model.h"
#include "folders/random_weights.h"
#include "io/bytes.h"
#include "io/file.h"
#include "io/json.h"
#include "model/config_read.h"

enum {
  PIECE = 4 << 20 /* weights made and written at a time */,
  STRIPE = 1 << 14,
  TOKENS = 1 << 20
};

typedef struct job {
  const sb_world *world;
  const sb_synth_setup *setup;
  sb_arch arch;
  json_t *config; /* rank 0's */
  float *wide;    /* [PIECE] */
  char *narrow;   /* [PIECE] of dtype; NULL where that is f32 */
} job;

/* Pieces are dealt to ranks in runs: rank r has those from r pieces / ranks on. */
static uint64_t pieces_of(const sb_model_tensor *t) {
  const uint64_t count = (uint64_t)t->rows * t->cols;
  return count / PIECE + (count % PIECE != 0);
}

static uint64_t first_piece(const job *j, uint64_t pieces, int rank) {
  const uint64_t ranks = (uint64_t)j->world->size, r = (uint64_t)rank;
  return pieces / ranks * r + (pieces % ranks * r) / ranks;
}

static sb_status write_piece(job *j, sb_hf_folder *folder, size_t tensor,
                             const sb_random_tensor *recipe, uint64_t piece) {
  const sb_model_tensor *t = &j->arch.tensors[tensor];
  const uint64_t first = piece * PIECE;
  const size_t count = (size_t)((uint64_t)t->rows * t->cols - first < PIECE
                                    ? (uint64_t)t->rows * t->cols - first
                                    : (uint64_t)PIECE),
               size = sb_dtype_size(j->setup->dtype);
#pragma omp parallel for schedule(static)
  for (size_t at = 0; at < count; at += STRIPE)
    sb_random_tensor_fill(recipe, first + at, sb_min_size(STRIPE, count - at), j->wide + at);
  if (j->narrow) {
    sb_from_f32(j->narrow, j->setup->dtype, j->wide, count);
    const size_t at = sb_first_infinite(j->narrow, j->setup->dtype, count);
    if (at < count)
      return sb_hf_folder_range_error(t, (size_t)(first + at) / t->cols,
                                      (size_t)(first + at) % t->cols, j->wide[at], j->setup->dtype);
  }
  return sb_hf_folder_write(folder, tensor, first * size, count * size,
                            j->narrow ? (void *)j->narrow : j->wide);
}

static sb_status write_weights(void *context, sb_hf_folder *folder) {
  job *j = context;
  const sb_synth_setup *s = j->setup;
  uint64_t pieces = 0, seen = 0;
  for (size_t i = 0; i < j->arch.count; i++) pieces += pieces_of(&j->arch.tensors[i]);
  const uint64_t begin = first_piece(j, pieces, j->world->rank),
                 end = first_piece(j, pieces, j->world->rank + 1);
  SB_TRY(sb_alloc_raw(&j->wide, PIECE, sizeof *j->wide, "weights"));
  if (s->dtype != SB_F32)
    SB_TRY(sb_alloc_raw(&j->narrow, PIECE, sb_dtype_size(s->dtype), "weights"));
  for (size_t i = 0; i < j->arch.count && seen < end; i++) {
    const uint64_t here = pieces_of(&j->arch.tensors[i]), from = begin > seen ? begin - seen : 0,
                   to = end - seen < here ? end - seen : here;
    sb_random_tensor recipe;
    seen += here;
    if (from >= to) continue;
    SB_TRY(sb_random_tensor_create(&j->arch, i, s->seed, &recipe));
    sb_status status = SB_OK;
    for (uint64_t piece = from; piece < to && status == SB_OK; piece++) {
      status = write_piece(j, folder, i, &recipe, piece);
      sb_tick(s->ticker, (double)(seen - here + piece + 1 - begin) / (double)(end - begin));
    }
    sb_random_tensor_free(&recipe);
    SB_TRY(status);
  }
  return SB_OK;
}

/* ---- rank 0: the small files ---- */

static size_t token_bytes(const job *j) {
  return j->arch.config.vocab > 65536 ? 4 : 2;
}

static sb_status write_token_range(const job *j, int fd, const char *path, uint32_t *ids,
                                   char *bytes) {
  const uint64_t all = j->setup->tokens;
  const size_t width = token_bytes(j);
  for (uint64_t first = 0; first < all; first += TOKENS) {
    const size_t count = all - first < TOKENS ? (size_t)(all - first) : TOKENS;
    sb_random_tokens(j->setup->seed, j->arch.config.vocab, first, count, ids);
    for (size_t k = 0; k < count; k++) {
      char four[4];
      sb_put_u32(four, ids[k]);
      memcpy(bytes + k * width, four, width); /* little-endian: the low half comes first */
    }
    SB_TRY(sb_file_write_at(fd, path, first * width, bytes, count * width, all * width));
  }
  return sb_file_sync(fd, path);
}

static sb_status write_tokens(const job *j, const char *folder) {
  char path[SB_PATH_MAX], *bytes = NULL;
  uint32_t *ids = NULL;
  int fd = -1;
  sb_status status;
  if (j->setup->tokens == 0) return SB_OK;
  SB_TRY(sb_path_join(path, folder, "tokens.bin"));
  SB_GO(sb_alloc_raw(&ids, TOKENS, sizeof *ids, "tokens"));
  SB_GO(sb_alloc_raw(&bytes, TOKENS, 4, "tokens"));
  SB_GO(sb_file_create(path, &fd));
  status = write_token_range(j, fd, path, ids, bytes);
done:
  if (fd >= 0) close(fd);
  sb_free(&ids);
  sb_free(&bytes);
  return status;
}

static sb_status write_beside(void *context, const char *folder) {
  const job *j = context;
  char path[SB_PATH_MAX];
  SB_TRY(sb_path_join(path, folder, "config.json"));
  json_object_set_new(j->config, "num_hidden_layers",
                      json_integer((json_int_t)j->arch.config.layers));
  sb_hf_folder_set_dtype(j->config, j->setup->dtype);
  SB_TRY(sb_json_write(path, j->config));
  return write_tokens(j, folder);
}

/* ---- all ---- */

static sb_status describe(job *j) {
  sb_config config;
  const sb_synth_setup *s = j->setup;
  SB_TRY(sb_hf_path_check(s->config));
  SB_TRY(sb_config_read_json(s->config, &j->config, &config));
  if (s->layers > config.layers)
    return sb_fail(SB_ERR_RANGE, "%s: has %zu layers; its first %zu were asked for", s->config,
                   config.layers, s->layers);
  sb_config_restate(j->config, &config);
  if (s->layers) config.layers = s->layers;
  return sb_arch_create(&config, &j->arch);
}

sb_status sb_synth_make(const sb_world *world, const sb_synth_setup *setup,
                        sb_hf_folder_stats *stats, uint64_t *parameters) {
  job j = {.world = world, .setup = setup};
  sb_tensor_spec *specs = NULL;
  sb_status status = describe(&j);
  SB_THEN(sb_alloc(&specs, j.arch.count, sizeof *specs, "tensors"));
  status = sb_world_agree(world, status);
  if (status == SB_OK) {
    for (size_t i = 0; i < j.arch.count; i++)
      specs[i] = sb_hf_folder_spec(&j.arch.tensors[i], setup->dtype);
    *parameters = j.arch.parameters;
    const sb_hf_folder_setup folder = {.world = world,
                                       .specs = specs,
                                       .count = j.arch.count,
                                       .out = setup->out,
                                       .file_bytes = setup->file_bytes,
                                       .beside_bytes = setup->tokens * token_bytes(&j),
                                       .context = &j,
                                       .tensors = write_weights,
                                       .beside = write_beside};
    status = sb_hf_folder_make(&folder, stats);
  }
  sb_free(&specs);
  sb_free(&j.wide);
  sb_free(&j.narrow);
  sb_arch_free(&j.arch);
  json_decref(j.config);
  return status;
}

/* ---- in memory ---- */

typedef struct filler {
  uint64_t seed;
  size_t tensor; /* of the recipe at hand; SIZE_MAX before the first */
  sb_random_tensor recipe;
  float *wide; /* [STRIPE] */
} filler;

static sb_status fill_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  filler *f = context;
  const sb_dtype dtype = m->dtypes[place->tensor];
  size_t first, rows;
  if (f->tensor != place->tensor) {
    sb_random_tensor_free(&f->recipe);
    f->tensor = place->tensor;
    SB_TRY(sb_random_tensor_create(&m->arch, f->tensor, f->seed, &f->recipe));
  }
  sb_place_rows(m, place, unit, &first, &rows);
  const size_t cols = m->arch.tensors[place->tensor].cols, count = rows * cols;
  for (size_t at = 0, part; at < count; at += part) {
    part = sb_min_size(STRIPE, count - at);
    sb_random_tensor_fill(&f->recipe, (uint64_t)first * cols + at, part, f->wide);
    sb_from_f32((char *)data + at * sb_dtype_size(dtype), dtype, f->wide, part);
  }
  return SB_OK;
}

sb_status sb_synth_load(const sb_world *world, const sb_config *config, sb_dtype dtype,
                        uint64_t seed, sb_blocking blocking, sb_model **out) {
  filler f = {.seed = seed, .tensor = SIZE_MAX};
  SB_AGREE(world, sb_alloc_raw(&f.wide, STRIPE, sizeof *f.wide, "weights"));
  const sb_status status = sb_made_model(world, config, dtype, blocking, fill_unit, &f, out);
  sb_random_tensor_free(&f.recipe);
  sb_free(&f.wide);
  return status;
}
