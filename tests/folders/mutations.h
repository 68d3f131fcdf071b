/* Changes of an output folder of one shard, some with all checksums as they must be. Each draws
 * what it does from a random state (tests/support/random.h). Local. */
#ifndef SB_TESTS_FOLDERS_MUTATIONS_H
#define SB_TESTS_FOLDERS_MUTATIONS_H

#include <jansson.h>

#include "io/frame.h"
#include "io/manifest.h"
#include "io/shard_layout.h"
#include "io/shardset.h"
#include "tests/support/files.h"
#include "tests/support/ranks.h"

/* ---- the folder ---- */

static void copy_folder(const char *from, const char *to) {
  char command[2200];
  snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", to, from, to);
  EXPECT(system(command) == 0);
}

static void path_in(char *out, const char *folder, const char *name) {
  snprintf(out, 1100, "%s/%s", folder, name);
}

/* A file of the folder: mostly the manifest or a shard. */
static const char *pick_file(uint64_t *s) {
  static const char *const names[] = {"manifest.json", "manifest.json", "shard-00001-of-00001.sbz",
                                      "shard-00001-of-00001.sbz", "config.json"};
  return names[draw(s, 5)];
}

/* ---- changes of bytes ---- */

static void change_bytes(const char *folder, uint64_t *s) {
  char path[1100];
  size_t bytes;
  path_in(path, folder, pick_file(s));
  unsigned char *data = get_file(path, &bytes);
  switch (draw(s, 8)) {
  case 0:
    bytes = draw(s, bytes);
    break;
  case 1: /* a run of zeros */
    for (size_t i = draw(s, bytes), n = 0; i < bytes && n < 64; i++, n++) data[i] = 0;
    break;
  case 2: /* near the end: index and footer of a shard */
    data[bytes - 1 - draw(s, bytes < 400 ? bytes : 400)] ^= (unsigned char)(1u << draw(s, 8));
    break;
  default:
    for (size_t n = 1 + draw(s, 3); n > 0; n--)
      data[draw(s, bytes)] ^= (unsigned char)(1u << draw(s, 8));
  }
  put_file(path, data, bytes);
  free(data);
}

/* ---- changes of the manifest's values ---- */

static size_t count_nodes(const json_t *value) {
  size_t count = 1, i;
  const char *key;
  json_t *child;
  if (json_is_object(value))
    json_object_foreach((json_t *)value, key, child) count += count_nodes(child);
  if (json_is_array(value))
    json_array_foreach((json_t *)value, i, child) count += count_nodes(child);
  return count;
}

static json_t *other_integer(json_int_t value, uint64_t *s) {
  const json_int_t values[] = {0,
                               1,
                               -1,
                               value + 1,
                               value - 1,
                               2 * value,
                               value / 2,
                               8192,
                               1 << 30,
                               (json_int_t)1 << 40,
                               INT64_MAX,
                               -INT64_MAX,
                               (json_int_t)1 << 32,
                               3};
  return json_integer(values[draw(s, sizeof values / sizeof *values)]);
}

static json_t *other_value(const json_t *value, uint64_t *s) {
  static const char *const texts[] = {"",           "x",      "none",      "indexed", "fused",
                                      "F32",        "BF16",   "symmetric", "raw",     "quantized",
                                      "order",      "linear", "llama3",    "float16", "trellis-12",
                                      "trellis-16", "exl3"};
  if (draw(s, 12) == 0) return json_null();
  if (json_is_integer(value)) return other_integer(json_integer_value(value), s);
  if (json_is_real(value)) return json_real(draw(s, 2) ? -json_real_value(value) : 1e300);
  if (json_is_string(value)) return json_string(texts[draw(s, sizeof texts / sizeof *texts)]);
  if (json_is_boolean(value)) return json_boolean(!json_is_true(value));
  if (json_is_array(value)) {
    json_t *copy = json_deep_copy(value);
    if (draw(s, 2))
      json_array_append(copy, json_array_get(value, 0));
    else
      json_array_remove(copy, draw(s, json_array_size(value) + 1));
    return copy;
  }
  return draw(s, 2) ? json_object() : json_integer(7);
}

/* Changes node number *left of the tree below `value`, counted down. */
static bool change_node(json_t *value, size_t *left, uint64_t *s) {
  const char *key;
  json_t *child;
  size_t i;
  if (json_is_object(value)) json_object_foreach(value, key, child) {
      if ((*left)-- == 0) {
        if (draw(s, 8) == 0) return json_object_del(value, key) == 0;
        return json_object_set_new(value, key, other_value(child, s)) == 0;
      }
      if (change_node(child, left, s)) return true;
    }
  if (json_is_array(value)) json_array_foreach(value, i, child) {
      if ((*left)-- == 0) return json_array_set_new(value, i, other_value(child, s)) == 0;
      if (change_node(child, left, s)) return true;
    }
  return false;
}

static void change_manifest(const char *folder, uint64_t *s) {
  static const char *const parts[] = {"blocks", "totals", "shards"};
  char path[1100];
  path_in(path, folder, SB_MANIFEST_NAME);
  json_t *root = json_load_file(path, 0, NULL), *part = root;
  EXPECT(root != NULL);
  const size_t which = draw(s, 6); /* tensors are most of the nodes */
  if (which < 3) part = json_object_get(root, parts[which]);
  if (which == 3 || which == 4) part = json_object_get(json_object_get(root, "model"), "config");
  size_t left = draw(s, count_nodes(part));
  change_node(part, &left, s);
  EXPECT(json_dump_file(root, path, JSON_INDENT(2)) == 0);
  json_decref(root);
}

/* ---- changes of frames, with checksums that fit ---- */

typedef struct content {
  uint8_t *raw;
  size_t bytes;
} content;

/* Bytes of a block row or an order are anything; stored numbers stay moderate or get an exponent of
 * ones. */
static void change_content(const sb_manifest_tensor *t, content *c, uint64_t *s) {
  const size_t at = draw(s, c->bytes);
  switch (draw(s, 4)) {
  case 0: /* another length */
    c->bytes = draw(s, 2) ? at : c->bytes - 1;
    break;
  case 1: /* NaN or infinity, or what looks like one */
    for (size_t i = at & ~(size_t)3; i < c->bytes && i < (at & ~(size_t)3) + 4; i++)
      c->raw[i] = (uint8_t)(i % 2 ? 0x7f : 0x80 + draw(s, 128));
    break;
  case 2: /* the beginning: bit map of a block row, first numbers of an order */
    if (t->kind != SB_TENSOR_RAW)
      c->raw[draw(s, c->bytes < 8 ? c->bytes : 8)] = (uint8_t)draw(s, 256);
    else
      c->raw[at & ~(size_t)3] ^= 1;
    break;
  default:
    if (t->kind == SB_TENSOR_RAW)
      c->raw[at & ~(size_t)3] ^= (uint8_t)(1u << draw(s, 8));
    else
      c->raw[at] = (uint8_t)draw(s, 256);
  }
}

/* The folder's only shard anew, one frame changed; the manifest says what belongs to it. */
static void change_frame(const char *folder, uint64_t *s) {
  char path[1100], name[64];
  sb_shardset *set = NULL;
  sb_manifest manifest = {0};
  sb_shard_writer *writer = NULL;
  sb_shard_stats stats;
  EXPECT_OK(sb_shardset_open(folder, &set));
  EXPECT_OK(sb_manifest_read(folder, &manifest));
  const sb_shard_reader *reader = sb_shardset_reader(set, 0);
  const size_t count = sb_shard_reader_count(reader);
  /* a tensor first, or the many frames of the embedding are nearly all */
  const uint32_t tensor = (uint32_t)draw(s, manifest.tensor_count),
                 row = (uint32_t)draw(s, manifest.tensors[tensor].frames);
  snprintf(name, sizeof name, "%s", manifest.shards[0].file);
  path_in(path, folder, "new");
  EXPECT_OK(sb_shard_writer_create(path, 1, &writer));
  for (size_t i = 0; i < count; i++) {
    const sb_shard_entry *e = sb_shard_reader_at(reader, i);
    content c = {malloc(e->raw_bytes + 8), (size_t)e->raw_bytes};
    EXPECT_OK(sb_shard_read_frame(reader, e, c.raw, c.bytes));
    if (e->tensor == tensor && e->row == row) change_content(&manifest.tensors[tensor], &c, s);
    EXPECT_OK(sb_shard_writer_add(writer, e->tensor, e->row, SB_FILTER_NONE, c.raw, c.bytes));
    free(c.raw);
  }
  EXPECT_OK(sb_shard_writer_finish(writer, &stats));
  sb_shard_writer_free(&writer);
  sb_shardset_close(&set);
  sb_shard_reader *again = NULL;
  EXPECT_OK(sb_shard_reader_open(path, &again));
  EXPECT_OK(sb_shard_content_hash(&again, 1, &manifest.content_hash));
  sb_shard_reader_close(&again);
  manifest.shards[0].bytes = manifest.stored_bytes = stats.file_bytes;
  manifest.shards[0].index_checksum = stats.index_checksum;
  EXPECT_OK(sb_manifest_write(folder, &manifest));
  sb_manifest_free(&manifest);
  char target[1100];
  path_in(target, folder, name);
  EXPECT(rename(path, target) == 0);
}

/* The index of the folder's first shard, to be changed: its entries, and their number. */
typedef struct opened_index {
  const char *folder;
  char path[1100];
  size_t bytes;
  sb_manifest manifest;
  unsigned char *data, *footer, *entries;
  uint64_t count;
} opened_index;

static void open_index(opened_index *x, const char *folder) {
  *x = (opened_index){.folder = folder};
  EXPECT_OK(sb_manifest_read(folder, &x->manifest));
  path_in(x->path, folder, x->manifest.shards[0].file);
  x->data = get_file(x->path, &x->bytes);
  x->footer = x->data + x->bytes - SB_SHARD_FOOTER_BYTES;
  x->entries = x->data + sb_get_u64(x->footer);
  x->count = sb_get_u64(x->footer + 8);
}

/* Writes shard and manifest, with checksums that fit. */
static void close_index(opened_index *x) {
  const uint64_t checksum = sb_checksum(x->entries, x->count * SB_SHARD_ENTRY_BYTES);
  x->manifest.shards[0].index_checksum = checksum;
  sb_put_u64(x->footer + 16, checksum);
  put_file(x->path, x->data, x->bytes);
  free(x->data);
  EXPECT_OK(sb_manifest_write(x->folder, &x->manifest));
  sb_manifest_free(&x->manifest);
}

/* One entry of the shard's index: a size, a place or a filter that lies; its checksum fits. */
static void change_index(const char *folder, uint64_t *s) {
  static const uint64_t sizes[] = {
      0, 1, 6000000000u, (uint64_t)1 << 40, UINT64_MAX, UINT64_MAX / 8};
  opened_index x;
  open_index(&x, folder);
  unsigned char *entry = x.entries + SB_SHARD_ENTRY_BYTES * draw(s, x.count);
  switch (draw(s, 5)) {
  case 0: /* compressed size */
    sb_put_u64(entry + 16, sizes[draw(s, 6)]);
    break;
  case 1: /* filter */
    entry[40] ^= (unsigned char)(1u << draw(s, 8));
    break;
  case 2:
    entry[draw(s, SB_SHARD_ENTRY_BYTES)] ^= (unsigned char)(1u << draw(s, 8));
    break;
  default: /* size of the content */
    sb_put_u64(entry + 24, sizes[draw(s, 6)]);
  }
  close_index(&x);
}

/* Says in the shard's index that a frame, counted from the last, has 6 GB of content. */
static void claim(const char *folder, size_t from_end) {
  opened_index x;
  open_index(&x, folder);
  sb_put_u64(x.footer - from_end * SB_SHARD_ENTRY_BYTES + 24, 6000000000u);
  close_index(&x);
}

#endif
