/* Writes an output folder as EXL3 tensors, which exllamav3 and what is built on it load
 * (docs/exl3.md): the codes as they are, since SB_TRELLIS_EXL3 has the tiles, the order of bits and
 * the transforms of EXL3 (format as of exllamav3 v1.4.1). In place of NAME.weight, [out, in], a
 * matrix of K bits has
 *
 *   NAME.trellis  I16 [in / 16, out / 16, 16 K]  its tiles
 *   NAME.suh      F16 [in]                       column factors of its input
 *   NAME.svh      F16 [out]                      row factors
 *   NAME.mul1     I32 scalar                     says which levels states stand for
 *
 * All other tensors stay as the source has them; of a tied model there is no LM head, as in the
 * source. config.json and quantization_config.json say what exllamav3's own converter would. */
#ifndef SB_FOLDERS_EXPORT_EXL3_H
#define SB_FOLDERS_EXPORT_EXL3_H

#include <stdint.h>

#include "base/status.h"
#include "base/ticker.h"
#include "folders/hf_folder.h"
#include "model/model.h"

/* Writes folder `out`, which was begun with the side files of the output folder `source`, from
 * `model` (SB_CODING_CODES), which was loaded from there, and commits it; *bits = codes per weight
 * of the matrices. Files, index and ranks as in sb_export_dequantized. SB_ERR_UNSUPPORTED: other
 * codes than EXL3's, so embedding or LM head on grids, a matrix that EXL3 cannot carry
 * (model/exl3.h). SB_ERR_FORMAT: a block with a
 * scale. Collective; all ranks fail together. Memory beside the model: O(tensors). Writes are of
 * block rows x 16 channels: 512 bytes at 2 bits in blocks of 128 rows. */
sb_status sb_export_exl3(sb_model *model, const char *source, sb_destination *out,
                         uint64_t file_bytes, sb_ticker ticker, sb_hf_folder_stats *stats,
                         double *bits);

#endif
