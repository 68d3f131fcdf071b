#include "pass/layer.h"

#include "base/memory.h"
#include "pass/attention.h"
#include "pass/mlp.h"

struct sb_layer_work {
  sb_backend *backend;
  bool borrows; /* all but the kept buffers belong to another work */
  sb_attention_work attention;
  sb_mlp_work mlp;
  /* forward; the backward pass reads them after recomputation */
  void *n1, *x1, *n2;
  float *rstd1, *rstd2;
  /* backward */
  void *dn, *dy_operand;
  float *g;
  /* an input, and an output or its gradient, in a matrix's stored order */
  void *input_room, *output_room;
};

enum { OWN_BUFFERS = 9, PARTS = 3 };

size_t sb_layer_widest_side(const sb_arch *arch) {
  size_t widest = 0;
  for (size_t i = 0; i < arch->matrix_count; i++) {
    const sb_model_tensor *t = &arch->tensors[arch->matrices[i]];
    widest = sb_max_size(widest, sb_max_size(t->rows, t->cols));
  }
  return widest;
}

/* `arch` NULL: their places only. */
static void own_buffers(const sb_arch *arch, sb_buffer out[OWN_BUFFERS]) {
  const size_t h = arch ? arch->config.hidden : 0, widest = arch ? sb_layer_widest_side(arch) : 0;
#define PLACE(field) offsetof(sb_layer_work, field)
  const sb_buffer table[OWN_BUFFERS] = {
      {PLACE(n1), h, .content = SB_BUFFER_OPERAND, .kept = true},
      {PLACE(x1), h, .content = SB_BUFFER_ACT, .kept = true},
      {PLACE(n2), h, .content = SB_BUFFER_OPERAND, .kept = true},
      {PLACE(rstd1), 1, .content = SB_BUFFER_F32, .kept = true},
      {PLACE(rstd2), 1, .content = SB_BUFFER_F32, .kept = true},
      {PLACE(dn), h, .backward = true},
      {PLACE(dy_operand), h, .content = SB_BUFFER_CONVERTED, .backward = true},
      {PLACE(input_room), widest, .ordered = true},
      {PLACE(output_room), widest, .ordered = true},
  };
#undef PLACE
  for (size_t i = 0; i < OWN_BUFFERS; i++) out[i] = table[i];
}

/* The tables of the layer and its parts, one after another. */
typedef struct tables {
  sb_buffer own[OWN_BUFFERS], attention[SB_ATTENTION_BUFFERS], mlp[SB_MLP_BUFFERS];
  struct {
    const sb_buffer *table;
    size_t count, place; /* of the part's pointers in sb_layer_work */
  } parts[PARTS];
} tables;

static void fill_tables(const sb_arch *arch, tables *t) {
  own_buffers(arch, t->own);
  sb_attention_buffers(arch, t->attention);
  sb_mlp_buffers(arch, t->mlp);
  t->parts[0].table = t->own, t->parts[0].count = OWN_BUFFERS, t->parts[0].place = 0;
  t->parts[1].table = t->attention, t->parts[1].count = SB_ATTENTION_BUFFERS;
  t->parts[1].place = offsetof(sb_layer_work, attention);
  t->parts[2].table = t->mlp, t->parts[2].count = SB_MLP_BUFFERS;
  t->parts[2].place = offsetof(sb_layer_work, mlp);
}

static size_t largest_matrix(const sb_arch *arch) {
  size_t largest = 0;
  for (size_t i = 0; i < arch->matrix_count; i++) {
    const sb_model_tensor *t = &arch->tensors[arch->matrices[i]];
    largest = sb_max_size(largest, t->rows * t->cols);
  }
  return largest;
}

static size_t bytes_of(const sb_arch *arch, const sb_buffer_needs *needs) {
  size_t bytes = 0;
  tables t;
  fill_tables(arch, &t);
  for (size_t i = 0; i < PARTS; i++)
    bytes += sb_buffers_bytes(t.parts[i].table, t.parts[i].count, needs);
  return bytes;
}

size_t sb_layer_work_bytes(sb_dtype act, sb_dtype operand, const sb_arch *arch, size_t T,
                           bool with_backward, bool ordered) {
  return bytes_of(arch, &(sb_buffer_needs){act, operand, T, with_backward, ordered, false});
}

size_t sb_layer_work_kept_bytes(sb_dtype act, sb_dtype operand, const sb_arch *arch, size_t T) {
  return bytes_of(arch, &(sb_buffer_needs){act, operand, T, false, false, true}) +
         sizeof(sb_layer_work);
}

sb_status sb_layer_work_create(sb_backend *backend, const sb_arch *arch, size_t T,
                               bool with_backward, bool ordered, sb_layer_work **out) {
  const sb_buffer_needs needs = {backend->act, backend->operand, T, with_backward, ordered, false};
  sb_status status = SB_OK;
  tables t;
  SB_TRY(sb_alloc(out, 1, sizeof **out, "layer scratch"));
  (*out)->backend = backend;
  fill_tables(arch, &t);
  for (size_t i = 0; i < PARTS; i++)
    SB_GO(sb_buffers_alloc(backend, t.parts[i].table, t.parts[i].count, &needs,
                           (char *)*out + t.parts[i].place));
  if (with_backward)
    SB_GO(backend->op->alloc(backend, largest_matrix(arch) * sizeof(float),
                             "gradient of one matrix", (void **)&(*out)->g));
done:
  if (status != SB_OK) sb_layer_work_free(out);
  return status;
}

/* The pointers of a table that are not kept become those of `from`; kept ones NULL. */
static void borrow(const sb_buffer *table, size_t count, void *to, const void *from) {
  for (size_t i = 0; i < count; i++) {
    void *const *source = (void *const *)((const char *)from + table[i].place);
    *(void **)((char *)to + table[i].place) = table[i].kept ? NULL : *source;
  }
}

sb_status sb_layer_work_create_kept(const sb_layer_work *base, const sb_arch *arch, size_t T,
                                    sb_layer_work **out) {
  sb_backend *b = base->backend;
  const sb_buffer_needs needs = {b->act, b->operand, T, false, false, true};
  sb_status status = SB_OK;
  tables t;
  SB_TRY(sb_alloc(out, 1, sizeof **out, "layer scratch"));
  **out = (sb_layer_work){.backend = b, .borrows = true, .g = base->g};
  fill_tables(arch, &t);
  for (size_t i = 0; i < PARTS; i++) {
    char *to = (char *)*out + t.parts[i].place;
    borrow(t.parts[i].table, t.parts[i].count, to, (const char *)base + t.parts[i].place);
    SB_GO(sb_buffers_alloc(b, t.parts[i].table, t.parts[i].count, &needs, to));
  }
done:
  if (status != SB_OK) sb_layer_work_free(out);
  return status;
}

/* Of a work that borrows, the kept buffers alone are its own. */
static void disown(const sb_buffer *table, size_t count, void *owner) {
  for (size_t i = 0; i < count; i++)
    if (!table[i].kept) *(void **)((char *)owner + table[i].place) = NULL;
}

void sb_layer_work_free(sb_layer_work **work) {
  sb_layer_work *w = *work;
  tables t;
  if (!w) return;
  fill_tables(NULL, &t);
  for (size_t i = 0; i < PARTS && w->borrows; i++)
    disown(t.parts[i].table, t.parts[i].count, (char *)w + t.parts[i].place);
  if (w->borrows) w->g = NULL;
  for (size_t i = 0; i < PARTS; i++)
    sb_buffers_free(w->backend, t.parts[i].table, t.parts[i].count, (char *)w + t.parts[i].place);
  w->backend->op->free(w->backend, w->g);
  sb_free(work);
}

static sb_layer_step step_of(const sb_layer_call *call, sb_layer_work *w, bool forward) {
  sb_coded_room_forget(call->coding);
  return (sb_layer_step){
      .call = call,
      .scope = {.backend = call->backend,
                .stream = call->stream,
                .T = call->T,
                .input_room_dev = w->input_room,
                .output_room_dev = w->output_room,
                .coding = call->coding,
                .key = call->key,
                .sequence = call->sequence},
      .forward_hooks = forward ? call->hooks : NULL,
      .g_dev = w->g,
  };
}

/* From x to what the MLP keeps for its backward pass: all that recomputation needs. */
static sb_status forward_to_mlp(const sb_layer_step *z, sb_layer_work *w, const void *x) {
  const sb_layer_call *call = z->call;
  const sb_config *c = call->config;
  sb_backend *b = call->backend;
  SB_TRY(b->op->rmsnorm(b, call->stream, w->n1, w->rstd1, x,
                        call->weights->vector_dev[SB_ROLE_INPUT_NORM], call->T, c->hidden,
                        (float)c->rms_eps));
  SB_TRY(b->op->copy(b, call->stream, w->x1, x, call->T * c->hidden * sb_dtype_size(b->act)));
  SB_TRY(sb_attention_forward(z, &w->attention, w->x1, w->n1));
  SB_TRY(b->op->rmsnorm(b, call->stream, w->n2, w->rstd2, w->x1,
                        call->weights->vector_dev[SB_ROLE_POST_NORM], call->T, c->hidden,
                        (float)c->rms_eps));
  return sb_mlp_begin(z, &w->mlp, w->n2);
}

sb_status sb_layer_forward(const sb_layer_call *call, sb_layer_work *w, void *y, const void *x) {
  const sb_layer_step z = step_of(call, w, true);
  sb_backend *b = call->backend;
  SB_TRY(forward_to_mlp(&z, w, x));
  SB_TRY(b->op->copy(b, call->stream, y, w->x1,
                     call->T * call->config->hidden * sb_dtype_size(b->act)));
  return sb_mlp_end(&z, &w->mlp, y);
}

/* One of the two norms on the way back. */
typedef struct norm_step {
  sb_role role;
  const void *x; /* what it was given */
  const float *rstd;
} norm_step;

/* dy becomes the gradient at x: what the norm lets through of dn, and the residual stream's own.
 * The gradient of the weights is made in g, where a hook asks for it. */
static sb_status norm_back(const sb_layer_call *call, sb_layer_work *w, void *dy,
                           const norm_step *norm) {
  const sb_layer_hooks *hooks = call->hooks;
  sb_backend *b = call->backend;
  const size_t h = call->config->hidden;
  float *g = hooks && hooks->norm ? w->g : NULL;
  if (g) SB_TRY(b->op->zero(b, call->stream, g, h * sizeof *g));
  SB_TRY(b->op->rmsnorm_back(b, call->stream, dy, g, w->dn, norm->x,
                             call->weights->vector_dev[norm->role], norm->rstd, call->T, h));
  return g ? hooks->norm(hooks->context, call->stream, norm->role, g) : SB_OK;
}

sb_status sb_layer_backward(const sb_layer_call *call, sb_layer_work *w, void *dy, const void *x,
                            bool kept) {
  const sb_layer_step z = step_of(call, w, false);
  if (!kept) SB_TRY(forward_to_mlp(&z, w, x));
  SB_TRY(sb_mlp_backward(&z, &w->mlp, w->dn, dy, w->dy_operand, w->n2));
  const norm_step mlp = {SB_ROLE_POST_NORM, w->x1, w->rstd2};
  SB_TRY(norm_back(call, w, dy, &mlp)); /* now d x1 */
  SB_TRY(sb_attention_backward(&z, &w->attention, w->dn, dy, w->dy_operand, w->n1));
  const norm_step attention = {SB_ROLE_INPUT_NORM, x, w->rstd1};
  return norm_back(call, w, dy, &attention);
}
