/* Seconds and memory of each phase of this process (SB_PHASE of base/trace.h), for reports. A phase
 * that comes several times, as one a step, is one entry. Phases lie beside each other; where one
 * lies within another, both count its time.
 *
 * A process has one table, as it has one trace. Local, main thread only. */
#ifndef SB_BASE_PHASES_H
#define SB_BASE_PHASES_H

#include <stddef.h>
#include <stdint.h>

enum { SB_PHASES_MOST = 24 }; /* further names are not kept */

typedef struct sb_phase_figures {
  const char *name; /* of static storage */
  double seconds;
  uint64_t peak; /* bytes: the most resident memory of the process from its start to this phase' end
                  */
} sb_phase_figures;

/* Copies what the table has, in the order in which phases began; one that is open counts up to now.
 * Returns the number of entries, at most SB_PHASES_MOST. */
size_t sb_phases_read(sb_phase_figures out[SB_PHASES_MOST]);

/* For base/trace.c: the number of the phase that begins at `now`, or -1 where the table is full. */
int sb_phases_begin(const char *name, double now);
/* Ends phase `number`; -1: nothing. */
void sb_phases_end(int number, double now);

#endif
