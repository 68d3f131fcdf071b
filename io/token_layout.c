#include "io/token_layout.h"

const char *const sb_token_width_names[] = {[SB_TOKENS_AUTO] = "auto",
                                            [SB_TOKENS_U16] = "u16",
                                            [SB_TOKENS_U32] = "u32",
                                            [SB_TOKENS_I32] = "i32",
                                            [SB_TOKENS_U64] = "u64",
                                            [SB_TOKENS_I64] = "i64",
                                            NULL};

size_t sb_token_width_bytes(sb_token_width width) {
  return width == SB_TOKENS_U16 ? 2 : width == SB_TOKENS_U32 || width == SB_TOKENS_I32 ? 4 : 8;
}
