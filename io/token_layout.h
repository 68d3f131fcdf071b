/* Where the ids lie in a token file, and how wide they are. */
#ifndef SB_IO_TOKEN_LAYOUT_H
#define SB_IO_TOKEN_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --token-dtype: type of the ids in a raw file. AUTO finds it out. */
typedef enum sb_token_width {
  SB_TOKENS_AUTO,
  SB_TOKENS_U16,
  SB_TOKENS_U32,
  SB_TOKENS_I32,
  SB_TOKENS_U64,
  SB_TOKENS_I64
} sb_token_width;
/* "auto", "u16", "u32", "i32", "u64", "i64"; NULL behind the last. */
extern const char *const sb_token_width_names[];
/* Bytes per id; not for AUTO. Pure. */
size_t sb_token_width_bytes(sb_token_width width);

/* Little-endian ids, one behind the other. Holds no pointers: ranks may send it to each other. */
typedef struct sb_token_layout {
  uint64_t data_offset; /* of the first id, bytes */
  size_t count;         /* of ids */
  size_t width;         /* bytes per id: 2, 4 or 8 */
  bool is_signed;
} sb_token_layout;

#endif
