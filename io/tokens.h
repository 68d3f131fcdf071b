/* Token files: one stream of token ids, raw little-endian 16- or 32-bit unsigned numbers (.bin) or
 * a NumPy array (.npy: uint16, uint32, int32 or int64; one dimension, or two in C order, read row
 * after row).
 *
 * Ids are read in ranges with pread and checked against the vocabulary as they are read. All
 * functions are local; an open file may be read from several threads. */
#ifndef SB_IO_TOKENS_H
#define SB_IO_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Width of the ids in a raw file; a .npy file says itself. AUTO takes 32 bits when the vocabulary
 * exceeds 65536, or when every odd 16-bit word of the first 64k words is 0 (as the high halves of
 * small 32-bit ids are); else 16 bits. */
typedef enum { SB_TOKENS_AUTO, SB_TOKENS_U16, SB_TOKENS_U32 } sb_token_width;

typedef struct sb_tokens sb_tokens;

/* Opens a token file. `vocab` is the number of ids of the model; 0 checks nothing. With AUTO the
 * name must end in .bin or .npy (a text file would otherwise pass for tokens). SB_ERR_IO,
 * SB_ERR_FORMAT (empty, odd size, damaged), SB_ERR_UNSUPPORTED (other element types or shapes). */
sb_status sb_tokens_open(const char *path, sb_token_width width, size_t vocab, sb_tokens **out);
/* Sets *tokens to NULL; a NULL *tokens is fine. */
void sb_tokens_close(sb_tokens **tokens);

/* Number of tokens. */
size_t sb_tokens_count(const sb_tokens *tokens);
/* Bytes of one id in the file (2, 4 or 8). */
size_t sb_tokens_width(const sb_tokens *tokens);
/* dst[0..n) = tokens [start, start + n). SB_ERR_RANGE for an id that is negative or not below the
 * vocabulary, naming its position; SB_ERR_INTERNAL when the range is not in the file. */
sb_status sb_tokens_read(const sb_tokens *tokens, size_t start, size_t n, uint32_t *dst);
/* Number of whole sequences of `seqlen` tokens, at most `max_seqs` (0: no limit). SB_ERR_RANGE when
 * the file is shorter than one. */
sb_status sb_tokens_sequences(const sb_tokens *tokens, size_t seqlen, size_t max_seqs, size_t *n);

#endif
