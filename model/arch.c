#include "model/arch.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* ---- the table from a family ---- */

static sb_status broken(const sb_arch *a, const char *name, const char *what) {
  return sb_fail(SB_ERR_INTERNAL, "%s: %s of %s", name, what, a->family->architecture);
}

static void add_outside(sb_arch *a, sb_role role, const char *name, size_t dims, size_t rows) {
  sb_model_tensor *t = &a->tensors[a->count++];
  *t = (sb_model_tensor){.role = role,
                         .layer = SB_NONE,
                         .dims = dims,
                         .rows = rows,
                         .cols = a->config.hidden,
                         .matrix = SB_NONE,
                         .input = SB_NONE,
                         .expert = SB_NO_EXPERT};
  snprintf(t->name, sizeof t->name, "%s", name);
}

/* A matrix may share an input that its layer has, of equal width, or begin the next. */
static sb_status number_matrix(sb_arch *a, size_t layer, const sb_matrix_spec *spec,
                               sb_model_tensor *t) {
  const size_t inputs = a->input_count - a->layers[layer].first_input;
  t->is_linear = true;
  t->matrix = a->matrix_count - a->layers[layer].first_matrix;
  t->input = spec->input;
  t->expert = spec->expert;
  if (spec->input > inputs) return broken(a, t->name, "an input is left out in the table");
  if (spec->input == inputs) {
    a->inputs[a->input_count++] =
        (sb_arch_input){.width = t->cols, .first_matrix = t->matrix, .first_channel = a->channels};
    a->channels += t->cols;
  } else if (a->inputs[a->layers[layer].first_input + spec->input].width != t->cols) {
    return broken(a, t->name, "an input has two widths in the table");
  }
  a->matrices[a->matrix_count++] = a->count;
  return SB_OK;
}

static sb_status add_tensor(sb_arch *a, size_t layer, const sb_layer_tensor *spec) {
  const char *name = spec->is_matrix ? spec->matrix.name : spec->vector.name;
  sb_model_tensor *t = &a->tensors[a->count];
  *t = (sb_model_tensor){.role = spec->role,
                         .layer = layer,
                         .dims = spec->is_matrix ? 2 : 1,
                         .rows = spec->is_matrix ? spec->matrix.rows : 1,
                         .cols = spec->is_matrix ? spec->matrix.cols : spec->vector.size,
                         .matrix = SB_NONE,
                         .input = SB_NONE,
                         .expert = SB_NO_EXPERT};
  const int n = snprintf(t->name, sizeof t->name, "%s.%zu.%s", a->family->layers, layer, name);
  if (n >= (int)sizeof t->name) return broken(a, name, "a name is too long in the table");
  if (spec->is_matrix) SB_TRY(number_matrix(a, layer, &spec->matrix, t));
  a->count++;
  return SB_OK;
}

static sb_status add_layer(sb_arch *a, size_t layer) {
  sb_layer_tensor spec;
  a->layers[layer] = (sb_arch_layer){a->count, a->matrix_count, a->input_count};
  for (size_t i = 0; a->family->tensor(&a->config, layer, i, &spec); i++)
    SB_TRY(add_tensor(a, layer, &spec));
  a->layers[layer + 1] = (sb_arch_layer){a->count, a->matrix_count, a->input_count};
  a->most_matrices = sb_max_size(a->most_matrices, sb_arch_matrices(a, layer));
  a->most_inputs = sb_max_size(a->most_inputs, sb_arch_inputs(a, layer));
  return SB_OK;
}

/* Tensors and matrices of all layers; there are at most as many inputs as matrices. */
static sb_status allocate(sb_arch *a, size_t outside) {
  size_t tensors = outside, matrices = 0;
  sb_layer_tensor spec;
  for (size_t layer = 0; layer < a->config.layers; layer++)
    for (size_t i = 0; a->family->tensor(&a->config, layer, i, &spec); i++) {
      tensors++;
      matrices += spec.is_matrix;
    }
  SB_TRY(sb_alloc(&a->tensors, tensors, sizeof *a->tensors, "list of tensors"));
  SB_TRY(sb_alloc(&a->layers, a->config.layers + 1, sizeof *a->layers, "list of tensors"));
  SB_TRY(sb_alloc(&a->matrices, matrices, sizeof *a->matrices, "list of matrices"));
  return sb_alloc(&a->inputs, matrices, sizeof *a->inputs, "list of inputs");
}

static sb_status count_parameters(sb_arch *a) {
  for (size_t i = 0; i < a->count; i++) {
    const sb_model_tensor *t = &a->tensors[i];
    const size_t elements = t->rows * t->cols; /* below 2^46: sb_config's ranges */
    if (!sb_add_size(a->parameters, elements, &a->parameters))
      return sb_fail(SB_ERR_FORMAT, "the number of parameters overflows 64 bits at %s", t->name);
    if (t->is_linear) a->linear_parameters += elements;
  }
  return SB_OK;
}

static sb_status fill(sb_arch *a) {
  const sb_family *f = a->family;
  const sb_config *c = &a->config;
  SB_TRY(allocate(a, c->tie_embeddings ? 2 : 3));
  add_outside(a, SB_ROLE_EMBED, f->embedding, 2, c->vocab);
  add_outside(a, SB_ROLE_FINAL_NORM, f->final_norm, 1, 1);
  if (!c->tie_embeddings) add_outside(a, SB_ROLE_LM_HEAD, f->head, 2, c->vocab);
  for (size_t layer = 0; layer < c->layers; layer++) SB_TRY(add_layer(a, layer));
  return count_parameters(a);
}

sb_status sb_arch_create_of(const sb_family *family, const sb_config *config, sb_arch *out) {
  *out = (sb_arch){.config = *config, .family = family};
  const sb_status status = fill(out);
  if (status != SB_OK) sb_arch_free(out);
  return status;
}

sb_status sb_arch_create(const sb_config *config, sb_arch *out) {
  const sb_family *family = sb_family_find(config->architecture);
  *out = (sb_arch){0};
  if (!family)
    return sb_fail(SB_ERR_UNSUPPORTED, "architecture %s is not supported", config->architecture);
  return sb_arch_create_of(family, config, out);
}

void sb_arch_free(sb_arch *arch) {
  sb_free(&arch->tensors);
  sb_free(&arch->layers);
  sb_free(&arch->matrices);
  sb_free(&arch->inputs);
  arch->count = 0;
}

/* ---- looking up ---- */

size_t sb_arch_find(const sb_arch *arch, sb_role role, size_t layer, size_t expert) {
  if (role == SB_ROLE_LM_HEAD && arch->config.tie_embeddings) role = SB_ROLE_EMBED;
  const bool outside = role <= SB_ROLE_LM_HEAD;
  const size_t first = outside ? 0 : arch->layers[layer].first_tensor,
               end = arch->layers[outside ? 0 : layer + 1].first_tensor;
  for (size_t i = first; i < end; i++)
    if (arch->tensors[i].role == role && arch->tensors[i].expert == expert) return i;
  return SB_NONE;
}

size_t sb_arch_most_rows(const sb_arch *arch, sb_role role) {
  size_t most = 0;
  for (size_t i = 0; i < arch->count; i++)
    if (arch->tensors[i].role == role) most = sb_max_size(most, arch->tensors[i].rows);
  return most;
}

size_t sb_arch_most_cols(const sb_arch *arch, sb_role role) {
  size_t most = 0;
  for (size_t i = 0; i < arch->count; i++)
    if (arch->tensors[i].role == role) most = sb_max_size(most, arch->tensors[i].cols);
  return most;
}

/* ---- work ---- */

/* Of the matrices of a layer, and of its attention: one forward pass. */
static void layer_flops(const sb_arch *arch, size_t layer, double T, double *products,
                        double *attention) {
  *products = *attention = 0;
  for (size_t i = 0; i < sb_arch_matrices(arch, layer); i++) {
    const sb_model_tensor *t = sb_arch_matrix(arch, layer, i);
    *products += 2.0 * T * (double)(t->rows * t->cols);
    if (t->role == SB_ROLE_Q) *attention += 4.0 * (double)t->rows * T * (T + 1.0) / 2.0;
  }
}

double sb_arch_layer_forward_flops(const sb_arch *arch, size_t layer, size_t T) {
  double products, attention;
  layer_flops(arch, layer, (double)T, &products, &attention);
  return products + attention;
}

double sb_arch_layer_gradient_flops(const sb_arch *arch, size_t layer, size_t T) {
  double products, attention;
  layer_flops(arch, layer, (double)T, &products, &attention);
  return 4.0 * products + 4.5 * attention;
}

static double head_flops(const sb_config *c, double T) {
  return 2.0 * T * (double)c->vocab * (double)c->hidden;
}

double sb_arch_forward_flops(const sb_arch *arch, size_t T) {
  double flops = head_flops(&arch->config, (double)T);
  for (size_t layer = 0; layer < arch->config.layers; layer++)
    flops += sb_arch_layer_forward_flops(arch, layer, T);
  return flops;
}

double sb_arch_gradient_flops(const sb_arch *arch, size_t T) {
  double flops = 3.0 * head_flops(&arch->config, (double)T);
  for (size_t layer = 0; layer < arch->config.layers; layer++)
    flops += sb_arch_layer_gradient_flops(arch, layer, T);
  return flops;
}
