/* Where the bits went, in a --json report of bounded size: what `shardbits report` draws. */
#ifndef SB_CLI_REPORT_WIDTHS_H
#define SB_CLI_REPORT_WIDTHS_H

#include <jansson.h>

#include "base/status.h"
#include "model/model.h"

/* report["widths"] = {
 *   "roles":           names of the layers' matrices, in stored order; experts count as one
 *   "weights":         weights of each in all layers, as "roles"
 *   "mean":            [layer][role], mean width; null where a layer has no such matrix
 *   "noise":           [layer], mean of 4^-width over its weights
 *   "weights_by_bits": {role: [weights at 1, ..., 8 bits]}, of all layers
 *   "picture":         {"layer", "matrix", "shape": [rows, columns], "reordered", "stored",
 *                      "source"}: the matrix whose widths vary most, at most 64 x 64 cells
 *                      (model/width_figures.h). A row of cells is one text, numbers with spaces
 *                      between them; "source" is there where the order of channels is another one
 * }. Nothing with report NULL. 7 numbers a layer, so 1 MB at most for any model. Local. */
sb_status sb_report_widths(json_t *report, const sb_model *model);

#endif
