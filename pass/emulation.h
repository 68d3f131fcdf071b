/* What emulated products (pass/product_emulated.c) need beside W: the precisions of the three
 * GEMMs, W as they read it, and room for x and dy as they read them.
 *
 * Random bits come from a key of the batch, and layer, matrix, GEMM, operand, number of the
 * sequence in the batch, token and channel. So they depend neither on ranks nor on waves. All
 * pointers with
 * `_dev` are device memory. All functions are local. */
#ifndef SB_PASS_EMULATION_H
#define SB_PASS_EMULATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/lowprec.h"

/* An operand, coded and decoded: bf16 numbers times a factor where that is exact, else floats. */
typedef struct sb_coded {
  const void *data_dev;
  sb_dtype dtype;
  const float *scale_dev; /* [1], or NULL */
} sb_coded;

/* Of one matrix. */
typedef struct sb_emulation {
  sb_precision gemms[SB_GEMM_KINDS];
  sb_lowprec_options options;
  size_t layer, matrix;  /* for random bits; matrix: number within the layer */
  sb_coded fprop, dgrad; /* W for these GEMMs, where they are low */
} sb_emulation;

/* Room for the operands of a product at a time. What is in x stays for the next products of the
 * same layer call, since matrices share inputs. */
typedef struct sb_coded_room {
  sb_backend *backend;
  void *x_dev, *dy_dev; /* [T, the largest dimension] floats */
  float *scales_dev;    /* [2] of x, of dy */
  /* The operand that x_dev holds: of which activations, by which rule; NULL: none. */
  const void *x_source;
  sb_lowprec_rule x_rule;
  sb_coded x;
} sb_coded_room;

/* For sequences of T tokens and matrices of at most `widest` rows and columns. SB_ERR_MEMORY.
 * Release with sb_coded_room_free. */
sb_status sb_coded_room_create(sb_backend *backend, size_t T, size_t widest, sb_coded_room **out);
void sb_coded_room_free(sb_coded_room **room);
/* From here on activations may be others: to be called at the start of a layer call. */
static inline void sb_coded_room_forget(sb_coded_room *room) {
  if (room) room->x_source = NULL;
}

/* The rule of W for a GEMM, and the type in which it is decoded: bf16 where that, and the other
 * operand of the GEMM, loses nothing. */
typedef struct sb_operand_coding {
  sb_lowprec_rule rule;
  sb_dtype dtype;
} sb_operand_coding;
sb_operand_coding sb_operand_coding_of(const sb_emulation *emulation, sb_gemm_kind gemm,
                                       sb_lowprec_operand operand);

/* *out = src [rows, cols] of type src_dtype, coded into dst_dev; a factor, where the coding has
 * one apart, goes to scale_dev [1]. Queued on `stream`. */
sb_status sb_operand_code(sb_backend *backend, sb_stream stream, const sb_operand_coding *coding,
                          const void *src, sb_dtype src_dtype, size_t rows, size_t cols,
                          uint64_t key, void *dst_dev, float *scale_dev, sb_coded *out);

#endif
