/* `shardbits report`: one HTML file from the --json of runs. It needs no network and no script, and
 * it is the same, byte for byte, for the same files: nothing of the time or the machine is in it.
 */
#ifndef SB_REPORT_REPORT_H
#define SB_REPORT_REPORT_H

#include "report/page.h"
#include "report/runs.h"

/* Appends the whole page to an empty one. Errors as sb_runs_read, and SB_ERR_MEMORY. O(size of the
 * files). Local. */
sb_status sb_report_make(const char *const *paths, size_t count, sb_page *page);

#endif
