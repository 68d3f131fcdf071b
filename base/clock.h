/* Wall-clock seconds from an arbitrary, steady origin. Local. */
#ifndef SB_BASE_CLOCK_H
#define SB_BASE_CLOCK_H

double sb_now(void);

#endif
