/* The parts of a report. Each writes nothing where its runs have nothing for it. Local. */
#ifndef SB_REPORT_SECTIONS_H
#define SB_REPORT_SECTIONS_H

#include <stdbool.h>

#include "report/page.h"
#include "report/runs.h"

/* All runs of quantize and eval: a table, losses against budgets, sizes, times. */
void sb_section_overview(sb_page *page, const sb_runs *runs);
/* One run of quantize: where its bits went, how it searched, what it took. `open`: to be seen
 * without a click. */
void sb_section_quantize(sb_page *page, const sb_run *run, bool open);
/* A run of reorder: how its orders gather what is sensitive. */
void sb_section_reorder(sb_page *page, const sb_run *run);
/* All runs of train, and their events. */
void sb_section_training(sb_page *page, const sb_runs *runs);
/* A profile: errors of low precisions by layer and linear. */
void sb_section_profile(sb_page *page, const sb_run *run);
/* Errors of the layers of a run of quantize, predicted and measured. */
void sb_section_errors(sb_page *page, const json_t *json);
/* Seconds and memory of the phases of a run of any command (cli/report_json.h, "phases"). */
void sb_section_phases(sb_page *page, const json_t *json);

#endif
