/* How the vocabulary is cut. The embedding and the LM head are too large for one group of
 * the store and for one product, so both are gathered and computed in chunks, runs of rows.
 * Pure, local, O(1). */
#ifndef SB_MODEL_CHUNKS_H
#define SB_MODEL_CHUNKS_H

#include <stddef.h>

/* Rows of a chunk of a table of `rows` rows; the last chunk may be shorter. A chunk has
 *
 * - about `layer_bytes`, the size of the largest decoder layer, which the slots of the store hold
 *   anyway, but at least 4 MiB;
 * - a multiple of `unit_rows` rows, because the store deals units to ranks;
 * - at most 8192 rows, so that the logits of a sequence do not become the largest buffer.
 *
 * `row_bytes` and `layer_bytes` are of the source's types. */
size_t sb_chunk_rows(size_t rows, size_t row_bytes, size_t layer_bytes, size_t unit_rows);

#endif
