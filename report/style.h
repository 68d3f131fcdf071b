/* The look of a report: light and dark, wide and narrow. */
#ifndef SB_REPORT_STYLE_H
#define SB_REPORT_STYLE_H

/* Text of the <style> element. The page has no script. */
extern const char sb_report_style[];

#endif
