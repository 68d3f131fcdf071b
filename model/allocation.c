#include "model/allocation.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/file.h"
#include "mpi/large.h"

#define FORMAT "shardbits allocation"
enum { VERSION = 1 };
static const size_t largest_file = (size_t)1 << 30;

static size_t blocks_of(const sb_matrix *matrix) {
  return sb_grid_block_rows(&matrix->grid) * sb_grid_block_cols(&matrix->grid);
}

static sb_status describe(const sb_model *m, json_t **out) {
  char *digits = NULL;
  sb_status status = SB_OK;
  json_t *matrices = json_array();
  for (size_t i = 0; i < m->config.layers * SB_LINEARS && status == SB_OK; i++) {
    const sb_matrix *matrix = &m->matrices[i];
    size_t blocks = blocks_of(matrix);
    status = sb_alloc(&digits, blocks + 1, 1, "allocation file");
    if (status != SB_OK) break;
    for (size_t k = 0; k < blocks; k++) digits[k] = (char)('0' + m->bits[matrix->first_block + k]);
    json_t *entry = json_pack("{s:s, s:[I, I], s:s}", "name", m->arch.tensors[matrix->tensor].name, "shape",
                              (json_int_t)matrix->grid.rows, (json_int_t)matrix->grid.cols, "bits", digits);
    sb_free(&digits);
    if (!entry || json_array_append_new(matrices, entry) != 0)
      status = sb_fail(SB_ERR_MEMORY, "allocation file: out of memory");
  }
  *out = json_pack("{s:s, s:i, s:s, s:[I, I], s:b, s:o}", "format", FORMAT, "version", VERSION, "program",
                   SB_VERSION, "block", (json_int_t)m->blocking.rows, (json_int_t)m->blocking.cols,
                   "symmetric", m->blocking.symmetry == SB_SYMMETRIC, "matrices", matrices);
  if (status == SB_OK && !*out) status = sb_fail(SB_ERR_MEMORY, "allocation file: out of memory");
  return status;
}

static sb_status write_file(const sb_model *m, const char *path) {
  json_t *json = NULL;
  sb_status status = describe(m, &json);
  char *text = status == SB_OK ? json_dumps(json, JSON_INDENT(1)) : NULL;
  json_decref(json);
  if (status == SB_OK && !text) status = sb_fail(SB_ERR_MEMORY, "%s: out of memory", path);
  if (status == SB_OK) status = sb_file_write_atomic(path, text, strlen(text));
  free(text);
  return status;
}

sb_status sb_allocation_write(const sb_model *m, const char *path) {
  return sb_world_agree(m->world, m->world->rank == 0 ? write_file(m, path) : SB_OK);
}

static sb_status read_matrix(sb_model *m, const char *path, const sb_matrix *matrix, const json_t *entry) {
  const char *name = NULL, *digits = NULL, *expected = m->arch.tensors[matrix->tensor].name;
  json_int_t rows = 0, cols = 0;
  if (json_unpack((json_t *)entry, "{s:s, s:[I, I], s:s}", "name", &name, "shape", &rows, &cols, "bits",
                  &digits) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: the entry of %s lacks name, shape or bits", path, expected);
  if (strcmp(name, expected) != 0 || (size_t)rows != matrix->grid.rows || (size_t)cols != matrix->grid.cols)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: made for another model: %s of %lld x %lld where this one has %s of %zu x %zu", path,
                   name, (long long)rows, (long long)cols, expected, matrix->grid.rows, matrix->grid.cols);
  size_t blocks = blocks_of(matrix), given = strlen(digits);
  if (given != blocks)
    return sb_fail(SB_ERR_FORMAT, "%s: %s has %zu bits, its %zu blocks need one each", path, name, given,
                   blocks);
  for (size_t k = 0; k < blocks; k++) {
    if (digits[k] < '1' || digits[k] > '8')
      return sb_fail(SB_ERR_FORMAT, "%s: %s: block %zu has '%c' bits, possible are 1 to 8", path, name, k,
                     digits[k]);
    m->bits[matrix->first_block + k] = (uint8_t)(digits[k] - '0');
  }
  return SB_OK;
}

static sb_status read_json(sb_model *m, const char *path, const json_t *json) {
  const char *format = NULL;
  int version = 0, symmetric = 0;
  json_int_t rows = 0, cols = 0;
  const json_t *matrices = json_object_get(json, "matrices");
  size_t expected = m->config.layers * SB_LINEARS;
  if (json_unpack((json_t *)json, "{s:s, s:i, s:[I, I], s:b}", "format", &format, "version", &version,
                  "block", &rows, &cols, "symmetric", &symmetric) != 0 ||
      strcmp(format, FORMAT) != 0 || !json_is_array(matrices))
    return sb_fail(SB_ERR_FORMAT,
                   "%s: not an allocation file of shardbits (quantize --allocation writes one)", path);
  if (version != VERSION)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: version %d, this program reads %d", path, version, VERSION);
  if ((size_t)rows != m->blocking.rows || (size_t)cols != m->blocking.cols)
    return sb_fail(SB_ERR_FORMAT, "%s: made for blocks of %lldx%lld; run with --block %lldx%lld", path,
                   (long long)rows, (long long)cols, (long long)rows, (long long)cols);
  if (symmetric != (m->blocking.symmetry == SB_SYMMETRIC))
    return sb_fail(SB_ERR_FORMAT, "%s: made for %s grids; %s --symmetric", path,
                   symmetric ? "symmetric" : "asymmetric", symmetric ? "add" : "drop");
  if (json_array_size(matrices) != expected)
    return sb_fail(SB_ERR_FORMAT, "%s: made for another model: %zu matrices where this one has %zu", path,
                   json_array_size(matrices), expected);
  for (size_t i = 0; i < expected; i++)
    SB_TRY(read_matrix(m, path, &m->matrices[i], json_array_get(matrices, i)));
  return SB_OK;
}

static sb_status read_file(sb_model *m, const char *path) {
  char *text = NULL;
  size_t bytes;
  json_error_t error;
  SB_TRY(sb_file_read_all(path, largest_file, &text, &bytes));
  json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
  free(text);
  if (!json) return sb_fail(SB_ERR_FORMAT, "%s: line %d: %s", path, error.line, error.text);
  sb_status status = read_json(m, path, json);
  json_decref(json);
  return status;
}

sb_status sb_allocation_read(sb_model *m, const char *path) {
  SB_AGREE(m->world, m->world->rank == 0 ? read_file(m, path) : SB_OK);
  return sb_mpi_bcast(m->bits, m->blocks, 0, m->world->comm);
}
