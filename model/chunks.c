#include "model/chunks.h"

#include "base/memory.h"

enum { LEAST_BYTES = 4 << 20, MOST_ROWS = 8192 };

size_t sb_chunk_rows(size_t rows, size_t row_bytes, size_t layer_bytes, size_t unit_rows) {
  size_t chunk = sb_max_size(layer_bytes, LEAST_BYTES) / row_bytes;
  chunk = sb_min_size(chunk, MOST_ROWS) / unit_rows * unit_rows;
  return sb_min_size(sb_max_size(chunk, unit_rows), rows);
}
