/* Token files: one stream of token ids. A .npy array (16-, 32- or 64-bit integers; one dimension,
 * or two in C order, read row after row), a .bin file of llm.c or of Megatron, or raw little-endian
 * ids; io/token_find.h says how they are told apart.
 *
 * Ids are read in ranges with pread and checked against the vocabulary as they are read. All
 * functions are local; an open file may be read from several threads. */
#ifndef SB_IO_TOKENS_H
#define SB_IO_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "io/token_layout.h"

typedef struct sb_tokens sb_tokens;

/* Opens a token file of the layout that sb_token_layout_find tells, with its errors. `vocab` is the
 * number of ids of the model; 0 checks nothing. */
sb_status sb_tokens_open(const char *path, sb_token_width width, size_t vocab, sb_tokens **out);
/* Opens a file whose layout is known, as another rank has found it. Nothing is read. SB_ERR_FORMAT
 * where the file is shorter. */
sb_status sb_tokens_open_as(const char *path, const sb_token_layout *layout, size_t vocab,
                            sb_tokens **out);
/* Sets *tokens to NULL; a NULL *tokens is fine. */
void sb_tokens_close(sb_tokens **tokens);

/* Number of tokens. */
size_t sb_tokens_count(const sb_tokens *tokens);
const sb_token_layout *sb_tokens_layout(const sb_tokens *tokens);
/* dst[0..n) = tokens [start, start + n). SB_ERR_RANGE for an id that is negative or not below the
 * vocabulary, naming its position; SB_ERR_INTERNAL when the range is not in the file. */
sb_status sb_tokens_read(const sb_tokens *tokens, size_t start, size_t n, uint32_t *dst);
/* Tells the system that this range will be read soon: it may fetch it meanwhile. */
void sb_tokens_expect(const sb_tokens *tokens, size_t start, size_t n);
/* Number of whole sequences of `seqlen` tokens, at most `max_seqs` (0: no limit). SB_ERR_RANGE when
 * the file is shorter than one. */
sb_status sb_tokens_sequences(const sb_tokens *tokens, size_t seqlen, size_t max_seqs, size_t *n);

#endif
