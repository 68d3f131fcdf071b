#include "folders/bits_file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "folders/bits_text.h"
#include "io/file.h"
#include "io/json.h"
#include "kernels/code_kind.h"
#include "kernels/shared/trellis.h"
#include "model/orders_check.h"
#include "mpi/large.h"

#define FORMAT "shardbits allocation"
enum {
  VERSION = 3
}; /* 1 where channels are as the source has them, 2 where they are not; 3 where codes are a
      trellis' or tables have widths */

/* Codes that `symmetric` alone does not tell. A map of widths is for scales of any type. */
static bool is_named(sb_code_kind kind) {
  return sb_is_trellis(kind) || sb_grid_levels(kind) >= SB_GRID_SIGNED;
}

static size_t blocks_of(const sb_matrix *matrix) {
  return sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
}

/* ---- orders as text ---- */

static sb_status describe_order(const sb_order *order, json_t **out) {
  const size_t most = order->size * 11 + 1; /* ten digits and a space each */
  char *text = NULL;
  size_t at = 0;
  SB_TRY(sb_alloc_raw(&text, most, 1, "allocation file"));
  text[0] = 0;
  for (size_t i = 0; i < order->size; i++)
    at += (size_t)snprintf(text + at, most - at, i ? " %u" : "%u", order->from[i]);
  *out = json_pack("{s:s, s:s}", "name", order->name, "channels", text);
  sb_free(&text);
  return *out ? SB_OK : sb_fail(SB_ERR_MEMORY, "allocation file: out of memory");
}

static sb_status describe_orders(const sb_orders *orders, json_t *json) {
  char hash[17];
  json_t *list = json_array(), *entry;
  sb_status status = SB_OK;
  for (size_t i = 0; i < orders->count && status == SB_OK; i++) {
    status = describe_order(&orders->orders[i], &entry);
    if (status == SB_OK) json_array_append_new(list, entry);
  }
  snprintf(hash, sizeof hash, "%016llx", (unsigned long long)sb_orders_hash(orders));
  json_object_set_new(json, "reorder", json_string(sb_reorder_names[orders->mode]));
  json_object_set_new(json, "orders_hash", json_string(hash));
  json_object_set_new(json, "orders", list);
  return status;
}

static sb_status read_order(const char *path, const sb_order *order, const json_t *entry) {
  const char *name = json_string_value(json_object_get(entry, "name")),
             *text = json_string_value(json_object_get(entry, "channels"));
  size_t n = 0;
  if (!name || !text || strcmp(name, order->name) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: made for another model: no order %s", path, order->name);
  for (char *end; *text; text = end, n++) {
    const unsigned long channel = strtoul(text, &end, 10);
    if (end == text || channel > UINT32_MAX) break;
    if (n < order->size) order->from[n] = (uint32_t)channel;
  }
  if (*text || n != order->size)
    return sb_fail(SB_ERR_FORMAT, "%s: %s is no list of %zu channels", path, order->name,
                   order->size);
  return SB_OK;
}

static sb_status read_hash(const char *path, const json_t *json, uint64_t *hash) {
  const char *text = json_string_value(json_object_get(json, "orders_hash"));
  *hash = 0;
  if (!json_object_get(json, "reorder")) return SB_OK;
  if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
    return sb_fail(SB_ERR_FORMAT, "%s: has no orders_hash of 16 hexadecimal digits", path);
  *hash = strtoull(text, NULL, 16);
  return SB_OK;
}

static sb_status check_mode(const char *path, const json_t *json, sb_reorder mode) {
  const json_t *member = json_object_get(json, "reorder");
  const char *made = member ? json_string_value(member) : sb_reorder_names[SB_REORDER_NONE];
  if (made && strcmp(made, sb_reorder_names[mode]) == 0) return SB_OK;
  return sb_fail(SB_ERR_FORMAT,
                 "%s: made with --reorder %.20s, not %s; run with that, or name another file", path,
                 made ? made : "?", sb_reorder_names[mode]);
}

static sb_status read_orders(const char *path, const json_t *json, const sb_arch *arch,
                             sb_orders *orders) {
  const json_t *list = json_object_get(json, "orders");
  json_int_t rows = 0, cols = 0;
  uint64_t hash;
  SB_TRY(check_mode(path, json, orders->mode));
  if (json_unpack((json_t *)json, "{s:[I, I]}", "block", &rows, &cols) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: says no size of blocks", path);
  SB_TRY(sb_limit_check_block(path, (uint64_t)rows, (uint64_t)cols));
  if (json_array_size(list) != orders->count)
    return sb_fail(SB_ERR_FORMAT, "%s: made for another model: %zu orders where this one has %zu",
                   path, json_array_size(list), orders->count);
  for (size_t i = 0; i < orders->count; i++)
    SB_TRY(read_order(path, &orders->orders[i], json_array_get(list, i)));
  SB_TRY(read_hash(path, json, &hash));
  if (sb_orders_check(arch, orders) != SB_OK)
    return sb_fail(SB_ERR_FORMAT, "%s: %s", path, sb_message());
  if (orders->mode == SB_REORDER_INDEXED) sb_orders_settle(orders, (size_t)rows, (size_t)cols);
  if (hash != sb_orders_hash(orders))
    return sb_fail(SB_ERR_FORMAT, "%s: orders_hash does not fit its orders: the file was changed",
                   path);
  return SB_OK;
}

/* ---- the file ---- */

/* Appends the entry of a matrix to `list`. */
static sb_status describe_matrix(const sb_model *m, const sb_matrix *matrix, json_t *list) {
  const size_t blocks = blocks_of(matrix);
  char *digits = NULL;
  SB_TRY(sb_alloc(&digits, blocks + 1, 1, "allocation file"));
  sb_bits_text_write(digits, m->bits + matrix->first_block, blocks);
  json_t *entry =
      json_pack("{s:s, s:[I, I], s:s}", "name", m->arch.tensors[matrix->tensor].name, "shape",
                (json_int_t)matrix->tiling.rows, (json_int_t)matrix->tiling.cols, "bits", digits);
  sb_free(&digits);
  return entry && json_array_append_new(list, entry) == 0
             ? SB_OK
             : sb_fail(SB_ERR_MEMORY, "allocation file: out of memory");
}

static sb_status describe(const sb_model *m, json_t **out) {
  sb_status status = SB_OK;
  json_t *matrices = json_array(), *tables = json_array();
  for (size_t i = 0; i < m->arch.matrix_count; i++)
    SB_THEN(describe_matrix(m, &m->matrices[i], matrices));
  for (size_t i = 0; i < m->table_count; i++)
    if (m->tables[i].coded) SB_THEN(describe_matrix(m, &m->tables[i].matrix, tables));
  const sb_code_kind kind = m->blocking.code_kind;
  const bool coded = json_array_size(tables) > 0;
  *out = json_pack("{s:s, s:i, s:s, s:[I, I], s:b, s:o}", "format", FORMAT, "version",
                   is_named(kind) || coded ? 3
                   : m->orders.count       ? 2
                                           : 1,
                   "program", SB_VERSION, "block", (json_int_t)m->blocking.rows,
                   (json_int_t)m->blocking.cols, "symmetric",
                   sb_grid_levels(kind) == SB_GRID_SYMMETRIC, "matrices", matrices);
  if (*out && is_named(kind))
    json_object_set_new(*out, "codes", json_string(sb_code_kind_names[sb_grid_levels(kind)]));
  if (*out && coded) json_object_set(*out, "tables", tables);
  json_decref(tables);
  if (status == SB_OK && !*out) status = sb_fail(SB_ERR_MEMORY, "allocation file: out of memory");
  if (status == SB_OK && m->orders.count) status = describe_orders(&m->orders, *out);
  return status;
}

static sb_status write_file(const sb_model *m, const char *path) {
  json_t *json = NULL;
  sb_status status = describe(m, &json);
  SB_THEN(sb_json_write(path, json));
  json_decref(json);
  return status;
}

sb_status sb_bits_file_write(const sb_model *m, const char *path) {
  return sb_world_agree(m->world, m->world->rank == 0 ? write_file(m, path) : SB_OK);
}

static sb_status read_matrix(sb_model *m, const char *path, const sb_matrix *matrix,
                             const json_t *entry) {
  const char *name = NULL, *digits = NULL, *expected = m->arch.tensors[matrix->tensor].name;
  json_int_t rows = 0, cols = 0;
  if (json_unpack((json_t *)entry, "{s:s, s:[I, I], s:s}", "name", &name, "shape", &rows, &cols,
                  "bits", &digits) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: the entry of %s lacks name, shape or bits", path, expected);
  if (strcmp(name, expected) != 0 || (size_t)rows != matrix->tiling.rows ||
      (size_t)cols != matrix->tiling.cols)
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: made for another model: %s of %lld x %lld where this one has %s of %zu x %zu", path,
        name, (long long)rows, (long long)cols, expected, matrix->tiling.rows, matrix->tiling.cols);
  char where[SB_PATH_MAX + 128];
  snprintf(where, sizeof where, "%s: %s", path, name);
  return sb_bits_text_read(where, digits, blocks_of(matrix), m->bits + matrix->first_block);
}

static sb_status check_codes(const char *path, const json_t *json, bool symmetric,
                             sb_code_kind kind) {
  const char *codes = json_string_value(json_object_get(json, "codes")),
             *here = sb_code_kind_names[sb_grid_levels(kind)];
  if (codes || is_named(kind))
    return codes && strcmp(codes, here) == 0
               ? SB_OK
               : sb_fail(SB_ERR_FORMAT,
                         "%s: made for codes of %.20s, here they are of %s; run with the --codes, "
                         "--trellis-states, --grid-kind and --widths-for that made it",
                         path,
                         codes       ? codes
                         : symmetric ? "symmetric-grid"
                                     : "grid",
                         here);
  if (symmetric != (sb_grid_levels(kind) == SB_GRID_SYMMETRIC))
    return sb_fail(SB_ERR_FORMAT, "%s: made for %s grids; %s --symmetric", path,
                   symmetric ? "symmetric" : "asymmetric", symmetric ? "add" : "drop");
  return SB_OK;
}

/* The tables that the file has are coded then; others stay as they are. */
static sb_status read_tables(sb_model *m, const char *path, const json_t *list) {
  if (!list) return SB_OK;
  size_t next = 0;
  for (size_t i = 0; i < m->table_count && next < json_array_size(list); i++) {
    const json_t *entry = json_array_get(list, next);
    const char *name = json_string_value(json_object_get(entry, "name"));
    if (!name || strcmp(name, m->arch.tensors[m->tables[i].matrix.tensor].name) != 0) continue;
    SB_TRY(read_matrix(m, path, &m->tables[i].matrix, entry));
    m->tables[i].coded = true;
    next++;
  }
  if (!json_is_array(list) || next != json_array_size(list))
    return sb_fail(SB_ERR_FORMAT,
                   "%s: made for another model: table %zu of it is none of embedding and LM head "
                   "here",
                   path, next);
  return SB_OK;
}

static sb_status read_json(sb_model *m, const char *path, const json_t *json) {
  const char *format = NULL;
  int version = 0, symmetric = 0;
  json_int_t rows = 0, cols = 0;
  uint64_t hash;
  const json_t *matrices = json_object_get(json, "matrices");
  size_t expected = m->arch.matrix_count;
  if (json_unpack((json_t *)json, "{s:s, s:i, s:[I, I], s:b}", "format", &format, "version",
                  &version, "block", &rows, &cols, "symmetric", &symmetric) != 0 ||
      strcmp(format, FORMAT) != 0 || !json_is_array(matrices))
    return sb_fail(SB_ERR_FORMAT,
                   "%s: not an allocation file of shardbits (quantize --allocation writes one)",
                   path);
  if (version < 1 || version > VERSION)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: version %d, this program reads up to %d", path, version,
                   VERSION);
  if ((size_t)rows != m->blocking.rows || (size_t)cols != m->blocking.cols)
    return sb_fail(SB_ERR_FORMAT, "%s: made for blocks of %lldx%lld; run with --block %lldx%lld",
                   path, (long long)rows, (long long)cols, (long long)rows, (long long)cols);
  SB_TRY(check_codes(path, json, symmetric, m->blocking.code_kind));
  SB_TRY(check_mode(path, json, m->orders.mode));
  SB_TRY(read_hash(path, json, &hash));
  if (hash != sb_orders_hash(&m->orders))
    return sb_fail(SB_ERR_FORMAT,
                   "%s: made for channels in another order: orders_hash %016llx, here %016llx",
                   path, (unsigned long long)hash, (unsigned long long)sb_orders_hash(&m->orders));
  if (json_array_size(matrices) != expected)
    return sb_fail(SB_ERR_FORMAT, "%s: made for another model: %zu matrices where this one has %zu",
                   path, json_array_size(matrices), expected);
  for (size_t i = 0; i < expected; i++)
    SB_TRY(read_matrix(m, path, &m->matrices[i], json_array_get(matrices, i)));
  return read_tables(m, path, json_object_get(json, "tables"));
}

static sb_status read_file(sb_model *m, const char *path) {
  json_t *json = NULL;
  SB_TRY(sb_json_read(path, &json));
  sb_status status = read_json(m, path, json);
  json_decref(json);
  return status;
}

sb_status sb_bits_file_read(sb_model *m, const char *path) {
  SB_AGREE(m->world, m->world->rank == 0 ? read_file(m, path) : SB_OK);
  for (size_t i = 0; i < m->table_count; i++) {
    bool *coded = &m->tables[i].coded;
    SB_TRY(sb_mpi_bcast(coded, sizeof *coded, 0, m->world->comm));
  }
  return sb_mpi_bcast(m->bits, m->all_blocks, 0, m->world->comm);
}

static sb_status read_file_orders(const char *path, const sb_arch *arch, sb_orders *orders) {
  json_t *json = NULL;
  SB_TRY(sb_json_read(path, &json));
  sb_status status = read_orders(path, json, arch, orders);
  json_decref(json);
  return status;
}

sb_status sb_bits_file_orders(const sb_world *world, const char *path, const sb_arch *arch,
                              sb_reorder mode, sb_orders *out) {
  sb_status status = sb_world_agree(world, sb_orders_create(arch, mode, out));
  SB_THEN(sb_world_agree(world, world->rank == 0 ? read_file_orders(path, arch, out) : SB_OK));
  SB_THEN(sb_mpi_bcast(out->numbers, out->channels * sizeof *out->numbers, 0, world->comm));
  if (status != SB_OK) sb_orders_free(out);
  return status;
}
