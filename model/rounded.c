#include "model/rounded.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/memory.h"
#include "io/file.h"
#include "io/json.h"
#include "mpi/large.h"

#define FORMAT "shardbits rounded layers"
enum { VERSION = 1 };

struct sb_rounded {
  char path[SB_PATH_MAX], data[SB_PATH_MAX];
  const sb_key *key;
  sb_model *m;
  int fd;          /* of `data` */
  uint64_t *at;    /* [layers + 1]: where the image of each layer begins in `data`, and its end */
  uint64_t *units; /* [layers + 1]: units before each */
};

static size_t group_of(const sb_rounded *r, size_t layer) {
  return r->m->layer_first + layer;
}

static size_t units_of(const sb_model *m, size_t group) {
  const sb_place *last = &m->places[m->group_place[group + 1] - 1];
  return last->first_unit + last->units;
}

static sb_status lay_out(sb_rounded *r) {
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

/* What this rank owns of a layer: consecutive units, whose bytes follow one another in its memory and in the file. */
typedef struct share {
  size_t first, units, bytes;
  uint8_t *memory;
  uint64_t at, sums_at; /* in the file */
  uint64_t *sums;       /* [units] */
} share;

static sb_status find_share(const sb_rounded *r, size_t layer, share *s) {
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

static uint64_t sum_of(const sb_rounded *r, size_t layer, const share *s, size_t unit) {
  const size_t group = group_of(r, layer), from = sb_store_offset(r->m->store, group, s->first + unit),
               to = sb_store_offset(r->m->store, group, s->first + unit + 1);
  return XXH64(s->memory + (from - sb_store_offset(r->m->store, group, s->first)), to - from, 0);
}

static sb_status write_share(const sb_rounded *r, size_t layer) {
  share s;
  SB_TRY(find_share(r, layer, &s));
  for (size_t u = 0; u < s.units; u++) s.sums[u] = sum_of(r, layer, &s, u);
  const uint64_t all = r->at[r->m->config.layers];
  sb_status status = s.units == 0 ? SB_OK : sb_file_write_at(r->fd, r->data, s.at, s.memory, s.bytes, all);
  if (status == SB_OK && s.units > 0)
    status = sb_file_write_at(r->fd, r->data, s.sums_at, s.sums, s.units * sizeof *s.sums, all);
  sb_free(&s.sums);
  return status == SB_OK ? sb_file_sync(r->fd, r->data) : status;
}

static sb_status read_share(const sb_rounded *r, size_t layer) {
  share s;
  SB_TRY(find_share(r, layer, &s));
  if (s.units == 0) return SB_OK;
  sb_status status = sb_file_read_at(r->fd, r->data, s.at, s.memory, s.bytes);
  if (status == SB_OK) status = sb_file_read_at(r->fd, r->data, s.sums_at, s.sums, s.units * sizeof *s.sums);
  for (size_t u = 0; status == SB_OK && u < s.units; u++)
    if (sum_of(r, layer, &s, u) != s.sums[u])
      status = sb_fail(SB_ERR_FORMAT, "%s: layer %zu is damaged; remove %s to round anew", r->data, layer,
                       r->path);
  sb_free(&s.sums);
  return status;
}

/* ---- the JSON file, on rank 0 ---- */

static sb_status write_state(const sb_rounded *r, size_t layers) {
  json_t *root = json_pack("{s:s, s:i, s:o, s:I}", "format", FORMAT, "version", VERSION, "key",
                           sb_key_json(r->key), "layers", (json_int_t)layers);
  const sb_status status =
      root ? sb_json_write(r->path, root) : sb_fail(SB_ERR_MEMORY, "%s: out of memory", r->path);
  json_decref(root);
  return status;
}

static sb_status parse(const sb_rounded *r, const json_t *root, uint64_t *layers) {
  SB_TRY(sb_key_begin(root, r->path, FORMAT, VERSION,
                      "rounded layers of shardbits (quantize --checkpoint writes them)"));
  SB_TRY(sb_key_compare(r->key, json_object_get(root, "key"), r->path, "layers rounded",
                        "give it the same, or remove that file to round anew"));
  return sb_json_get_u64(r->path, "", root, "layers", r->m->config.layers, layers);
}

static sb_status read_state(const sb_rounded *r, uint64_t *layers) {
  json_t *root;
  SB_TRY(sb_json_read(r->path, &root));
  const sb_status status = parse(r, root, layers);
  json_decref(root);
  return status;
}

/* Rank 0 makes `data` where it is to be new; all open it. */
static sb_status open_data(sb_rounded *r, bool fresh) {
  int fd = -1;
  sb_status status = SB_OK;
  if (fresh && r->m->world->rank == 0) {
    status = sb_file_create(r->data, &fd);
    if (status == SB_OK) close(fd);
  }
  SB_AGREE(r->m->world, status);
  return sb_world_agree(r->m->world, sb_file_open_update(r->data, &r->fd));
}

static sb_status open_files(sb_rounded *r, size_t *layers) {
  const sb_world *world = r->m->world;
  uint64_t there[2] = {0, 0}; /* whether there is a file, layers */
  sb_status status = SB_OK;
  if (world->rank == 0) {
    there[0] = access(r->path, F_OK) == 0;
    if (there[0]) status = read_state(r, &there[1]);
  }
  SB_AGREE(world, status);
  SB_TRY(sb_mpi_bcast(there, sizeof there, 0, world->comm));
  *layers = there[1];
  SB_TRY(open_data(r, *layers == 0));
  for (size_t l = 0; l < *layers; l++) SB_AGREE(world, read_share(r, l));
  return SB_OK;
}

sb_status sb_rounded_open(const char *path, const sb_key *key, sb_model *packed, size_t *layers,
                          sb_rounded **out) {
  sb_rounded *r = NULL;
  *layers = 0;
  sb_status status = sb_alloc(&r, 1, sizeof *r, "layers on disk");
  if (status == SB_OK) {
    r->fd = -1;
    r->key = key;
    r->m = packed;
    if (snprintf(r->path, sizeof r->path, "%s", path) >= SB_PATH_MAX ||
        snprintf(r->data, sizeof r->data, "%s.layers", path) >= SB_PATH_MAX)
      status = sb_fail(SB_ERR_IO, "%.64s...: the name is too long", path);
  }
  if (status == SB_OK) status = lay_out(r);
  status = sb_world_agree(packed->world, status);
  if (status == SB_OK) status = open_files(r, layers);
  *out = r;
  if (status != SB_OK) sb_rounded_close(out);
  return status;
}

sb_status sb_rounded_add(sb_rounded *r, size_t layer) {
  SB_AGREE(r->m->world, write_share(r, layer));
  return sb_world_agree(r->m->world, r->m->world->rank == 0 ? write_state(r, layer + 1) : SB_OK);
}

void sb_rounded_close(sb_rounded **rounded) {
  sb_rounded *r = *rounded;
  if (!r) return;
  if (r->fd >= 0) close(r->fd);
  sb_free(&r->at);
  sb_free(&r->units);
  sb_free(rounded);
}

void sb_rounded_remove(const sb_world *world, const char *path) {
  char data[SB_PATH_MAX];
  if (world->rank != 0 || snprintf(data, sizeof data, "%s.layers", path) >= SB_PATH_MAX) return;
  (void)unlink(path); /* first: without it the other file means nothing */
  (void)unlink(data);
}
