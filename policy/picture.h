/* A policy as a picture: layers from left to right, kinds of linears from top to bottom; a cell is
 * three strips where the GEMMs of a linear differ (output, input gradient, weight gradient). */
#ifndef SB_POLICY_PICTURE_H
#define SB_POLICY_PICTURE_H

#include "policy/policy_file.h"

/* Writes an SVG, complete or not at all. Colours say the precision and are told apart by readers
 * who do not see all colours; cells have their linear and precisions as titles. SB_ERR_IO,
 * SB_ERR_MEMORY. Local. O(linears). */
sb_status sb_picture_write(const char *path, const sb_policy *policy);

#endif
