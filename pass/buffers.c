#include "pass/buffers.h"

static size_t buffer_bytes(const sb_buffer *b, const sb_buffer_needs *needs) {
  const size_t elements = needs->T * b->per_token;
  if ((b->backward && !needs->backward) || (b->ordered && !needs->ordered)) return 0;
  if (needs->only_kept && !b->kept) return 0;
  switch (b->content) {
  case SB_BUFFER_OPERAND:
    return elements * sb_dtype_size(needs->operand);
  case SB_BUFFER_CONVERTED:
    return needs->operand == needs->act ? 0 : elements * sb_dtype_size(needs->operand);
  case SB_BUFFER_F32:
    return elements * sizeof(float);
  default:
    return elements * sb_dtype_size(needs->act);
  }
}

static void **pointer_of(void *owner, const sb_buffer *b) {
  return (void **)((char *)owner + b->place);
}

size_t sb_buffers_bytes(const sb_buffer *table, size_t count, const sb_buffer_needs *needs) {
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++) bytes += buffer_bytes(&table[i], needs);
  return bytes;
}

sb_status sb_buffers_alloc(sb_backend *backend, const sb_buffer *table, size_t count,
                           const sb_buffer_needs *needs, void *owner) {
  for (size_t i = 0; i < count; i++) {
    const size_t bytes = buffer_bytes(&table[i], needs);
    if (bytes > 0)
      SB_TRY(backend->op->alloc(backend, bytes, "activations of one layer",
                                pointer_of(owner, &table[i])));
  }
  return SB_OK;
}

void sb_buffers_free(sb_backend *backend, const sb_buffer *table, size_t count, void *owner) {
  for (size_t i = 0; i < count; i++) {
    void **pointer = pointer_of(owner, &table[i]);
    backend->op->free(backend, *pointer);
    *pointer = NULL;
  }
}
