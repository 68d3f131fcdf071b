/* Exports that keep codes: an output folder on integer grids in the words of a server's format. A
 * code stays the number that it is, a scale the same fp16 or bf16 number, a zero point the same
 * integer, so the weights are those of sb_export_dequantized. A format is a table of functions
 * (folders/export_compressed_tensors.c, folders/export_gptq.c, folders/export_mlx.c); this file has
 * what all of them need: the walk over block rows by all ranks, the checks, the other tensors,
 * config.json.
 *
 * What such formats ask of every quantized matrix, else SB_ERR_UNSUPPORTED with its name and the
 * option of quantize that makes it fit: codes on grids, one width, in the source's order of
 * channels or a fused one, and groups (rows of a block) of equal length. */
#ifndef SB_FOLDERS_TRANSCODE_H
#define SB_FOLDERS_TRANSCODE_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "base/ticker.h"
#include "folders/hf_folder.h"
#include "model/model.h"

/* A quantized matrix. */
typedef struct sb_coded_matrix {
  const sb_model_tensor *tensor;
  sb_code_kind code_kind;
  unsigned width;       /* of its codes; 0 of a tensor that is not quantized */
  size_t group, groups; /* columns of a group, and the groups of a row */
  size_t block_rows;    /* rows that are written together, but the last ones */
} sb_coded_matrix;

/* Some rows of it, and room for what is written. */
typedef struct sb_coded_rows {
  size_t first, count;
  const uint8_t *codes;   /* [count, cols] */
  const sb_grid *grids;   /* [groups, count] */
  uint32_t *words, *also; /* [count * (cols + 4)] each */
} sb_coded_rows;

/* Where the parts of a matrix go. */
typedef struct sb_part_writer {
  sb_hf_folder *folder;
  size_t first; /* number of its first part in the folder */
  sb_dtype dtype;
  int variant; /* of the format */
} sb_part_writer;

static inline sb_status sb_part_write(const sb_part_writer *to, size_t part, uint64_t offset,
                                      size_t bytes, const void *data) {
  return sb_hf_folder_write(to->folder, to->first + part, offset, bytes, data);
}

enum { SB_CODE_PARTS = 4 }; /* most parts of a matrix */

typedef struct sb_code_format {
  const char *name;   /* of --format */
  const char *reader; /* of quantize --widths-for, which chooses what fits */
  const char *also;   /* another key of config.json that has the value of quantization_config; NULL:
                         none */
  /* Types and shapes of the parts of a matrix, [SB_CODE_PARTS], and their names, which follow the
   * module's ("weight_packed"); their number. `dtype` is that of the folder's other tensors. */
  size_t (*parts)(const sb_coded_matrix *, sb_dtype dtype, sb_tensor_spec *out);
  /* SB_ERR_UNSUPPORTED: what this format does not take of a matrix, beyond the above. */
  sb_status (*check)(const sb_model *, const sb_coded_matrix *);
  /* Which of its variants the model takes, a number of its own; NULL: it has one, 0. */
  int (*variant)(const sb_model *, const sb_coded_matrix *matrices);
  /* The parts' bytes of some rows, and with the first ones what a matrix has once. Local. */
  sb_status (*write)(const sb_part_writer *, const sb_coded_matrix *, const sb_coded_rows *);
  /* The value of quantization_config. matrices [arch.count] are by tensor. */
  json_t *(*config)(const sb_model *, const sb_coded_matrix *matrices, int variant);
} sb_code_format;

/* Zero point of a grid, or the code that stands for 0 on a signed one. */
static inline uint8_t sb_grid_zero(const sb_grid *grid) {
  return (uint8_t)grid->center;
}

/* *out, a number of type `to`, F32, F16 or BF16, = the nearest to `value`; returns what it is. */
float sb_number_as(void *out, sb_dtype to, float value);
/* *scale, a number of type `to`, = that of a grid. False where `to` has not enough bits for it;
 * F16 has, and F32. */
bool sb_grid_scale_as(void *scale, sb_dtype to, const sb_grid *grid);

/* For `check`: SB_ERR_UNSUPPORTED unless weights are (code - zero) * scale with whole zeros, so of
 * 2 bits or more on asymmetric or signed grids, and zero points of a block's rows fill whole words.
 * `format` is its name in messages. */
sb_status sb_coded_check_grids(const sb_coded_matrix *matrix, const char *format);

/* The type that a server had best compute in: BF16 where the scales have no more bits than that,
 * and the source is not of F16; else F16. Local, equal on all ranks. */
sb_dtype sb_transcode_dtype(const sb_model *model);

/* Writes folder `out`, which was begun with the side files of the output folder `source`, from
 * `model` (SB_CODING_CODES), which was loaded from there, and commits it; *bits = codes per weight
 * of the quantized matrices. All other tensors, and config.json, have the type `dtype`, F32, F16 or
 * BF16; so have scales, where the format does not say otherwise. Files, index and ranks as in
 * sb_export_dequantized; block rows are streamed, and the bytes are the same on any number of
 * ranks. SB_ERR_UNSUPPORTED: see above; scales with more bits than `dtype` has. SB_ERR_NUMERIC: a
 * value of another tensor is beyond the range of `dtype`. Collective; all ranks fail together.
 * Memory beside the model: O(tensors), and 9 bytes a weight of the largest block row. */
sb_status sb_transcode(const sb_code_format *format, sb_model *model, const char *source,
                       sb_destination *out, sb_dtype dtype, uint64_t file_bytes, sb_ticker ticker,
                       sb_hf_folder_stats *stats, double *bits);

#endif
