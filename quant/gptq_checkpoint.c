#include "quant/gptq_checkpoint.h"

#include <xxhash.h>

#include "base/memory.h"
#include "base/trace.h"
#include "folders/checkpoint_files.h"
#include "io/json.h"
#include "mpi/large.h"

static const sb_checkpoint_files_kind kind = {
    .format = "shardbits rounded layers",
    .version = 2, /* 1 had device and arithmetic in one entry of the key */
    .what = "rounded layers of shardbits (quantize --checkpoint writes them)",
    .state = "layers rounded",
    .advice = "give it the same, or remove that file to round anew",
    .suffix = "layers",
};

struct sb_gptq_checkpoint {
  sb_checkpoint_files files;
  sb_model *m;
  uint64_t *at;    /* [layers + 1]: where the image of each layer begins in `data`, and its end */
  uint64_t *units; /* [layers + 1]: units before each */
};

static size_t group_of(const sb_gptq_checkpoint *r, size_t layer) {
  return r->m->layer_first + layer;
}

static size_t units_of(const sb_model *m, size_t group) {
  const sb_place *last = &m->places[m->group_place[group + 1] - 1];
  return last->first_unit + last->units;
}

static sb_status lay_out(sb_gptq_checkpoint *r) {
  const sb_model *m = r->m;
  const size_t layers = m->config.layers;
  SB_TRY(sb_alloc(&r->at, layers + 1, sizeof *r->at, "layers on disk"));
  SB_TRY(sb_alloc(&r->units, layers + 1, sizeof *r->units, "layers on disk"));
  for (size_t l = 0; l < layers; l++) r->units[l + 1] = r->units[l] + units_of(m, group_of(r, l));
  r->at[0] = r->units[layers] * sizeof(uint64_t);
  for (size_t l = 0; l < layers; l++) {
    const size_t group = group_of(r, l);
    r->at[l + 1] = r->at[l] + sb_store_offset(m->store, group, units_of(m, group));
  }
  return SB_OK;
}

/* What this rank owns of a layer: consecutive units, whose bytes follow one another in its memory
 * and in the file. */
typedef struct share {
  size_t first, units, bytes;
  uint8_t *memory;
  uint64_t at, sums_at; /* in the file */
  uint64_t *sums;       /* [units] */
} share;

static sb_status find_share(const sb_gptq_checkpoint *r, size_t layer, share *s) {
  const size_t group = group_of(r, layer);
  size_t end;
  *s = (share){0};
  sb_store_owned(r->m->store, group, r->m->world->rank, &s->first, &end);
  s->units = end - s->first;
  if (s->units == 0) return SB_OK;
  const size_t offset = sb_store_offset(r->m->store, group, s->first);
  s->bytes = sb_store_offset(r->m->store, group, end) - offset;
  s->memory = sb_store_unit(r->m->store, group, s->first);
  s->at = r->at[layer] + offset;
  s->sums_at = (r->units[layer] + s->first) * sizeof *s->sums;
  return sb_alloc(&s->sums, s->units, sizeof *s->sums, "checksums");
}

static uint64_t sum_of(const sb_gptq_checkpoint *r, size_t layer, const share *s, size_t unit) {
  const size_t group = group_of(r, layer),
               from = sb_store_offset(r->m->store, group, s->first + unit),
               to = sb_store_offset(r->m->store, group, s->first + unit + 1);
  return XXH64(s->memory + (from - sb_store_offset(r->m->store, group, s->first)), to - from, 0);
}

static sb_status write_share(const sb_gptq_checkpoint *r, size_t layer) {
  share s;
  SB_TRY(find_share(r, layer, &s));
  for (size_t u = 0; u < s.units; u++) s.sums[u] = sum_of(r, layer, &s, u);
  const uint64_t all = r->at[r->m->config.layers];
  sb_status status =
      s.units == 0 ? SB_OK
                   : sb_file_write_at(r->files.fd, r->files.data, s.at, s.memory, s.bytes, all);
  if (status == SB_OK && s.units > 0)
    status = sb_file_write_at(r->files.fd, r->files.data, s.sums_at, s.sums,
                              s.units * sizeof *s.sums, all);
  sb_free(&s.sums);
  return status == SB_OK ? sb_file_sync(r->files.fd, r->files.data) : status;
}

static sb_status read_share(const sb_gptq_checkpoint *r, size_t layer) {
  share s;
  SB_TRY(find_share(r, layer, &s));
  if (s.units == 0) return SB_OK;
  sb_status status = sb_file_read_at(r->files.fd, r->files.data, s.at, s.memory, s.bytes);
  SB_THEN(sb_file_read_at(r->files.fd, r->files.data, s.sums_at, s.sums, s.units * sizeof *s.sums));
  for (size_t u = 0; status == SB_OK && u < s.units; u++)
    if (sum_of(r, layer, &s, u) != s.sums[u])
      status = sb_fail(SB_ERR_FORMAT, "%s: layer %zu is damaged; remove %s to round anew",
                       r->files.data, layer, r->files.path);
  sb_free(&s.sums);
  return status;
}

/* On rank 0: how many layers the model has, and how many are done. */
typedef struct extent {
  size_t layers;
  uint64_t done;
} extent;

static sb_status parse(void *context, const char *path, const json_t *root) {
  extent *e = context;
  return sb_json_get_u64(path, "", root, "layers", e->layers, &e->done);
}

static sb_status open_files(sb_gptq_checkpoint *r, const char *path, const sb_key *key,
                            size_t *layers) {
  const sb_world *world = r->m->world;
  extent e = {r->m->config.layers, 0};
  bool resumes;
  SB_TRY(sb_checkpoint_files_open(world, &kind, path, key, parse, &e, &resumes, &r->files));
  SB_TRY(sb_mpi_bcast(&e.done, sizeof e.done, 0, world->comm));
  *layers = e.done;
  for (size_t l = 0; l < *layers; l++) SB_AGREE(world, read_share(r, l));
  return SB_OK;
}

sb_status sb_gptq_checkpoint_open(const char *path, const sb_key *key, sb_model *packed,
                                  size_t *layers, sb_gptq_checkpoint **out) {
  *layers = 0;
  sb_status status = sb_alloc(out, 1, sizeof **out, "layers on disk");
  if (status == SB_OK) {
    (*out)->files.fd = -1;
    (*out)->m = packed;
    status = lay_out(*out);
  }
  status = sb_world_agree(packed->world, status);
  SB_THEN(open_files(*out, path, key, layers));
  if (status != SB_OK) sb_gptq_checkpoint_close(out);
  return status;
}

sb_status sb_gptq_checkpoint_add(sb_gptq_checkpoint *r, size_t layer) {
  SB_SPAN(SB_TRACE_DISK, "save layer", layer);
  SB_AGREE(r->m->world, write_share(r, layer));
  return sb_checkpoint_files_commit(
      &r->files,
      r->m->world->rank == 0 ? json_pack("{s:I}", "layers", (json_int_t)(layer + 1)) : NULL);
}

void sb_gptq_checkpoint_close(sb_gptq_checkpoint **checkpoint) {
  sb_gptq_checkpoint *r = *checkpoint;
  if (!r) return;
  sb_checkpoint_files_close(&r->files);
  sb_free(&r->at);
  sb_free(&r->units);
  sb_free(checkpoint);
}

void sb_gptq_checkpoint_remove(const sb_world *world, const char *path) {
  sb_checkpoint_files_remove(world, &kind, path);
}
