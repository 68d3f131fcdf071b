/* The two tables with a row per token of the vocabulary, embedding and LM head, brought to the
 * device one chunk at a time. No rank ever holds more than a chunk of a table, or of the logits.
 * Rows of a table that has widths come as the model has them now (pass/table_rows.h). */
#ifndef SB_PASS_VOCABULARY_H
#define SB_PASS_VOCABULARY_H

#include <stddef.h>

#include "base/status.h"
#include "model/model.h"
#include "pass/table_rows.h"
#include "pass/wave.h"

/* Rows of the tokens [first, first + count) of a table: a group of the store. */
typedef struct sb_vocab_chunk {
  size_t tensor; /* index into arch.tensors */
  size_t first, count;
  const void *rows_dev; /* [count, hidden] of type `dtype`; NULL where they stay packed */
  sb_dtype dtype;
  sb_packed packed;        /* the rows as they are coded, or NULL */
  const void *teacher_dev; /* operands [count, hidden]: the teacher's rows; NULL without one */
} sb_vocab_chunk;

/* Room for a chunk of either table. */
typedef struct sb_vocab {
  sb_wave *wave;
  sb_model *model;     /* whose tables are brought: at first the wave's */
  sb_model *teacher;   /* chunks of the head come with its rows in source precision; or NULL */
  size_t largest;      /* rows of the largest chunk */
  void *rows_dev;      /* [largest, hidden] operands of the head, or rows of a coded embedding */
  void *teacher_dev;   /* [largest, hidden] operands, where they differ from those */
  void *source_dev;    /* [largest, hidden] of the source's type; NULL on a unified backend */
  float *gradient_dev; /* [largest, hidden] the gradient of a chunk; NULL where none is asked for */
  sb_table_rows coded;
  bool keep_packed; /* chunks of coded tables stay packed */
  sb_packed packed; /* of the chunk at hand, or NULL */
} sb_vocab;

/* Which room is needed. */
typedef struct sb_vocab_needs {
  bool head;      /* for the LM head, not the embedding alone */
  bool gradients; /* of either table */
  bool teacher;   /* for the rows of a teacher */
  bool packed;    /* none for rows of tables in codes, which stay packed (forward passes) */
  /* For sb_vocab_bytes alone: tables that have widths, and whether they are in codes. */
  bool coded_embedding, coded_head, codes;
} sb_vocab_needs;

/* A table that gets widths later has no room. The wave outlives the room. sb_vocab_free also
 * releases the memory of a failed call. Local. */
sb_status sb_vocab_allocate(sb_vocab *vocab, sb_wave *wave, const sb_vocab_needs *needs);
void sb_vocab_free(sb_vocab *vocab);
/* Bytes that sb_vocab_allocate takes. */
size_t sb_vocab_bytes(const sb_wave_sizes *wave, const sb_vocab_needs *needs);

static inline const sb_place *sb_vocab_place(const sb_model *model, size_t group) {
  return &model->places[model->group_place[group]];
}
/* True where one table is both, so that its gradient is a sum of two. */
static inline bool sb_vocab_is_tied(const sb_model *model) {
  return model->head_first == model->embed_first;
}

/* The chunk that `group` holds, from its acquired image, as operands or packed. Queued on the
 * wave's stream; valid until the next chunk is brought. Local. */
sb_status sb_vocab_operands(sb_vocab *vocab, size_t group, const void *image, sb_vocab_chunk *out);

/* The work on one chunk. Local. */
typedef sb_status (*sb_vocab_work)(void *context, const sb_vocab_chunk *chunk);
/* All chunks of the LM head, in order, as operands or packed. After each, ranks agree, then `end`
 * is called (collective; NULL: nothing). Collective. */
sb_status sb_vocab_each_of_head(sb_vocab *vocab, sb_vocab_work work, sb_vocab_work end,
                                void *context);
/* All chunks of the embedding, in order: in the source's type, or where the table has widths as
 * activations or packed. Collective. */
sb_status sb_vocab_each_of_embedding(sb_vocab *vocab, sb_vocab_work work, void *context);

/* The teacher's chunk of the head. */
static inline sb_vocab_chunk sb_vocab_teacher(const sb_vocab_chunk *chunk) {
  sb_vocab_chunk out = *chunk;
  out.rows_dev = chunk->teacher_dev;
  return out;
}

/* logits f32 [T, chunk->count] = states rows' for sequence s of the wave; states:
 * operands [room, T, hidden]. Local. */
sb_status sb_vocab_logits(const sb_wave *wave, const sb_vocab_chunk *chunk, void *states, size_t s,
                          float *logits);

#endif
