/* Output folders as a whole: manifest, shard, block rows, orders (folders/output_load.h).
 *
 * Input: u8 mode, u8 number of changes of frames, CHANGES of them (u16 frame, u16 place, u8 value
 * each), whether they are made or not, then the manifest's JSON. A shard with these frames is
 * written by the project's writer, so all checksums fit, and the manifest is made to name it. Bits
 * 0 and 1 of the mode choose the folder: blocks of 16x32, the same in indexed orders, blocks larger
 * than every matrix, trellis codes. Bit 2: what was loaded is exported too. Bit 3: the folder's
 * embedding is quantized. A value of 255 makes the frame as many zeros as place x 256. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "folders/export.h"
#include "folders/output_load.h"
#include "folders/output_sizes.h"
#include "io/json.h"
#include "io/shardset.h"
#include "tests/fuzz/fuzz_model.h"

enum { MOST = 12288, WAYS = 4, KINDS = 2 * WAYS, CHANGES = 6, HEAD = 2 + 5 * CHANGES };
enum { EXPORT = 4, TABLE = 8, RESIZE = 255 };

typedef struct frame {
  uint32_t tensor, row;
  uint8_t *raw;
  size_t bytes;
} frame;

/* A folder as it was written, and its one shard written again, each frame without a filter. */
typedef struct written {
  json_t *manifest;
  frame *frames;
  size_t count;
  sb_shard_stats stats;
  uint64_t hash;
} written;

static written folders[KINDS];
static const char *const names[KINDS] = {"plain",   "indexed",   "wide",   "trellis",
                                         "plain-t", "indexed-t", "wide-t", "trellis-t"};
static const char *const shard_names[KINDS] = {"plain.sbz",   "indexed.sbz",  "wide.sbz",
                                               "trellis.sbz", "plain-t.sbz",  "indexed-t.sbz",
                                               "wide-t.sbz",  "trellis-t.sbz"};

static void write_shard(const char *name, const frame *frames, size_t count, sb_shard_stats *stats,
                        uint64_t *hash) {
  const char *path = fuzz_path(name);
  sb_shard_writer *writer = NULL;
  sb_shard_reader *reader = NULL;
  unlink(path);
  fuzz_require(sb_shard_writer_create(path, -7, &writer) == SB_OK);
  for (size_t i = 0; i < count; i++)
    fuzz_require(sb_shard_writer_add(writer, frames[i].tensor, frames[i].row, SB_FILTER_NONE,
                                     frames[i].raw, frames[i].bytes) == SB_OK);
  fuzz_require(sb_shard_writer_finish(writer, stats) == SB_OK);
  sb_shard_writer_free(&writer);
  fuzz_require(sb_shard_reader_open(path, &reader) == SB_OK);
  fuzz_require(sb_shard_content_hash(&reader, 1, hash) == SB_OK);
  sb_shard_reader_close(&reader);
}

static void read_frames(written *w, const sb_shard_reader *reader) {
  w->count = sb_shard_reader_count(reader);
  w->frames = calloc(w->count, sizeof *w->frames);
  for (size_t i = 0; i < w->count; i++) {
    const sb_shard_entry *e = sb_shard_reader_at(reader, i);
    frame *f = &w->frames[i];
    *f = (frame){e->tensor, e->row, malloc((size_t)e->raw_bytes + 1), (size_t)e->raw_bytes};
    fuzz_require(sb_shard_read_frame(reader, e, f->raw, f->bytes) == SB_OK);
  }
}

static void make_folder(size_t kind) {
  static const sb_blocking blockings[WAYS] = {{16, 32, SB_GRID_ASYMMETRIC},
                                              {16, 32, SB_GRID_SIGNED_BF16},
                                              {512, 512, SB_GRID_ASYMMETRIC},
                                              {64, 36, SB_TRELLIS_12}};
  written *w = &folders[kind];
  char path[1024];
  sb_output_stats stats;
  sb_shardset *set = NULL;
  snprintf(path, sizeof path, "%s", fuzz_path(names[kind]));
  const size_t way = kind % WAYS;
  sb_model *model = fuzz_coded_model(blockings[way],
                                     way == 1 ? SB_REORDER_INDEXED : SB_REORDER_NONE, kind >= WAYS);
  sb_destination out = {0};
  fuzz_require(
      sb_destination_begin(fuzz_world(), path, false, SB_SOURCE_DIR "/" FUZZ_MODEL, &out) == SB_OK);
  fuzz_require(sb_output_write(model, &out, 1, &stats) == SB_OK);
  sb_destination_end(&out);
  sb_model_free(&model);
  fuzz_require(sb_shardset_open(path, &set) == SB_OK && sb_shardset_count(set) == 1);
  read_frames(w, sb_shardset_reader(set, 0));
  sb_shardset_close(&set);
  strcat(path, "/" SB_MANIFEST_NAME);
  fuzz_require(sb_json_read(path, &w->manifest) == SB_OK);
  write_shard(shard_names[kind], w->frames, w->count, &w->stats, &w->hash);
}

static void begin(void) {
  for (size_t kind = 0; kind < KINDS; kind++) make_folder(kind);
}

static void seeds(fuzz_take take, void *context) {
  for (unsigned kind = 0; kind < KINDS; kind++) {
    uint8_t input[MOST] = {(uint8_t)(kind % WAYS + (kind >= WAYS ? TABLE : 0)), 0};
    const size_t bytes =
        json_dumpb(folders[kind].manifest, (char *)input + HEAD, MOST - HEAD, JSON_COMPACT);
    fuzz_require(bytes <= MOST - HEAD);
    for (size_t i = 0; i < CHANGES; i++) {
      const size_t number = folders[kind].count - 1 - i * folders[kind].count / CHANGES;
      const uint8_t change[] = {(uint8_t)number, (uint8_t)(number >> 8), (uint8_t)(20 * i), 0,
                                (uint8_t)(77 * i)};
      memcpy(input + 2 + sizeof change * i, change, sizeof change);
    }
    for (input[1] = 0; input[1] < 2; input[1]++) take(context, input, HEAD + bytes);
    input[0] |= EXPORT;
    take(context, input, HEAD + bytes);
  }
}

/* Takes the changes from the cursor, and writes a shard with the first `changes` of them. */
static void write_changed(const written *w, fuzz_cursor *in, size_t changes, sb_shard_stats *stats,
                          uint64_t *hash) {
  frame *frames = malloc(w->count * sizeof *frames);
  uint8_t *owned[CHANGES];
  memcpy(frames, w->frames, w->count * sizeof *frames);
  for (size_t i = 0; i < CHANGES; i++) {
    frame *f = &frames[fuzz_u16(in) % w->count];
    const size_t place = fuzz_u16(in);
    const uint8_t value = fuzz_u8(in);
    const size_t bytes = value == RESIZE ? place * 256 : f->bytes;
    if (i >= changes) continue;
    owned[i] = calloc(bytes + 1, 1);
    if (value != RESIZE && bytes > 0) {
      memcpy(owned[i], f->raw, bytes);
      owned[i][place % bytes] = value;
    }
    *f = (frame){f->tensor, f->row, owned[i], bytes};
  }
  if (changes > 0) write_shard("changed.sbz", frames, w->count, stats, hash);
  for (size_t i = 0; i < changes; i++) free(owned[i]);
  free(frames);
}

static void put_manifest(const fuzz_cursor *in, const char *shard, const sb_shard_stats *stats,
                         uint64_t hash) {
  json_t *json = json_loadb((const char *)in->at, in->left, 0, NULL);
  json_t *totals = json_object_get(json, "totals");
  char sum[17], all[17];
  snprintf(sum, sizeof sum, "%016llx", (unsigned long long)stats->index_checksum);
  snprintf(all, sizeof all, "%016llx", (unsigned long long)hash);
  if (json_is_object(json)) {
    json_object_set_new(json, "content_hash", json_string(all));
    json_object_set_new(json, "shards",
                        json_pack("[{s:s, s:I, s:I, s:s}]", "file", shard, "bytes",
                                  (json_int_t)stats->file_bytes, "frames",
                                  (json_int_t)stats->frames, "index_checksum", sum));
  }
  if (json_is_object(totals))
    json_object_set_new(totals, "stored_bytes", json_integer((json_int_t)stats->file_bytes));
  fuzz_put_json(SB_MANIFEST_NAME, json, in);
}

/* Sizes and widths without decoding: of a folder that is whole, always. */
static void measure(bool whole) {
  sb_shardset *set = NULL;
  sb_output_tensor *tensors = NULL;
  bool measured = false;
  if (fuzz_settle(sb_shardset_open(fuzz_folder(), &set))) {
    tensors = calloc(sb_shardset_manifest(set)->tensor_count + 1, sizeof *tensors);
    measured = fuzz_settle(sb_output_measure(set, tensors));
  }
  fuzz_require(measured || !whole);
  free(tensors);
  sb_shardset_close(&set);
}

static void export(sb_model *model, size_t kind) {
  char source[1024];
  sb_hf_folder_stats stats;
  sb_destination out = {0};
  snprintf(source, sizeof source, "%s", fuzz_path(names[kind])); /* its config.json */
  fuzz_require(sb_destination_begin(fuzz_world(), fuzz_path("exported"), true, source, &out) ==
               SB_OK);
  fuzz_settle(sb_export_dequantized(model, source, &out, SB_F32, 1u << 30, SB_NO_TICKER, &stats));
  sb_destination_end(&out);
}

static void run(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const unsigned mode = fuzz_u8(&in), changes = fuzz_u8(&in) % (CHANGES + 1);
  const size_t kind = mode % WAYS + (mode & TABLE ? WAYS : 0);
  const written *w = &folders[kind];
  sb_shard_stats stats = w->stats;
  uint64_t hash = w->hash;
  write_changed(w, &in, changes, &stats, &hash);
  put_manifest(&in, changes > 0 ? "changed.sbz" : shard_names[kind], &stats, hash);
  sb_output_stats verified;
  sb_model *model = NULL;
  const bool whole =
      fuzz_settle(sb_output_verify(fuzz_world(), fuzz_folder(), SB_NO_TICKER, &verified));
  fuzz_require(fuzz_settle(sb_output_load(fuzz_world(), fuzz_folder(), &model)) == whole);
  measure(whole);
  if (!whole) return;
  fuzz_require_valid(model);
  if (mode & EXPORT) export(model, kind);
  sb_model_free(&model);
}

const fuzz_target fuzz_output = {"output", MOST, begin, seeds, NULL, run};
