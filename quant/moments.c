#include "quant/moments.h"

#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "mpi/large.h"
#include "quant/moments_impl.h"

const char *const sb_factor_mode_names[] = {[SB_FACTOR_AUTO] = "auto",
                                            [SB_FACTOR_REPLICATED] = "replicated",
                                            [SB_FACTOR_DISTRIBUTED] = "distributed",
                                            [SB_FACTOR_DISTRIBUTED_SINGLE] = "distributed-single",
                                            NULL};

size_t sb_moments_width(const sb_moments *m, size_t input) {
  return m->in[input].width;
}

sb_factor_mode sb_moments_mode(const sb_moments *m) {
  return m->setup.mode;
}

static const char *name_of(const sb_moments *m, size_t input) {
  const sb_arch *arch = &m->setup.model->arch;
  const size_t first = sb_arch_input_of(arch, m->layer, input)->first_matrix;
  return sb_role_name(sb_arch_matrix(arch, m->layer, first)->role);
}

sb_status sb_moments_blame(const sb_moments *m, size_t input, sb_status status,
                           const char *message) {
  if (m->given)
    return sb_fail(status, "%s: %s; check the model and the calibration tokens", m->given, message);
  return sb_fail(status, "layer %zu, %s: %s; check the model and the calibration tokens", m->layer,
                 name_of(m, input), message);
}

sb_status sb_moments_blame_sum(const sb_moments *m, size_t input, sb_status status) {
  if (status != SB_ERR_NUMERIC) return status;
  return sb_fail(
      SB_ERR_NUMERIC,
      "layer %zu: the inputs of %s differ too much between calibration sequences to be added up "
      "(or are not finite); check the model and the tokens",
      m->layer, name_of(m, input));
}

size_t sb_moments_room(const sb_backend *backend) {
  return backend->unified ? SB_MOMENT_HOST_ROOM : backend->free_bytes / SB_MOMENT_DEVICE_SHARE;
}

sb_factor_mode sb_moments_settle(sb_factor_mode mode, size_t widest, size_t room) {
  size_t square, bytes;
  if (mode != SB_FACTOR_AUTO) return mode;
  const bool fits = sb_mul_size(widest, widest, &square) && sb_mul_size(square, 24, &bytes);
  return fits && bytes <= room ? SB_FACTOR_REPLICATED : SB_FACTOR_DISTRIBUTED;
}

static const sb_moments_way *way_of(sb_factor_mode mode) {
  return mode == SB_FACTOR_REPLICATED ? &sb_moments_replicated : &sb_moments_block_cyclic;
}

size_t sb_moments_bytes(const sb_moments_setup *setup, const sb_sizes *sizes) {
  return sizeof(sb_moments) + sb_moments_inputs(setup, sizes->arch) * sizeof(sb_moments_input) +
         way_of(setup->mode)->bytes(setup, sizes);
}

size_t sb_moments_factor_bytes(const sb_moments_setup *setup, const sb_sizes *sizes, int threads) {
  return way_of(setup->mode)->factor_bytes(setup, sizes, threads);
}

size_t sb_moments_inputs(const sb_moments_setup *setup, const sb_arch *arch) {
  return setup->width > 0 ? 1 : arch->most_inputs;
}

size_t sb_moments_widest(const sb_moments_setup *setup, const sb_arch *arch, size_t input) {
  size_t widest = 0;
  if (setup->width > 0) return setup->width;
  for (size_t layer = 0; layer < arch->config.layers; layer++)
    if (input < sb_arch_inputs(arch, layer))
      widest = sb_max_size(widest, sb_arch_input_of(arch, layer, input)->width);
  return widest;
}

static sb_status allocate_inputs(sb_moments *m) {
  const sb_arch *arch = &m->setup.model->arch;
  m->inputs = m->most_inputs = sb_moments_inputs(&m->setup, arch);
  SB_TRY(sb_alloc(&m->in, m->most_inputs, sizeof *m->in, "second moments"));
  for (size_t i = 0; i < m->most_inputs; i++)
    m->in[i].room = m->in[i].width = sb_moments_widest(&m->setup, arch, i);
  return m->way->allocate(m);
}

static void release(sb_moments *m) {
  if (m->in) m->way->release(m);
  sb_free(&m->in);
}

/* In one of the ways; earlier contents are forgotten. Collective. */
static sb_status allocate(sb_moments *m, const sb_moments_setup *setup, sb_factor_mode mode) {
  *m = (sb_moments){.setup = *setup, .world = setup->model->world, .way = way_of(mode)};
  m->setup.mode = mode;
  return sb_world_agree(m->world, allocate_inputs(m));
}

sb_status sb_moments_create(const sb_moments_setup *setup, sb_moments **out) {
  const sb_world *world = setup->model->world;
  sb_backend *b = setup->backend;
  const sb_arch *arch = &setup->model->arch;
  size_t widest = 0;
  for (size_t i = 0; i < sb_moments_inputs(setup, arch); i++)
    widest = sb_max_size(widest, sb_moments_widest(setup, arch, i));
  const sb_factor_mode mode = sb_moments_settle(setup->mode, widest, sb_moments_room(b));
  SB_TRY(sb_world_alloc(world, out, sizeof **out,
                        "second moments")); /* small: it is the machine that is full */
  sb_status status = allocate(*out, setup, mode);
  /* a device tells what it does not have */
  if (status == SB_ERR_MEMORY && setup->mode == SB_FACTOR_AUTO && mode == SB_FACTOR_REPLICATED &&
      !b->unified) {
    sb_log_line("memory       second moments are spread over ranks from here on: %s", sb_message());
    release(*out);
    status = allocate(*out, setup, SB_FACTOR_DISTRIBUTED);
  }
  if (status != SB_OK) sb_moments_free(out);
  return status;
}

void sb_moments_free(sb_moments **moments) {
  sb_moments *m = *moments;
  if (!m) return;
  release(m);
  sb_free(moments);
}

sb_status sb_moments_begin(sb_moments *m, sb_stream stream, size_t layer) {
  const sb_arch *arch = &m->setup.model->arch;
  m->layer = layer;
  m->inputs = sb_arch_inputs(arch, layer);
  for (size_t i = 0; i < m->inputs; i++) m->in[i].width = sb_arch_input_of(arch, layer, i)->width;
  return m->way->begin(m, stream);
}

sb_status sb_moments_take(void *moments, sb_stream stream, size_t input, const void *x) {
  sb_moments *m = moments;
  return m->way->take(m, stream, input, x);
}

/* Sequence 0 sets the quanta: 2^-40 of its largest diagonal element, which leaves room for sums
 * 2^22 times as large. */
static sb_status settle_quanta(sb_moments *m, sb_stream stream) {
  sb_status status = SB_OK;
  for (size_t i = 0; i < m->inputs; i++) m->in[i].largest = 0;
  for (size_t i = 0; i < m->inputs && m->world->rank == 0 && status == SB_OK; i++)
    status = m->way->largest(m, stream, i, &m->in[i].largest);
  SB_AGREE(m->world, status);
  for (size_t i = 0; i < m->inputs; i++) {
    sb_moments_input *in = &m->in[i];
    int exponent = 0;
    SB_TRY(sb_mpi_bcast(&in->largest, sizeof in->largest, 0, m->world->comm));
    if (in->largest > 0 && isfinite(in->largest)) frexp(in->largest, &exponent);
    in->quantum = ldexp(1.0, exponent - 40);
  }
  return SB_OK;
}

sb_status sb_moments_end_sequence(sb_moments *m, sb_stream stream, size_t s, sb_status status) {
  SB_AGREE(m->world, status);
  if (s == 0) SB_TRY(settle_quanta(m, stream));
  return m->way->add(m, stream, s);
}

/* Quanta as fine as those of sequences: 2^-40 of the largest element, which is on the diagonal. */
static sb_status settle_quantum(sb_moments *m, const double *h) {
  const size_t n = m->in[0].width;
  double largest = 0, sum = 0;
  int exponent = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = i; j < n; j++) {
      largest = fmax(largest, fabs(h[i * n + j]));
      sum += h[i * n + j]; /* sees NaN, which fmax passes over */
    }
  if (!isfinite(sum) || !isfinite(largest))
    return sb_moments_blame(m, 0, SB_ERR_NUMERIC, "its second moments are not finite");
  if (largest > 0) frexp(largest, &exponent);
  m->in[0].quantum = ldexp(1.0, exponent - 40);
  return SB_OK;
}

sb_status sb_moments_give(sb_moments *m, sb_stream stream, const double *h, const char *what) {
  m->given = what;
  sb_status status = settle_quantum(m, h);
  SB_THEN(m->way->give(m, stream, h));
  return sb_world_agree(m->world, status);
}

sb_status sb_moments_factorise(sb_moments *m, sb_stream stream, sb_moments_repair *repair) {
  for (size_t i = 0; i < m->inputs; i++) m->in[i].repair = (sb_factor_repair){0};
  SB_TRY(m->way->factorise(m, stream));
  for (size_t i = 0; i < m->inputs; i++) {
    repair->repaired += m->in[i].repair.damping > m->setup.damping;
    repair->dead += m->in[i].repair.dead;
  }
  return SB_OK;
}

bool sb_moments_on_device(const sb_moments *m) {
  return m->way == &sb_moments_replicated;
}

sb_status sb_moments_panel(sb_moments *m, size_t input, size_t begin, size_t *end,
                           const float **panel, size_t *ld) {
  return m->way->panel(m, input, begin, end, panel, ld);
}

sb_status sb_moments_rows(sb_moments *m, size_t input, size_t begin, size_t *end,
                          const float **panel) {
  return m->way->rows(m, input, begin, end, panel);
}
