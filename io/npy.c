#include "io/npy.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/bytes.h"
#include "io/file.h"

static const char magic[6] = {(char)0x93, 'N', 'U', 'M', 'P', 'Y'};

bool sb_npy_is(const void *first_bytes, size_t bytes) {
  return bytes >= sizeof magic && memcmp(first_bytes, magic, sizeof magic) == 0;
}

/* Where the value of 'key' starts in the header, a Python dict literal; NULL when
 * it is not there. */
static const char *value_of(const char *header, const char *key) {
  size_t length = strlen(key);
  for (const char *at = strstr(header, key); at; at = strstr(at + 1, key)) {
    if (at == header || (at[-1] != '\'' && at[-1] != '"') || at[length] != at[-1]) continue;
    const char *colon = at + length + 1;
    while (isspace((unsigned char)*colon)) colon++;
    if (*colon != ':') continue;
    colon++;
    while (isspace((unsigned char)*colon)) colon++;
    return colon;
  }
  return NULL;
}

static sb_status parse_descr(const char *path, const char *value, sb_npy *out) {
  if (!value || (*value != '\'' && *value != '"'))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: the .npy header has no simple 'descr'; structured arrays are not read",
                   path);
  const char *end = strchr(value + 1, *value);
  char order = value[1];
  if (!end || end - value < 3)
    return sb_fail(SB_ERR_FORMAT, "%s: the 'descr' of the .npy header is not an element type",
                   path);
  if (order == '>')
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: holds big-endian numbers; save it as little-endian",
                   path);
  if (order != '<' && order != '|' && order != '=')
    return sb_fail(SB_ERR_FORMAT, "%s: the 'descr' of the .npy header starts with '%c'", path,
                   order);
  out->kind = value[2];
  const size_t length = sb_min_size((size_t)(end - value - 1), sizeof out->type - 1);
  memcpy(out->type, value + 1, length);
  if (!strchr("uifcb", out->kind)) return SB_OK;
  char *stop;
  unsigned long size = strtoul(value + 3, &stop, 10);
  if (stop != end || size == 0 || size > 64)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: element type %s of the .npy header is not read", path,
                   out->type);
  out->item_bytes = size;
  return SB_OK;
}

static sb_status parse_shape(const char *path, const char *value, sb_npy *out) {
  if (!value || *value != '(')
    return sb_fail(SB_ERR_FORMAT, "%s: the .npy header has no 'shape'", path);
  out->count = 1;
  for (value++;;) {
    while (isspace((unsigned char)*value) || *value == ',') value++;
    if (*value == ')') return SB_OK;
    if (!isdigit((unsigned char)*value))
      return sb_fail(SB_ERR_FORMAT, "%s: the 'shape' of the .npy header is damaged", path);
    if (out->dims == SB_NPY_MAX_DIMS)
      return sb_fail(SB_ERR_UNSUPPORTED, "%s: has more than %d dimensions", path, SB_NPY_MAX_DIMS);
    uint64_t extent = 0;
    for (; isdigit((unsigned char)*value); value++)
      if (__builtin_mul_overflow(extent, 10u, &extent) ||
          __builtin_add_overflow(extent, (uint64_t)(*value - '0'), &extent))
        return sb_fail(SB_ERR_FORMAT, "%s: a dimension in the .npy header overflows 64 bits", path);
    out->shape[out->dims++] = (size_t)extent;
    if (__builtin_mul_overflow(out->count, extent, &out->count))
      return sb_fail(SB_ERR_FORMAT, "%s: the shape in the .npy header overflows 64 bits", path);
  }
}

static sb_status parse(const char *path, const char *header, sb_npy *out) {
  const char *order = value_of(header, "fortran_order");
  SB_TRY(parse_descr(path, value_of(header, "descr"), out));
  if (!order || (strncmp(order, "True", 4) != 0 && strncmp(order, "False", 5) != 0))
    return sb_fail(SB_ERR_FORMAT, "%s: the .npy header has no 'fortran_order'", path);
  out->fortran_order = *order == 'T';
  return parse_shape(path, value_of(header, "shape"), out);
}

sb_status sb_npy_read_header(int fd, const char *path, uint64_t file_bytes, sb_npy *out) {
  unsigned char start[12] = {0};
  char *header = NULL;
  memset(out, 0, sizeof *out);
  if (file_bytes < sizeof start)
    return sb_fail(SB_ERR_FORMAT, "%s: is truncated inside its .npy header", path);
  SB_TRY(sb_file_read_at(fd, path, 0, start, sizeof start));
  if (!sb_npy_is(start, sizeof start))
    return sb_fail(SB_ERR_FORMAT, "%s: does not start as a .npy file does", path);
  unsigned version = start[6];
  if (version < 1 || version > 3)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: is a .npy file of version %u; versions 1 to 3 are read",
                   path, version);
  uint64_t prefix = version == 1 ? 10 : 12;
  uint64_t length = version == 1 ? sb_get_u16(start + 8) : sb_get_u32(start + 8);
  if (length > file_bytes - prefix || length > (1u << 20))
    return sb_fail(SB_ERR_FORMAT, "%s: the .npy header claims %llu bytes, the file has %llu", path,
                   (unsigned long long)length, (unsigned long long)file_bytes);
  SB_TRY(sb_alloc(&header, (size_t)length + 1, 1, ".npy header"));
  sb_status status = sb_file_read_at(fd, path, prefix, header, (size_t)length);
  SB_THEN(parse(path, header, out));
  sb_free(&header);
  SB_TRY(status);
  out->data_offset = prefix + length;
  if (out->item_bytes == 0) return SB_OK;
  uint64_t bytes, have = file_bytes - out->data_offset;
  if (__builtin_mul_overflow(out->count, (uint64_t)out->item_bytes, &bytes) || bytes != have)
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: its shape needs %llu elements of %zu bytes but %llu bytes follow the header; the "
        "file is damaged",
        path, (unsigned long long)out->count, out->item_bytes, (unsigned long long)have);
  return SB_OK;
}

void sb_npy_header(char header[SB_NPY_HEADER], size_t width, uint64_t count) {
  enum { BEGINNING = 10 }; /* magic, version, length of the rest */
  const int rest = SB_NPY_HEADER - BEGINNING;
  char text[SB_NPY_HEADER];
  const int length =
      snprintf(text, sizeof text, "{'descr': '<u%zu', 'fortran_order': False, 'shape': (%llu,), }",
               width, (unsigned long long)count);
  memcpy(header, magic, sizeof magic);
  memcpy(header + sizeof magic, (const char[]){1, 0, (char)rest, 0}, 4);
  memset(header + BEGINNING, ' ', (size_t)rest - 1);
  memcpy(header + BEGINNING, text, (size_t)length);
  header[SB_NPY_HEADER - 1] = '\n';
}
