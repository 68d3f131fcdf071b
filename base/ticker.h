/* Progress of a long call: the worker tells a listener now and then which share is done.
 *
 * A ticker is passed by value. SB_NO_TICKER has no listener. A call that consists of several calls
 * hands each of them a sub-range of its own ticker (sb_ticker_part), so that each counts from 0 to
 * 1. All local; the listener runs on the thread that ticks, one at a time. */
#ifndef SB_BASE_TICKER_H
#define SB_BASE_TICKER_H

typedef struct sb_ticker {
  void (*tick)(void *context, double done); /* `done` in 0..1; NULL: nobody listens */
  void *context;
} sb_ticker;

#define SB_NO_TICKER ((sb_ticker){0})

static inline void sb_tick(sb_ticker ticker, double done) {
  if (ticker.tick) ticker.tick(ticker.context, done);
}

/* The range [first, first + share] of another ticker. The owner keeps it in place as long as the
 * ticker made of it is in use, and may move the range between two calls. */
typedef struct sb_ticker_part {
  sb_ticker whole;
  double first, share;
} sb_ticker_part;

static inline void sb_ticker_part_tick(void *context, double done) {
  const sb_ticker_part *part = context;
  sb_tick(part->whole, part->first + part->share * done);
}

static inline sb_ticker sb_ticker_of_part(sb_ticker_part *part) {
  return (sb_ticker){sb_ticker_part_tick, part};
}

#endif
