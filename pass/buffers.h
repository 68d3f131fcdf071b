/* Device buffers of one sequence as a table. An entry says where the pointer lives, how many
 * elements a token has, of which type, and which passes need the buffer. One table serves
 * allocating, freeing and counting, so a plan counts exactly what a pass allocates. All functions
 * are local. */
#ifndef SB_PASS_BUFFERS_H
#define SB_PASS_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"

typedef enum sb_buffer_content {
  SB_BUFFER_ACT,       /* activations */
  SB_BUFFER_OPERAND,   /* operands */
  SB_BUFFER_CONVERTED, /* operands; no buffer where operands have the type of activations */
  SB_BUFFER_F32
} sb_buffer_content;

typedef struct sb_buffer {
  size_t place;     /* offset of its pointer in the struct that owns it */
  size_t per_token; /* elements per token */
  sb_buffer_content content;
  bool backward; /* backward passes only */
  bool ordered;  /* only where matrices are stored in an order of their own */
  bool kept;     /* the forward part writes it, and the backward part reads it */
} sb_buffer;

/* The pass that a set of buffers serves. */
typedef struct sb_buffer_needs {
  sb_dtype act, operand;
  size_t T; /* tokens of a sequence */
  bool backward, ordered;
  bool only_kept; /* of these, the kept ones alone */
} sb_buffer_needs;

/* Bytes of all buffers of the table that `needs` asks for. */
size_t sb_buffers_bytes(const sb_buffer *table, size_t count, const sb_buffer_needs *needs);
/* Allocates them; pointers of the others stay NULL. `owner` is zero-initialised. sb_buffers_free
 * also releases what a failed call has allocated. */
sb_status sb_buffers_alloc(sb_backend *backend, const sb_buffer *table, size_t count,
                           const sb_buffer_needs *needs, void *owner);
/* Only `place` of the table's entries is read. */
void sb_buffers_free(sb_backend *backend, const sb_buffer *table, size_t count, void *owner);

#endif
