#include "config/fields.h"

// The client's section quant: how tensors cross.

namespace amaq::config {
namespace {

FieldList MethodFields(QuantConfig* c) {
  return {
      {.key = "quant.method",
       .target = &c->method,
       .help =
           "How activations and gradients cross: none (wire.dtype as it is), fixed (one width), "
           "linear (one falling width), waterfill (widths from one calibration pass), group "
           "(a range for each group of channels of a token), aqsgd (the difference from a "
           "record's last visit), tahquant (tiles of 32 channels, some transformed), amaq "
           "(learned widths per channel), amaq-delta (amaq on aqsgd's difference), amaq-rd (a "
           "transform, one step size and entropy coding: no widths).",
       .names = "none fixed linear waterfill group aqsgd tahquant amaq amaq-delta amaq-rd",
       .flag = "--quant-method"},
      {.key = "quant.budget_bits",
       .target = &c->budget_bits,
       .help = "Bits a value that may cross, everything counted, the mean of both ways: decides "
               "method, target_bits, schedule, gradient.method and gradient.target_bits (amaq-rd "
               "from the first step on, two thirds of the bits for activations; docs/quality.md "
               "says why), and axis, gradient.bits and gradient.bits_offset as their defaults. 0: "
               "they are set one by one.",
       .min = 0,
       .max = 6,
       .unit = "bits",
       .flag = "--budget-bits"},
      {.key = "quant.bits",
       .target = &c->bits,
       .help = "Width of every channel with method fixed (2 to 8), group (2 to 8) and aqsgd (1 to "
               "8), and of four tokens in five with tahquant (3 to 8; the fifth has one less).",
       .min = 1,
       .max = 8,
       .unit = "bits",
       .flag = "--bits"},
      {.key = "quant.group_size",
       .target = &c->group_size,
       .help = "Method group: channels of a token that share a range; a multiple of 8.",
       .min = 32,
       .max = 128,
       .unit = "channels"},
      {.key = "quant.cache_bytes",
       .target = &c->cache_bytes,
       .help = "Methods aqsgd and amaq-delta: disk space at each party for what was last sent of "
               "each record (2 bytes a token and channel); records beyond it cross as bf16 each "
               "time.",
       .min = 1 << 20,
       .max = 1e15,
       .unit = "bytes"},
      {.key = "quant.cache_dir",
       .target = &c->cache_dir,
       .help = "Folder of the client's cache file, which has no name and goes with the run; empty: "
               "amaq-cache below the working directory.",
       .example = "../out/cache",
       .is_path = true},
      {.key = "quant.target_bits",
       .target = &c->target_bits,
       .help = "Mean width per channel at the end of the adaptation; amaq needs more than b_min. "
               "With amaq-rd bits an element on the wire, which may be fewer than 2.",
       .min = 0.1,
       .max = 8,
       .unit = "bits",
       .flag = "--target-bits"},
      {.key = "quant.b_min",
       .target = &c->b_min,
       .help = "No channel gets fewer.",
       .min = 2,
       .max = 8,
       .unit = "bits"},
      {.key = "quant.b_max",
       .target = &c->b_max,
       .help = "No channel gets more.",
       .min = 2,
       .max = 8,
       .unit = "bits"},
      {.key = "quant.b_start",
       .target = &c->b_start,
       .help = "Mean width at the first step; amaq needs less than b_max.",
       .min = 2,
       .max = 8,
       .unit = "bits"},
      {.key = "quant.schedule",
       .target = &c->schedule,
       .help = "How the target falls from b_start to target_bits (reached at 0.8 of the "
               "adaptation).",
       .names = "cosine linear constant"},
      {.key = "quant.adapt_ratio",
       .target = &c->adapt_ratio,
       .help = "Length of the adaptation, after which the widths freeze, as a share of all steps.",
       .min = 0,
       .max = 1},
      {.key = "quant.adapt_steps",
       .target = &c->adapt_steps,
       .help = "The same in optimizer steps; 0: from adapt_ratio.",
       .min = 0,
       .max = kMaxSteps,
       .unit = "steps"},
      {.key = "quant.axis",
       .target = &c->axis,
       .help = "What a width belongs to: a channel, or a token's position in its sequence "
               "(data.max_length of them, later ones have the last one's; methods fixed, linear, "
               "waterfill and amaq).",
       .names = "channel token"},
      {.key = "quant.range",
       .target = &c->range,
       .help = "A channel's range within a message: its minimum and maximum, +- the largest "
               "magnitude, the values within range_percentile, the clip with the least mean "
               "absolute error (mae, slow), or a prediction from the last steps (delayed).",
       .names = "minmax absmax percentile mae delayed"},
      {.key = "quant.range_percentile",
       .target = &c->range_percentile,
       .help = "Share of a channel's values that range: percentile keeps, half of the rest is "
               "clipped at each end.",
       .min = 50,
       .max = 100,
       .unit = "percent"},
      {.key = "quant.range_margin",
       .target = &c->range_margin,
       .help = "Factor by which range: delayed widens the widest range of the last 8 steps.",
       .min = 1,
       .max = 100},
      {.key = "quant.range_max_clipped",
       .target = &c->range_max_clipped,
       .help = "Share of a channel's values that range: delayed may clip; a channel with more of "
               "them in a message takes its minimum and maximum there.",
       .min = 0,
       .max = 1},
      {.key = "quant.sink_tokens",
       .target = &c->sink_tokens,
       .help = "First tokens of each sequence that cross as bf16, because their outliers would set "
               "the ranges; with method amaq-rd they are coded about a mean of their own.",
       .min = 0,
       .max = 1,
       .unit = "tokens"},
      {.key = "quant.nested",
       .target = &c->nested,
       .help = "Make the activation's codes at 8 bits and shift them down to their widths, so that "
               "fewer bits are a part of more."},
  };
}

FieldList RdFields(RdConfig* c) {
  return {
      {.key = "quant.rd.transform",
       .target = &c->transform,
       .help = "Method amaq-rd: what activations go through first: eigen (the directions of a "
               "calibration pass over training records; with fewer tokens than channels: none), "
               "none, or hadamard.",
       .names = "none eigen hadamard"},
      {.key = "quant.rd.dead_zone",
       .target = &c->dead_zone,
       .help = "Method amaq-rd: how much of a step more than half of it a value must have to be "
               "rounded away from 0. Gradients by rd: 0.15 with gradient.rounding: nearest.",
       .min = 0,
       .max = 0.49,
       .unit = "steps"},
      {.key = "quant.rd.memory",
       .target = &c->memory,
       .help = "Method amaq-rd: send a row as the difference to the mean of rows like it that were "
               "sent before."},
      {.key = "quant.rd.fit_tokens",
       .target = &c->fit_tokens,
       .help = "Method amaq-rd: length of the calibration pass, at most once over the training "
               "records; 0: 60 times the model's hidden size.",
       .min = 0,
       .max = 1e12,
       .unit = "tokens"},
  };
}

FieldList GateFields(QuantConfig* c) {
  return {
      {.key = "quant.gate.update",
       .target = &c->gate.update,
       .help = "How the gate Q learns: newton (damped step towards water-filling at this moment's "
               "target) or adam (bit penalty, the plain reading of the paper).",
       .names = "newton adam"},
      {.key = "quant.gate.grad",
       .target = &c->gate.grad,
       .help =
           "adam's gradient of the task loss: ste (straight-through) or fisher (its expectation "
           "under uniform rounding error).",
       .names = "ste fisher"},
      {.key = "quant.gate.freeze",
       .target = &c->gate.freeze,
       .help =
           "Sensitivities that decide the integer widths at the freeze: measured, or those that "
           "the gate implies.",
       .names = "measured gate"},
      {.key = "quant.gate.alpha",
       .target = &c->gate.alpha,
       .help = "Scale of Q inside the sigmoid.",
       .min = 0.001,
       .max = 1000},
      {.key = "quant.gate.penalty",
       .target = &c->gate.penalty,
       .help =
           "adam's price of bits: hinge (their mean where it is over the target), mean (always), "
           "dual (mean, at a weight that follows the distance to the target).",
       .names = "hinge mean dual"},
      {.key = "quant.gate.penalty_beta",
       .target = &c->gate.penalty_beta,
       .help = "Weight of the penalties hinge and mean; dual finds its own.",
       .min = 0,
       .max = 1e6},
      {.key = "quant.gradient.method",
       .target = &c->gradient.method,
       .help = "How gradients cross: same (codes of quant.gradient.bits; with amaq-rd as rd, at "
               "quant.target_bits) or rd (one step size, "
               "entropy-coded at quant.gradient.target_bits bits a value; with every "
               "quant.method; quant.gradient.bits and wire.entropy do not apply).",
       .names = "same rd"},
      {.key = "quant.gradient.bits",
       .target = &c->gradient.bits,
       .help = "Widths of the gradient: those of the same micro-batch's activation, one width, or "
               "own (the server fits them to the gradient's ranges).",
       .names = "same own 2 3 4 5 6 7 8",
       .unit = "bits"},
      {.key = "quant.gradient.target_bits",
       .target = &c->gradient.target_bits,
       .help = "Mean width of the gradient at the end of the adaptation with bits: own; bits a "
               "value, all sections counted, with method: rd.",
       .min = 0.05,
       .max = 8,
       .unit = "bits"},
      {.key = "quant.gradient.bits_offset",
       .target = &c->gradient.bits_offset,
       .help = "Added to each width with bits: same (the result stays within 2 to 8).",
       .min = -6,
       .max = 6,
       .unit = "bits"},
      {.key = "quant.gradient.rounding",
       .target = &c->gradient.rounding,
       .help = "Rounding of the gradient's codes; stochastic keeps it unbiased.",
       .names = "stochastic nearest"},
  };
}

}  // namespace

FieldList QuantFields(QuantConfig* config) {
  FieldList list = MethodFields(config);
  for (const FieldList& more : {RdFields(&config->rd), GateFields(config)}) {
    list.insert(list.end(), more.begin(), more.end());
  }
  return list;
}

}  // namespace amaq::config
