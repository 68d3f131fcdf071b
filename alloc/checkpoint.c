#include "alloc/checkpoint.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/memory.h"
#include "io/json.h"
#include "io/key.h"
#include "mpi/large.h"

#define FORMAT "shardbits search"
enum { VERSION = 1 };

static sb_key describe_key(const sb_search_checkpoint_key *k, const sb_model *m) {
  sb_key out = {0};
  sb_key_add(&out, "program", "program version", "%s", SB_VERSION);
  sb_key_add(&out, "block", "block size (--block)", "%zux%zu", m->blocking.rows, m->blocking.cols);
  sb_key_add(&out, "symmetry", "kind of grids (--symmetric)", "%s",
             m->blocking.symmetry == SB_SYMMETRIC ? "symmetric" : "asymmetric");
  sb_key_add(&out, "model", "model", "%016" PRIx64, k->model);
  sb_key_add(&out, "calibration", "calibration (--calib, --seqs, --seqlen, --seed)", "%016" PRIx64,
             k->calibration);
  sb_key_add(&out, "check", "choice of sequences that decide on trades (--check-seqs)",
             "%016" PRIx64, k->check);
  sb_key_add(&out, "bits", "budget (--bits)", "%.17g", k->bits);
  sb_key_add(&out, "min_bits", "--min-bits", "%u", k->min_bits);
  sb_key_add(&out, "max_bits", "--max-bits", "%u", k->max_bits);
  sb_key_add(&out, "start_bits", "--start-bits", "%u", k->start_bits);
  sb_key_add(&out, "sensitivity", "--sensitivity", "%s", k->estimator);
  sb_key_add(&out, "strides", "--strides", "%d", k->strides);
  sb_key_add(&out, "grid", "--grid", "%s", k->grid);
  sb_key_add(&out, "compute", "--compute", "%s", k->compute);
  sb_key_add(&out, "ordered", "order of channels (--reorder)", "%016" PRIx64, k->ordered);
  return out;
}

static sb_status write_file(const char *path, const sb_search_checkpoint_key *key,
                            const sb_search_progress *p, const sb_model *m) {
  const sb_key described = describe_key(key, m);
  char *digits = NULL;
  SB_TRY(sb_alloc(&digits, m->blocks + 1, 1, "search checkpoint"));
  for (size_t i = 0; i < m->blocks; i++) digits[i] = (char)('0' + m->bits[i]);
  json_t *root =
      json_pack("{s:s, s:i, s:o, s:{s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f}, s:s}", "format",
                FORMAT, "version", VERSION, "key", sb_key_json(&described), "progress", "steps",
                p->steps, "strides", p->strides, "trades", p->trades, "accepted", p->accepted,
                "gain_passes", p->gain_passes, "loss_passes", p->loss_passes, "share", p->share,
                "loss", p->loss, "start_loss", p->start_loss, "bits", digits);
  sb_free(&digits);
  const sb_status status =
      root ? sb_json_write(path, root) : sb_fail(SB_ERR_MEMORY, "%s: out of memory", path);
  json_decref(root);
  return status;
}

sb_status sb_search_checkpoint_write(const char *path, const sb_search_checkpoint_key *key,
                                     const sb_search_progress *progress, const sb_model *m) {
  return sb_world_agree(m->world, m->world->rank == 0 ? write_file(path, key, progress, m) : SB_OK);
}

static sb_status read_bits(const char *path, const json_t *root, sb_model *m) {
  const char *digits = json_string_value(json_object_get(root, "bits"));
  if (!digits || strlen(digits) != m->blocks)
    return sb_fail(SB_ERR_FORMAT, "%s: damaged: it has bits for %zu blocks, the model has %zu",
                   path, digits ? strlen(digits) : 0, m->blocks);
  for (size_t i = 0; i < m->blocks; i++) {
    if (digits[i] < '1' || digits[i] > '8')
      return sb_fail(SB_ERR_FORMAT, "%s: damaged: block %zu has '%c' bits, possible are 1 to 8",
                     path, i, digits[i]);
    m->bits[i] = (uint8_t)(digits[i] - '0');
  }
  return SB_OK;
}

static sb_status parse(const char *path, const sb_search_checkpoint_key *key, json_t *root,
                       sb_search_progress *p, sb_model *m) {
  SB_TRY(sb_key_begin(root, path, FORMAT, VERSION,
                      "a search of shardbits (quantize --checkpoint writes one)"));
  const sb_key described = describe_key(key, m);
  SB_TRY(sb_key_compare(&described, json_object_get(root, "key"), path, "a search",
                        "give it the same, or another --checkpoint"));
  if (json_unpack(root, "{s:{s:i, s:i, s:i, s:i, s:i, s:i, s:F, s:F, s:F}}", "progress", "steps",
                  &p->steps, "strides", &p->strides, "trades", &p->trades, "accepted", &p->accepted,
                  "gain_passes", &p->gain_passes, "loss_passes", &p->loss_passes, "share",
                  &p->share, "loss", &p->loss, "start_loss", &p->start_loss) != 0 ||
      p->steps < 0 || p->strides < 0 || p->trades < 0 || !(p->share >= 0))
    return sb_fail(SB_ERR_FORMAT, "%s: damaged: it does not say how far the search is", path);
  return read_bits(path, root, m);
}

static sb_status read_file(const char *path, const sb_search_checkpoint_key *key,
                           sb_search_progress *progress, sb_model *m) {
  json_t *root;
  SB_TRY(sb_json_read(path, &root));
  sb_status status = parse(path, key, root, progress, m);
  json_decref(root);
  return status;
}

sb_status sb_search_checkpoint_read(const char *path, const sb_search_checkpoint_key *key,
                                    sb_search_progress *progress, sb_model *m) {
  SB_AGREE(m->world, m->world->rank == 0 ? read_file(path, key, progress, m) : SB_OK);
  SB_TRY(sb_mpi_bcast(progress, sizeof *progress, 0, m->world->comm));
  return sb_mpi_bcast(m->bits, m->blocks, 0, m->world->comm);
}
