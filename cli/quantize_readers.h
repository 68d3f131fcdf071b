/* What --widths-for leaves to choose (model/width_rules.h): what is open follows from the reader,
 * what was chosen otherwise is refused. Pure. */
#ifndef SB_CLI_QUANTIZE_READERS_H
#define SB_CLI_QUANTIZE_READERS_H

#include "cli/quantize_asked.h"

/* Before anything else is settled, for servers (not EXL3): levels of grids, bounds of widths,
 * order, widths of embedding and head as far as they do not depend on the model. SB_ERR_USAGE. */
sb_status sb_quantize_settle_reader(sb_quantize_request *request, const char *command);
/* Once config.json is known: columns of blocks, which are groups, and the type of scales where they
 * are open. SB_ERR_UNSUPPORTED where no group of the reader fits, naming the matrix. */
sb_status sb_quantize_settle_model(sb_quantize_request *request, const char *command,
                                   const sb_arch *arch);

/* Of a settled request: what shares a width, the widths that layers may have, and those of a chosen
 * table that has one width; 0: each of its blocks has its own. */
/* Whether the reader is a server: codes on grids, one width for more than a block. */
bool sb_quantize_for_server(const sb_quantize_request *request);
sb_width_scope sb_quantize_scope(const sb_quantize_request *request);
sb_width_set sb_quantize_widths(const sb_quantize_request *request);
sb_width_set sb_quantize_table_widths(const sb_quantize_request *request);

#endif
