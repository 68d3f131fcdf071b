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
    .version = 4, /* 3 knew layers only; 2 had checksums in the bulk, and none of PATH */
    .what = "rounded layers of shardbits (quantize --checkpoint writes them)",
    .state = "layers rounded",
    .advice = "give it the same, or remove that file to round anew",
    .suffix = "layers",
};

struct sb_gptq_checkpoint {
  sb_checkpoint_files files;
  sb_model *m;
  size_t count, done; /* groups: all, and those that are saved */
  size_t *groups;     /* [count]: which of the store, in the order in which they are rounded */
  uint64_t *at; /* [count + 1]: where the image of each begins in `data`, and the last one's end */
  uint64_t *units; /* [count + 1]: units before each */
  uint64_t *sums;  /* [count]: checksums of those that are done */
};

size_t sb_gptq_table_groups(const sb_model *m) {
  size_t count = 0;
  for (size_t i = 0; i < m->table_count; i++)
    if (m->tables[i].coded) count += m->tables[i].count;
  return count;
}

static void list_groups(sb_gptq_checkpoint *r) {
  const sb_model *m = r->m;
  size_t n = 0;
  for (size_t i = 0; i < m->table_count; i++)
    for (size_t k = 0; m->tables[i].coded && k < m->tables[i].count; k++)
      r->groups[n++] = m->tables[i].group + k;
  for (size_t l = 0; l < m->config.layers; l++) r->groups[n++] = m->layer_first + l;
}

static size_t units_of(const sb_model *m, size_t group) {
  const sb_place *last = &m->places[m->group_place[group + 1] - 1];
  return last->first_unit + last->units;
}

static sb_status lay_out(sb_gptq_checkpoint *r) {
  const sb_model *m = r->m;
  const size_t count = r->count = sb_gptq_table_groups(m) + m->config.layers;
  SB_TRY(sb_alloc(&r->groups, count, sizeof *r->groups, "groups on disk"));
  SB_TRY(sb_alloc(&r->at, count + 1, sizeof *r->at, "groups on disk"));
  SB_TRY(sb_alloc(&r->units, count + 1, sizeof *r->units, "groups on disk"));
  SB_TRY(sb_alloc(&r->sums, count, sizeof *r->sums, "groups on disk"));
  list_groups(r);
  for (size_t k = 0; k < count; k++) {
    const size_t units = units_of(m, r->groups[k]);
    r->units[k + 1] = r->units[k] + units;
    r->at[k + 1] = r->at[k] + sb_store_offset(m->store, r->groups[k], units);
  }
  return SB_OK;
}

/* What this rank owns of group k: consecutive units, whose bytes follow one another in its memory
 * and in the file. */
typedef struct share {
  size_t first, units, bytes;
  uint8_t *memory;
  uint64_t at; /* in the file */
} share;

static share share_of(const sb_gptq_checkpoint *r, size_t k) {
  const size_t group = r->groups[k];
  size_t end;
  share s = {0};
  sb_store_owned(r->m->store, group, r->m->world->rank, &s.first, &end);
  s.units = end - s.first;
  if (s.units == 0) return s;
  const size_t offset = sb_store_offset(r->m->store, group, s.first);
  s.bytes = sb_store_offset(r->m->store, group, end) - offset;
  s.memory = sb_store_unit(r->m->store, group, s.first);
  s.at = r->at[k] + offset;
  return s;
}

/* *sum of group k: each unit's hash, seeded with its number in the model, added up, so it does not
 * matter who owns a unit. Collective. */
static sb_status sum_up(const sb_gptq_checkpoint *r, size_t k, uint64_t *sum) {
  const share s = share_of(r, k);
  const size_t group = r->groups[k];
  *sum = 0;
  for (size_t u = s.first; u < s.first + s.units; u++) {
    const size_t from = sb_store_offset(r->m->store, group, u),
                 to = sb_store_offset(r->m->store, group, u + 1);
    *sum += XXH64(sb_store_unit(r->m->store, group, u), to - from, r->units[k] + u);
  }
  return sb_mpi_sum_u64(sum, 1, r->m->world->comm);
}

static sb_status write_share(const sb_gptq_checkpoint *r, size_t k) {
  const share s = share_of(r, k);
  if (s.units > 0)
    SB_TRY(sb_checkpoint_files_write(&r->files, s.at, s.memory, s.bytes, r->at[r->count]));
  return sb_checkpoint_files_sync(&r->files);
}

static sb_status read_share(const sb_gptq_checkpoint *r, size_t k) {
  const share s = share_of(r, k);
  return s.units > 0 ? sb_file_read_at(r->files.fd, r->files.data, s.at, s.memory, s.bytes) : SB_OK;
}

/* Whatever somebody wrote there, its checksum may be right; but widths are believed by whoever
 * decodes. */
static sb_status check_codes(const sb_gptq_checkpoint *r, size_t k) {
  sb_flaw flaw;
  if (sb_model_codes_are_valid(r->m, r->groups[k], &flaw)) return SB_OK;
  return sb_fail(SB_ERR_FORMAT, "%s: %s; remove %s to round anew", r->files.data, flaw.text,
                 r->files.path);
}

/* "layer 3", "chunk 1 of embedding and head" */
static const char *name_group(const sb_gptq_checkpoint *r, size_t k, char out[64]) {
  const size_t tables = sb_gptq_table_groups(r->m);
  if (k < tables)
    snprintf(out, 64, "chunk %zu of embedding and head", k);
  else
    snprintf(out, 64, "layer %zu", k - tables);
  return out;
}

/* Collective. */
static sb_status read_group(const sb_gptq_checkpoint *r, size_t k) {
  uint64_t sum;
  char name[64];
  SB_AGREE(r->m->world, read_share(r, k));
  SB_TRY(sum_up(r, k, &sum));
  if (sum != r->sums[k])
    return sb_fail(SB_ERR_FORMAT, "%s: %s is damaged; remove %s to round anew", r->files.data,
                   name_group(r, k, name), r->files.path);
  return sb_world_agree(r->m->world, check_codes(r, k));
}

/* On rank 0: how many groups there are, how many are done, their checksums. */
typedef struct extent {
  size_t count;
  uint64_t done;
  uint64_t *sums; /* [count] */
} extent;

static sb_status parse(void *context, const char *path, const json_t *root) {
  extent *e = context;
  json_t *sums;
  SB_TRY(sb_json_get_u64(path, "", root, "groups", e->count, &e->done));
  SB_TRY(sb_json_get_array(path, "", root, "sums", &sums));
  for (size_t k = 0; k < e->done; k++) {
    const char *text = json_string_value(json_array_get(sums, k));
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
      return sb_fail(SB_ERR_FORMAT, "%s: damaged: group %zu has no checksum", path, k);
    e->sums[k] = strtoull(text, NULL, 16);
  }
  return SB_OK;
}

static json_t *describe(const sb_gptq_checkpoint *r) {
  char text[17];
  json_t *sums = json_array();
  for (size_t k = 0; k < r->done; k++) {
    snprintf(text, sizeof text, "%016llx", (unsigned long long)r->sums[k]);
    json_array_append_new(sums, json_string(text));
  }
  return json_pack("{s:I, s:o}", "groups", (json_int_t)r->done, "sums", sums);
}

static sb_status open_files(sb_gptq_checkpoint *r, const char *path, const sb_key *key,
                            size_t *groups) {
  const sb_world *world = r->m->world;
  extent e = {r->count, 0, r->sums};
  bool resumes;
  SB_TRY(sb_checkpoint_files_open(world, &kind, path, key, parse, &e, &resumes, &r->files));
  SB_TRY(sb_mpi_bcast(&e.done, sizeof e.done, 0, world->comm));
  SB_TRY(sb_mpi_bcast(r->sums, e.count * sizeof *r->sums, 0, world->comm));
  *groups = r->done = e.done;
  for (size_t k = 0; k < r->done; k++) SB_TRY(read_group(r, k));
  return SB_OK;
}

sb_status sb_gptq_checkpoint_open(const char *path, const sb_key *key, sb_model *packed,
                                  size_t *groups, sb_gptq_checkpoint **out) {
  *groups = 0;
  sb_status status = sb_alloc(out, 1, sizeof **out, "groups on disk");
  if (status == SB_OK) {
    (*out)->files.fd = -1;
    (*out)->m = packed;
    status = lay_out(*out);
  }
  status = sb_world_agree(packed->world, status);
  SB_THEN(open_files(*out, path, key, groups));
  if (status != SB_OK) sb_gptq_checkpoint_close(out);
  return status;
}

sb_status sb_gptq_checkpoint_add(sb_gptq_checkpoint *r, size_t group) {
  const size_t k = r->done;
  SB_SPAN(SB_TRACE_DISK, "save group", group);
  if (k == r->count || r->groups[k] != group)
    return sb_fail(SB_ERR_INTERNAL, "group %zu of the store is saved out of order", group);
  SB_AGREE(r->m->world, write_share(r, k));
  SB_TRY(sum_up(r, k, &r->sums[k]));
  r->done++;
  return sb_checkpoint_files_commit(&r->files, r->m->world->rank == 0 ? describe(r) : NULL);
}

void sb_gptq_checkpoint_close(sb_gptq_checkpoint **checkpoint) {
  sb_gptq_checkpoint *r = *checkpoint;
  if (!r) return;
  sb_checkpoint_files_close(&r->files);
  sb_free(&r->groups);
  sb_free(&r->at);
  sb_free(&r->units);
  sb_free(&r->sums);
  sb_free(checkpoint);
}

void sb_gptq_checkpoint_remove(const sb_world *world, const char *path) {
  sb_checkpoint_files_remove(world, &kind, path);
}
