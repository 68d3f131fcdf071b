#include "alloc/checkpoint.h"

#include <jansson.h>
#include <stdio.h>

#include "base/memory.h"
#include "folders/bits_text.h"
#include "mpi/large.h"

static const sb_checkpoint_files_kind kind = {
    .format = "shardbits search",
    .version = 3, /* 1 had no device in its key, 2 no checksum */
    .what = "a search of shardbits (quantize --checkpoint writes one)",
    .state = "a search",
    .advice = "give it the same, or another --checkpoint",
};

/* The bit map as text: a digit per block. */
static json_t *describe(const sb_search_progress *p, const sb_model *m) {
  char *digits = NULL;
  if (sb_alloc(&digits, m->blocks + 1, 1, "search checkpoint") != SB_OK) return NULL;
  sb_bits_text_write(digits, m->bits, m->blocks);
  json_t *out =
      json_pack("{s:{s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f}, s:s}", "progress", "steps",
                p->steps, "strides", p->strides, "trades", p->trades, "accepted", p->accepted,
                "gain_passes", p->gain_passes, "loss_passes", p->loss_passes, "share", p->share,
                "loss", p->loss, "start_loss", p->start_loss, "bits", digits);
  sb_free(&digits);
  return out;
}

sb_status sb_search_checkpoint_write(sb_search_checkpoint *c, const sb_search_progress *progress) {
  return sb_checkpoint_files_commit(
      &c->files, c->model->world->rank == 0 ? describe(progress, c->model) : NULL);
}

static sb_status parse_bits(const char *path, const json_t *root, sb_model *m) {
  char where[SB_PATH_MAX + 32];
  snprintf(where, sizeof where, "%s: damaged", path);
  return sb_bits_text_read(where, json_string_value(json_object_get(root, "bits")), m->blocks,
                           m->bits);
}

typedef struct state {
  sb_search_progress *progress;
  sb_model *model;
} state;

static sb_status parse(void *context, const char *path, const json_t *root) {
  const state *s = context;
  sb_search_progress *p = s->progress;
  if (json_unpack((json_t *)root, "{s:{s:i, s:i, s:i, s:i, s:i, s:i, s:F, s:F, s:F}}", "progress",
                  "steps", &p->steps, "strides", &p->strides, "trades", &p->trades, "accepted",
                  &p->accepted, "gain_passes", &p->gain_passes, "loss_passes", &p->loss_passes,
                  "share", &p->share, "loss", &p->loss, "start_loss", &p->start_loss) != 0 ||
      p->steps < 0 || p->strides < 0 || p->trades < 0 || !(p->share >= 0))
    return sb_fail(SB_ERR_FORMAT, "%s: damaged: it does not say how far the search is", path);
  return parse_bits(path, root, s->model);
}

sb_status sb_search_checkpoint_open(const char *path, const sb_key *key, sb_model *m,
                                    sb_search_progress *progress, bool *resumes,
                                    sb_search_checkpoint *out) {
  state s = {progress, m};
  out->model = m;
  SB_TRY(sb_checkpoint_files_open(m->world, &kind, path, key, parse, &s, resumes, &out->files));
  if (!*resumes) return SB_OK;
  SB_TRY(sb_mpi_bcast(progress, sizeof *progress, 0, m->world->comm));
  return sb_mpi_bcast(m->bits, m->blocks, 0, m->world->comm);
}
