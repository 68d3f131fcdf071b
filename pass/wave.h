/* A *wave*: the sequences that a rank takes through a model at a time. Embedding, layers, head and
 * losses compute on the wave at hand. This file has its number of sequences, their tokens, and the
 * place of each in a buffer. All functions are local. */
#ifndef SB_PASS_WAVE_H
#define SB_PASS_WAVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/sizes.h"

typedef struct sb_wave {
  sb_model *model;
  sb_backend *backend;
  sb_stream stream;
  size_t T;    /* tokens of a sequence */
  size_t room; /* sequences that buffers have room for */
  /* The wave at hand: this rank's sequences [first, first + count). */
  size_t first, count;
  uint32_t *ids_dev;     /* [room, T] */
  uint32_t *targets_dev; /* [room, T] the token after each; SB_NO_TARGET after the last */
  uint32_t *host_ids;    /* [2, room, T] both, on their way to the device */
  sb_ticker ticker;
  double done, work; /* for the ticker: of the running call */
} sb_wave;

/* The numbers that size the buffers of a wave, for the `_bytes()` of this room: they need no model
 * in memory. */
typedef struct sb_wave_sizes {
  const sb_sizes *model;
  const sb_backend *backend; /* of its fields, types and `unified` alone are read */
  size_t T, room;
  size_t chunk; /* rows of the largest chunk of embedding and LM head */
} sb_wave_sizes;

/* Elements of [room, T], of [room, T, hidden]. */
static inline size_t sb_wave_sizes_rows(const sb_wave_sizes *w) {
  return w->room * w->T;
}
static inline size_t sb_wave_sizes_states(const sb_wave_sizes *w) {
  return w->room * w->T * w->model->arch->config.hidden;
}

/* Model, backend, T and room are set by the caller. sb_wave_free also releases the memory of a
 * failed call. */
sb_status sb_wave_allocate(sb_wave *wave);
void sb_wave_free(sb_wave *wave);
/* Bytes that sb_wave_allocate takes. Pure, as all `_bytes()` of this room. */
size_t sb_wave_bytes(const sb_wave_sizes *wave);

/* Takes the sequences [first, first + count), count <= room, whose tokens are [count, T]. Waits. */
sb_status sb_wave_enter(sb_wave *wave, const uint32_t *tokens, size_t first, size_t count);

/* Number of sequence s of the wave at hand among those of all ranks, as they were dealt
 * (pass/pass.h). */
static inline size_t sb_wave_sequence(const sb_wave *wave, size_t s) {
  const sb_world *all = wave->model->world;
  return (wave->first + s) * (size_t)all->size + (size_t)all->rank;
}

/* Tokens of the wave at hand. */
static inline size_t sb_wave_rows(const sb_wave *wave) {
  return wave->count * wave->T;
}
/* Where sequence s of the wave lies in a buffer [room, T, width] of activations. */
static inline void *sb_wave_act(const sb_wave *wave, void *buffer, size_t s, size_t width) {
  return (char *)buffer + s * wave->T * width * sb_dtype_size(wave->backend->act);
}
/* The same for operands. */
static inline void *sb_wave_operand(const sb_wave *wave, void *buffer, size_t s, size_t width) {
  return (char *)buffer + s * wave->T * width * sb_dtype_size(wave->backend->operand);
}

/* Begins a call that will do `work`, in any unit. */
void sb_wave_expect(sb_wave *wave, double work);
/* Adds `work` that is done: tells the ticker, and lets the store's messages go on. */
sb_status sb_wave_progress(sb_wave *wave, double work);

#endif
