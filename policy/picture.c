#include "policy/picture.h"

#include "policy/kinds.h"
#include "policy/text_file.h"

enum { LEFT = 96, TOP = 40, WIDE = 18, HIGH = 18, GAP = 2, BELOW = 28, LEGEND = 96 };

/* Of Okabe and Ito's palette: high grey, fp8 blues and greens, fp4 oranges. */
static const char *const colours[SB_PRECISION_COUNT] = {
    [SB_PRECISION_HIGH] = "#bdbdbd",    [SB_PRECISION_FP8_TENSOR] = "#56b4e9",
    [SB_PRECISION_FP8_128] = "#0072b2", [SB_PRECISION_MXFP8] = "#009e73",
    [SB_PRECISION_MXFP4] = "#f0e442",   [SB_PRECISION_NVFP4] = "#e69f00",
    [SB_PRECISION_FP4_128] = "#d55e00"};

/* Names come from files. */
static void put_text(FILE *to, const char *text) {
  for (; *text; text++) switch (*text) {
    case '<':
      fputs("&lt;", to);
      break;
    case '&':
      fputs("&amp;", to);
      break;
    case '"':
      fputs("&quot;", to);
      break;
    default:
      fputc((unsigned char)*text < ' ' ? '?' : *text, to);
    }
}

static void put_cell(FILE *to, const sb_linear *linear, size_t kind,
                     const sb_policy_choice *choice) {
  const size_t x = LEFT + linear->layer * (WIDE + GAP), y = TOP + kind * (HIGH + GAP);
  const bool uniform = sb_policy_choice_is_uniform(choice);
  const int strips = uniform ? 1 : SB_GEMM_KINDS;
  fputs("<g><title>", to);
  put_text(to, linear->name);
  for (int g = 0; g < SB_GEMM_KINDS; g++)
    fprintf(to, "%s%s", g ? " / " : ": ", sb_precision_names[choice->gemm[g]]);
  fputs("</title>", to);
  for (int g = 0; g < strips; g++)
    fprintf(to, "<rect x=\"%zu\" y=\"%zu\" width=\"%d\" height=\"%d\" fill=\"%s\"/>", x,
            y + (size_t)(g * HIGH / strips), WIDE, HIGH / strips, colours[choice->gemm[g]]);
  fputs("</g>\n", to);
}

/* The names of what is in the policy, with its share of the FLOPs. */
static void put_legend(FILE *to, const sb_policy *policy, size_t y) {
  bool in[SB_PRECISION_COUNT] = {false};
  size_t x = LEFT;
  for (size_t i = 0; i < policy->model.count; i++)
    for (int g = 0; g < SB_GEMM_KINDS; g++) in[policy->choices[i].gemm[g]] = true;
  for (int p = 0; p < SB_PRECISION_COUNT; p++) {
    if (!in[p]) continue;
    fprintf(to, "<rect x=\"%zu\" y=\"%zu\" width=\"12\" height=\"12\" fill=\"%s\"/>", x, y,
            colours[p]);
    fprintf(to, "<text x=\"%zu\" y=\"%zu\">%s</text>\n", x + 16, y + 10, sb_precision_names[p]);
    x += LEGEND;
  }
}

static void draw(FILE *to, const sb_policy *policy, const sb_kinds *kinds) {
  const size_t layers = policy->model.layers, bottom = TOP + kinds->count * (HIGH + GAP);
  size_t width = LEFT + layers * (WIDE + GAP) + 16;
  if (width < LEFT + 4 * LEGEND) width = LEFT + 4 * LEGEND;
  fprintf(to,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%zu\" height=\"%zu\" "
          "font-family=\"sans-serif\" font-size=\"11\">\n"
          "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
          width, bottom + BELOW + 24);
  fprintf(to, "<text x=\"%d\" y=\"20\">%.1f%% of FLOPs in FP4, %.1f%% in FP8; by layer</text>\n",
          LEFT, 100 * sb_policy_share(policy, 4), 100 * sb_policy_share(policy, 8));
  for (size_t k = 0; k < kinds->count; k++) {
    fprintf(to, "<text x=\"%d\" y=\"%zu\" text-anchor=\"end\">", LEFT - 8,
            TOP + k * (HIGH + GAP) + 13);
    put_text(to, kinds->name[k]);
    fputs("</text>\n", to);
  }
  for (size_t layer = 0; layer<layers; layer += layers> 20 ? 5 : 1)
    fprintf(to, "<text x=\"%zu\" y=\"%d\" text-anchor=\"middle\">%zu</text>\n",
            LEFT + layer * (WIDE + GAP) + WIDE / 2, TOP - 6, layer);
  for (size_t i = 0; i < policy->model.count; i++)
    put_cell(to, &policy->model.linears[i], kinds->of[i], &policy->choices[i]);
  put_legend(to, policy, bottom + BELOW - 12);
  fputs("</svg>\n", to);
}

sb_status sb_picture_write(const char *path, const sb_policy *policy) {
  sb_text_file file;
  sb_kinds kinds;
  SB_TRY(sb_kinds_create(&policy->model, &kinds));
  sb_status status = sb_text_file_begin(&file);
  if (status == SB_OK) {
    draw(file.out, policy, &kinds);
    status = sb_text_file_end(&file, path);
  }
  sb_kinds_free(&kinds);
  return status;
}
