#include "alloc/checkpoint.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/file.h"
#include "mpi/large.h"

#define FORMAT "shardbits search"
enum { VERSION = 1, KEYS = 16 };
static const size_t largest_file = (size_t)1 << 30;

/* The key as names and texts, the way it stands in the file and in messages. */
typedef struct entry {
  const char *name, *meaning;
  char text[64];
} entry;

static size_t describe_key(const sb_checkpoint_key *k, const sb_model *m, entry out[KEYS]) {
  size_t n = 0;
#define ENTRY(name_, meaning_, ...)                                                                          \
  do {                                                                                                       \
    out[n].name = (name_);                                                                                   \
    out[n].meaning = (meaning_);                                                                             \
    snprintf(out[n].text, sizeof out[n].text, __VA_ARGS__);                                                  \
    n++;                                                                                                     \
  } while (0)
  ENTRY("program", "program version", "%s", SB_VERSION);
  ENTRY("block", "block size (--block)", "%zux%zu", m->blocking.rows, m->blocking.cols);
  ENTRY("symmetry", "kind of grids (--symmetric)", "%s",
        m->blocking.symmetry == SB_SYMMETRIC ? "symmetric" : "asymmetric");
  ENTRY("model", "model", "%016" PRIx64, k->model);
  ENTRY("calibration", "calibration (--calib, --seqs, --seqlen, --seed)", "%016" PRIx64, k->calibration);
  ENTRY("check", "choice of sequences that decide on trades (--check-seqs)", "%016" PRIx64, k->check);
  ENTRY("bits", "budget (--bits)", "%.17g", k->bits);
  ENTRY("min_bits", "--min-bits", "%u", k->min_bits);
  ENTRY("max_bits", "--max-bits", "%u", k->max_bits);
  ENTRY("start_bits", "--start-bits", "%u", k->start_bits);
  ENTRY("sensitivity", "--sensitivity", "%s", k->estimator);
  ENTRY("strides", "--strides", "%d", k->strides);
  ENTRY("grid", "--grid", "%s", k->grid);
  ENTRY("compute", "--compute", "%s", k->compute);
  ENTRY("ordered", "order of channels (--reorder)", "%016" PRIx64, k->ordered);
#undef ENTRY
  return n;
}

static sb_status write_file(const char *path, const sb_checkpoint_key *key, const sb_search_progress *p,
                            const sb_model *m) {
  entry entries[KEYS];
  const size_t count = describe_key(key, m, entries);
  char *digits = NULL, *text = NULL;
  SB_TRY(sb_alloc(&digits, m->blocks + 1, 1, "search checkpoint"));
  for (size_t i = 0; i < m->blocks; i++) digits[i] = (char)('0' + m->bits[i]);
  json_t *keys = json_object();
  for (size_t i = 0; i < count; i++) json_object_set_new(keys, entries[i].name, json_string(entries[i].text));
  json_t *root = json_pack("{s:s, s:i, s:o, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f}, s:s}", "format",
                           FORMAT, "version", VERSION, "key", keys, "progress", "steps", p->steps, "strides",
                           p->strides, "trades", p->trades, "accepted", p->accepted, "gain_passes",
                           p->gain_passes, "loss_passes", p->loss_passes, "share", p->share, "loss", p->loss,
                           "start_loss", p->start_loss, "bits", digits);
  if (root) text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
  json_decref(root);
  sb_free(&digits);
  if (!text) return sb_fail(SB_ERR_MEMORY, "%s: out of memory", path);
  sb_status status = sb_file_write_atomic(path, text, strlen(text));
  free(text);
  return status;
}

sb_status sb_checkpoint_write(const char *path, const sb_checkpoint_key *key,
                              const sb_search_progress *progress, const sb_model *m) {
  return sb_world_agree(m->world, m->world->rank == 0 ? write_file(path, key, progress, m) : SB_OK);
}

static sb_status compare_keys(const char *path, const sb_checkpoint_key *key, const sb_model *m,
                              const json_t *keys) {
  entry entries[KEYS];
  const size_t count = describe_key(key, m, entries);
  for (size_t i = 0; i < count; i++) {
    const char *text = json_string_value(json_object_get(keys, entries[i].name));
    if (!text) return sb_fail(SB_ERR_FORMAT, "%s: damaged: its key lacks '%s'", path, entries[i].name);
    if (strcmp(text, entries[i].text) != 0)
      return sb_fail(
          SB_ERR_FORMAT,
          "%s: a search with another %s: %s there, %s here; give it the same, or another --checkpoint", path,
          entries[i].meaning, text, entries[i].text);
  }
  return SB_OK;
}

static sb_status read_bits(const char *path, const json_t *root, sb_model *m) {
  const char *digits = json_string_value(json_object_get(root, "bits"));
  if (!digits || strlen(digits) != m->blocks)
    return sb_fail(SB_ERR_FORMAT, "%s: damaged: it has bits for %zu blocks, the model has %zu", path,
                   digits ? strlen(digits) : 0, m->blocks);
  for (size_t i = 0; i < m->blocks; i++) {
    if (digits[i] < '1' || digits[i] > '8')
      return sb_fail(SB_ERR_FORMAT, "%s: damaged: block %zu has '%c' bits, possible are 1 to 8", path, i,
                     digits[i]);
    m->bits[i] = (uint8_t)(digits[i] - '0');
  }
  return SB_OK;
}

static sb_status parse(const char *path, const sb_checkpoint_key *key, json_t *root, sb_search_progress *p,
                       sb_model *m) {
  const char *format = NULL;
  int version = 0;
  if (json_unpack(root, "{s:s, s:i}", "format", &format, "version", &version) != 0 ||
      strcmp(format, FORMAT) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: not a search of shardbits (quantize --checkpoint writes one)", path);
  if (version != VERSION)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: version %d, this program reads %d", path, version, VERSION);
  SB_TRY(compare_keys(path, key, m, json_object_get(root, "key")));
  if (json_unpack(root, "{s:{s:i, s:i, s:i, s:i, s:i, s:i, s:F, s:F, s:F}}", "progress", "steps", &p->steps,
                  "strides", &p->strides, "trades", &p->trades, "accepted", &p->accepted, "gain_passes",
                  &p->gain_passes, "loss_passes", &p->loss_passes, "share", &p->share, "loss", &p->loss,
                  "start_loss", &p->start_loss) != 0 ||
      p->steps < 0 || p->strides < 0 || p->trades < 0 || !(p->share >= 0))
    return sb_fail(SB_ERR_FORMAT, "%s: damaged: it does not say how far the search is", path);
  return read_bits(path, root, m);
}

static sb_status read_file(const char *path, const sb_checkpoint_key *key, sb_search_progress *progress,
                           sb_model *m) {
  char *text = NULL;
  size_t bytes;
  json_error_t error;
  SB_TRY(sb_file_read_all(path, largest_file, &text, &bytes));
  json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
  free(text);
  if (!root) return sb_fail(SB_ERR_FORMAT, "%s: line %d: %s", path, error.line, error.text);
  sb_status status = parse(path, key, root, progress, m);
  json_decref(root);
  return status;
}

sb_status sb_checkpoint_read(const char *path, const sb_checkpoint_key *key, sb_search_progress *progress,
                             sb_model *m) {
  SB_AGREE(m->world, m->world->rank == 0 ? read_file(path, key, progress, m) : SB_OK);
  SB_TRY(sb_mpi_bcast(progress, sizeof *progress, 0, m->world->comm));
  return sb_mpi_bcast(m->bits, m->blocks, 0, m->world->comm);
}
