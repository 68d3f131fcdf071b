/* What EXL3, the format of exllamav3 (v1.4.1), can carry of a model. Its tensors have one width for
 * each matrix and transforms of 128 channels, and they lack the true size of a matrix that was
 * padded. exllamav3 pads sides that are no multiples of 128 with zeros before it quantizes; a model
 * that has such sides is refused here, because padding would have to reach into moments, rounding
 * and blocks. The embedding and the LM head stay as they are, so any vocabulary will do. */
#ifndef SB_MODEL_EXL3_H
#define SB_MODEL_EXL3_H

#include "base/status.h"
#include "model/arch.h"
#include "model/model.h"

enum {
  SB_EXL3_RUN = 128,        /* channels of a Hadamard transform */
  SB_EXL3_MOST_MLP = 55296, /* exllamav3 cuts wider MLPs, under names of its own */
  SB_EXL3_TILE = 16         /* channels of a tile, both ways */
};

/* SB_ERR_UNSUPPORTED names the first matrix with a side that is no multiple of SB_EXL3_RUN, or of
 * an MLP that is too wide. Pure. O(matrices). */
sb_status sb_exl3_check_sides(const sb_arch *arch);

/* SB_ERR_UNSUPPORTED names the first matrix whose blocks differ in width, or are not quantized, on
 * a model whose bits are set. Local, equal on all ranks. O(blocks). */
sb_status sb_exl3_check_widths(const sb_model *model);

/* The width of a matrix that sb_exl3_check_widths found sound. O(1). */
unsigned sb_exl3_width(const sb_model *model, const sb_matrix *matrix);

#endif
