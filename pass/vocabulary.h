/* The two tables with a row per token of the vocabulary, embedding and LM head, brought to the
 * device one chunk at a time. No rank ever holds more than a chunk of a table, or of the logits. */
#ifndef SB_PASS_VOCABULARY_H
#define SB_PASS_VOCABULARY_H

#include <stddef.h>

#include "base/status.h"
#include "model/model.h"
#include "pass/wave.h"

/* Rows of the tokens [first, first + count) of a table: a group of the store. */
typedef struct sb_vocab_chunk {
  size_t tensor; /* index into arch.tensors */
  size_t first, count;
  const void *rows_dev; /* [count, hidden] of type `dtype` */
  sb_dtype dtype;
} sb_vocab_chunk;

/* Room for a chunk of either table. */
typedef struct sb_vocab {
  sb_wave *wave;
  size_t largest;      /* rows of the largest chunk */
  void *operands_dev;  /* [largest, hidden]; NULL where only the embedding is read */
  void *source_dev;    /* [largest, hidden] of the source's type; NULL on a unified backend */
  float *gradient_dev; /* [largest, hidden] the gradient of a chunk; NULL where none is asked for */
} sb_vocab;

/* `head`: for the LM head, not the embedding alone; `gradients`: of either table. The wave outlives
 * the room. sb_vocab_free also releases the memory of a failed call. Local. */
sb_status sb_vocab_allocate(sb_vocab *vocab, sb_wave *wave, bool head, bool gradients);
void sb_vocab_free(sb_vocab *vocab);
/* Bytes that sb_vocab_allocate takes. */
size_t sb_vocab_bytes(const sb_wave_sizes *wave, bool head, bool gradients);

static inline const sb_place *sb_vocab_place(const sb_model *model, size_t group) {
  return &model->places[model->group_place[group]];
}
/* True where one table is both, so that its gradient is a sum of two. */
static inline bool sb_vocab_is_tied(const sb_model *model) {
  return model->head_first == model->embed_first;
}

/* The chunk that `group` holds, from its acquired image, as operands. Queued on the wave's stream;
 * valid until the next chunk is brought. Local. */
sb_status sb_vocab_operands(sb_vocab *vocab, size_t group, const void *image, sb_vocab_chunk *out);

/* The work on one chunk. Local. */
typedef sb_status (*sb_vocab_work)(void *context, const sb_vocab_chunk *chunk);
/* All chunks of the LM head, in order, as operands. After each, ranks agree, then `end` is called
 * (collective; NULL: nothing). Collective. */
sb_status sb_vocab_each_of_head(sb_vocab *vocab, sb_vocab_work work, sb_vocab_work end,
                                void *context);
/* All chunks of the embedding, in order, in the source's type. Collective. */
sb_status sb_vocab_each_of_embedding(sb_vocab *vocab, sb_vocab_work work, void *context);

/* logits f32 [T, chunk->count] = states rows' for sequence s of the wave; states:
 * operands [room, T, hidden]. Local. */
sb_status sb_vocab_logits(const sb_wave *wave, const sb_vocab_chunk *chunk, void *states, size_t s,
                          float *logits);

#endif
