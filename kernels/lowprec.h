/* The precisions that the three GEMMs of a linear layer can be trained in, and the rule by which
 * each rounds an operand. All are emulated: operands are coded and decoded again, and the product
 * runs in bf16 or f32 (docs/snip.md has formats, sources and the hardware that runs each).
 *
 *   name        element       scale block                 scale
 *   bf16        operand type  -                           -
 *   fp8-tensor  E4M3 (dY: E5M2)  tensor                   f32, 448 / amax
 *   fp8-128     E4M3          X, dY 1 x 128, W 128 x 128  448 / amax, down to a power of two
 *   mxfp8       E4M3          1 x 32                      E8M0, amax / 448 up to a power of two
 *   mxfp4       E2M1          1 x 32                      E8M0, OCP's floor(log2 amax) - 2
 *   nvfp4       E2M1          X, dY 1 x 16, W 16 x 16     E4M3 and one f32 per tensor
 *   fp4-128     E2M1          X, dY 1 x 128, W 128 x 128  f32, 6 / amax
 *
 * A "tensor" is one matrix of one sequence (X, dY) or one weight matrix: so no scale depends on how
 * sequences lie on ranks. Blocks of X and dY lie along the dimension that the GEMM sums over:
 * channels for fprop and dgrad, tokens for wgrad. */
#ifndef SB_KERNELS_LOWPREC_H
#define SB_KERNELS_LOWPREC_H

#include <stdbool.h>
#include <stdint.h>

typedef enum sb_precision {
  SB_PRECISION_HIGH, /* operands as the backend has them */
  SB_PRECISION_FP8_TENSOR,
  SB_PRECISION_FP8_128,
  SB_PRECISION_MXFP8,
  SB_PRECISION_MXFP4,
  SB_PRECISION_NVFP4,
  SB_PRECISION_FP4_128,
  SB_PRECISION_COUNT
} sb_precision;

/* y = x W', dx = dy W, dW = dy' x. */
typedef enum sb_gemm_kind { SB_FPROP, SB_DGRAD, SB_WGRAD, SB_GEMM_KINDS } sb_gemm_kind;

/* X [tokens, in], W [out, in], dY [tokens, out]. */
typedef enum sb_lowprec_operand {
  SB_LOWPREC_X,
  SB_LOWPREC_W,
  SB_LOWPREC_DY,
  SB_LOWPREC_OPERANDS
} sb_lowprec_operand;

/* By number; NULL behind the last, as option tables want them. */
extern const char *const sb_precision_names[SB_PRECISION_COUNT + 1];
extern const char *const sb_gemm_kind_names[SB_GEMM_KINDS + 1];

/* The precision that a name means; "f32" and "high" mean SB_PRECISION_HIGH too. False if none. */
bool sb_precision_parse(const char *name, sb_precision *out);
/* 16, 8 or 4: the bits of an element. FLOPs are counted by these. */
unsigned sb_precision_bits(sb_precision precision);

/* ---- rules: plain data, for C and CUDA C++ ---- */

typedef enum sb_element {
  SB_ELEMENT_NONE, /* not coded: only converted */
  SB_ELEMENT_E4M3, /* largest 448; no infinity */
  SB_ELEMENT_E5M2, /* largest finite 57344 */
  SB_ELEMENT_E2M1, /* 0, .5, 1, 1.5, 2, 3, 4, 6 */
  SB_ELEMENT_COUNT
} sb_element;

/* How the scale of a block follows from its amax, the largest magnitude in it; `top` is the largest
 * value of the element. kernels/shared/lowprec_code.h has the formulas. */
typedef enum sb_scale_rule {
  SB_SCALE_F32,        /* encode = top / amax */
  SB_SCALE_POWER_DOWN, /* encode = top / amax, down to a power of two */
  /* E8M0: decode = 2^e */
  SB_SCALE_FLOOR, /* e = floor(log2 amax) - floor(log2 top): may saturate (OCP MX 1.0) */
  SB_SCALE_CEIL,  /* e = ceil(log2 amax) - floor(log2 top) (torchao) */
  SB_SCALE_EVEN,  /* as floor, of amax rounded to the element's mantissa (torchao) */
  SB_SCALE_UP,    /* e = ceil(log2(amax / top)): the least that does not saturate */
  SB_SCALE_E4M3   /* E4M3 times one f32 per tensor (NVFP4) */
} sb_scale_rule;

typedef struct sb_lowprec_rule {
  sb_element element;
  sb_scale_rule scale;
  uint32_t tile_rows, tile_cols; /* the block that shares a scale; 0 x 0: the whole matrix. The
                                    last ones are smaller where the matrix ends */
  bool stochastic; /* rounds up with the probability of the distance, else to nearest, ties to even
                    */
  bool hadamard;   /* rotates runs of 16 rows before coding; they stay rotated */
  bool two_scales; /* SB_SCALE_E4M3: maps a block's amax to 6 or to 4, which errs less */
} sb_lowprec_rule;

/* Element of dY in the fp8 precisions. */
typedef enum sb_lowprec_dy {
  SB_LOWPREC_DY_USUAL, /* E5M2 for fp8-tensor, E4M3 for the others */
  SB_LOWPREC_DY_E4M3,
  SB_LOWPREC_DY_E5M2
} sb_lowprec_dy;

typedef struct sb_lowprec_options {
  bool stochastic;           /* dY in fp4 is rounded stochastically */
  bool stochastic_fp8;       /* so is dY in fp8 */
  sb_scale_rule mxfp4_scale; /* SB_SCALE_FLOOR, CEIL, EVEN or UP */
  bool nvfp4_two_scales;
  bool nvfp4_hadamard;     /* on both operands of wgrad */
  bool fp8_128_f32_scales; /* not down to a power of two */
  sb_lowprec_dy fp8_dy;
} sb_lowprec_options;

/* Stochastic fp4, floor, one scale, Hadamard, powers of two, the usual dY. */
sb_lowprec_options sb_lowprec_options_default(void);

/* The rule by which `precision` rounds `operand` for `gemm`, of which it must be an operand. fprop
 * and dgrad have one rule for W, but in mxfp8 and mxfp4, whose blocks lie along the summed
 * dimension: there W has a copy for each, coded from the source. O(1). */
sb_lowprec_rule sb_lowprec_rule_of(sb_precision precision, sb_lowprec_operand operand,
                                   sb_gemm_kind gemm, const sb_lowprec_options *options);
/* Whether two rules give the same result for the same matrix and key. */
bool sb_lowprec_rules_equal(const sb_lowprec_rule *a, const sb_lowprec_rule *b);

/* Whether decoded values are bf16 numbers, if scales of the whole tensor are left to the product
 * (sb_lowprec_args.tensor_scale). Then a bf16 GEMM with f32 sums multiplies them exactly. Numbers
 * below 2^-126 aside. */
bool sb_lowprec_fits_bf16(const sb_lowprec_rule *rule);

#endif
