#include "quant/gptq_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"
#include "base/trace.h"
#include "folders/checkpoint_files.h"
#include "io/json.h"
#include "model/model_check.h"
#include "mpi/large.h"

static const sb_checkpoint_files_kind kind = {
    .format = "shardbits rounded layers",
    .version = 3, /* 2 had checksums in the bulk, and none of PATH */
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
  uint64_t *sums;  /* [layers]: checksums of those that are done */
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
  SB_TRY(sb_alloc(&r->sums, layers, sizeof *r->sums, "layers on disk"));
  for (size_t l = 0; l < layers; l++) r->units[l + 1] = r->units[l] + units_of(m, group_of(r, l));
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
  uint64_t at; /* in the file */
} share;

static share share_of(const sb_gptq_checkpoint *r, size_t layer) {
  const size_t group = group_of(r, layer);
  size_t end;
  share s = {0};
  sb_store_owned(r->m->store, group, r->m->world->rank, &s.first, &end);
  s.units = end - s.first;
  if (s.units == 0) return s;
  const size_t offset = sb_store_offset(r->m->store, group, s.first);
  s.bytes = sb_store_offset(r->m->store, group, end) - offset;
  s.memory = sb_store_unit(r->m->store, group, s.first);
  s.at = r->at[layer] + offset;
  return s;
}

/* *sum of a layer: each unit's hash, seeded with its number in the model, added up, so it does not
 * matter who owns a unit. Collective. */
static sb_status sum_up(const sb_gptq_checkpoint *r, size_t layer, uint64_t *sum) {
  const share s = share_of(r, layer);
  const size_t group = group_of(r, layer);
  *sum = 0;
  for (size_t u = s.first; u < s.first + s.units; u++) {
    const size_t from = sb_store_offset(r->m->store, group, u),
                 to = sb_store_offset(r->m->store, group, u + 1);
    *sum += XXH64(sb_store_unit(r->m->store, group, u), to - from, r->units[layer] + u);
  }
  return sb_mpi_sum_u64(sum, 1, r->m->world->comm);
}

static sb_status write_share(const sb_gptq_checkpoint *r, size_t layer) {
  const share s = share_of(r, layer);
  if (s.units > 0)
    SB_TRY(
        sb_checkpoint_files_write(&r->files, s.at, s.memory, s.bytes, r->at[r->m->config.layers]));
  return sb_checkpoint_files_sync(&r->files);
}

static sb_status read_share(const sb_gptq_checkpoint *r, size_t layer) {
  const share s = share_of(r, layer);
  return s.units > 0 ? sb_file_read_at(r->files.fd, r->files.data, s.at, s.memory, s.bytes) : SB_OK;
}

/* Whatever somebody wrote there, its checksum may be right; but widths are believed by whoever
 * decodes. */
static sb_status check_codes(const sb_gptq_checkpoint *r, size_t layer) {
  sb_flaw flaw;
  if (sb_model_codes_are_valid(r->m, group_of(r, layer), &flaw)) return SB_OK;
  return sb_fail(SB_ERR_FORMAT, "%s: %s; remove %s to round anew", r->files.data, flaw.text,
                 r->files.path);
}

/* Collective. */
static sb_status read_layer(const sb_gptq_checkpoint *r, size_t layer) {
  uint64_t sum;
  SB_AGREE(r->m->world, read_share(r, layer));
  SB_TRY(sum_up(r, layer, &sum));
  if (sum != r->sums[layer])
    return sb_fail(SB_ERR_FORMAT, "%s: layer %zu is damaged; remove %s to round anew",
                   r->files.data, layer, r->files.path);
  return sb_world_agree(r->m->world, check_codes(r, layer));
}

/* On rank 0: how many layers the model has, how many are done, their checksums. */
typedef struct extent {
  size_t layers;
  uint64_t done;
  uint64_t *sums; /* [layers] */
} extent;

static sb_status parse(void *context, const char *path, const json_t *root) {
  extent *e = context;
  json_t *sums;
  SB_TRY(sb_json_get_u64(path, "", root, "layers", e->layers, &e->done));
  SB_TRY(sb_json_get_array(path, "", root, "sums", &sums));
  for (size_t l = 0; l < e->done; l++) {
    const char *text = json_string_value(json_array_get(sums, l));
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
      return sb_fail(SB_ERR_FORMAT, "%s: damaged: layer %zu has no checksum", path, l);
    e->sums[l] = strtoull(text, NULL, 16);
  }
  return SB_OK;
}

static json_t *describe(const sb_gptq_checkpoint *r, size_t layers) {
  char text[17];
  json_t *sums = json_array();
  for (size_t l = 0; l < layers; l++) {
    snprintf(text, sizeof text, "%016llx", (unsigned long long)r->sums[l]);
    json_array_append_new(sums, json_string(text));
  }
  return json_pack("{s:I, s:o}", "layers", (json_int_t)layers, "sums", sums);
}

static sb_status open_files(sb_gptq_checkpoint *r, const char *path, const sb_key *key,
                            size_t *layers) {
  const sb_world *world = r->m->world;
  extent e = {r->m->config.layers, 0, r->sums};
  bool resumes;
  SB_TRY(sb_checkpoint_files_open(world, &kind, path, key, parse, &e, &resumes, &r->files));
  SB_TRY(sb_mpi_bcast(&e.done, sizeof e.done, 0, world->comm));
  SB_TRY(sb_mpi_bcast(r->sums, e.layers * sizeof *r->sums, 0, world->comm));
  *layers = e.done;
  for (size_t l = 0; l < *layers; l++) SB_TRY(read_layer(r, l));
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
  SB_TRY(sum_up(r, layer, &r->sums[layer]));
  return sb_checkpoint_files_commit(&r->files,
                                    r->m->world->rank == 0 ? describe(r, layer + 1) : NULL);
}

void sb_gptq_checkpoint_close(sb_gptq_checkpoint **checkpoint) {
  sb_gptq_checkpoint *r = *checkpoint;
  if (!r) return;
  sb_checkpoint_files_close(&r->files);
  sb_free(&r->at);
  sb_free(&r->units);
  sb_free(&r->sums);
  sb_free(checkpoint);
}

void sb_gptq_checkpoint_remove(const sb_world *world, const char *path) {
  sb_checkpoint_files_remove(world, &kind, path);
}
