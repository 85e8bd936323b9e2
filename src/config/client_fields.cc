#include "config/fields.h"

// What a client's file may say. Ranges are those of the design, wide enough for any real run and
// narrow enough to catch a slipped digit.

namespace amaq::config {
namespace {

void Append(FieldList* list, FieldList more) {
  list->insert(list->end(), more.begin(), more.end());
}

FieldList ModelFields(ModelConfig* c) {
  return {
      {.key = "model.model_name_or_path",
       .target = &c->model_name_or_path,
       .help = "The base model: a folder in Hugging Face layout or a .gguf file; only this party's "
               "tensors are read.",
       .example = "../out/quickstart/model.gguf",
       .aliases = "model_name_or_path",
       .flag = "--model",
       .is_path = true,
       .required = true},
      {.key = "model.hub_name",
       .target = &c->hub_name,
       .help = "Name written as base_model_name_or_path into the adapter; empty: the path.",
       .example = "HuggingFaceTB/SmolLM2-135M-Instruct"},
      {.key = "model.dtype",
       .target = &c->dtype,
       .help = "Type that both parties compute in; the LoRA weights are fp32 in any case.",
       .names = "fp32 bf16"},
  };
}

FieldList SplitFields(SplitConfig* c) {
  return {
      {.key = "split.client_blocks",
       .target = &c->client_blocks,
       .help = "Where the model is cut: the client holds the embedding and this many blocks, the "
               "server the rest.",
       .min = 0,
       .max = 1024,
       .unit = "blocks",
       .example = "10",
       .flag = "--client-blocks",
       .required = true},
  };
}

FieldList LoraFields(LoraConfig* c) {
  return {
      {.key = "lora.r",
       .target = &c->r,
       .help = "Rank of the adapters.",
       .min = 1,
       .max = 1024,
       .aliases = "r lora_r lora_rank",
       .flag = "--lora-r"},
      {.key = "lora.lora_alpha",
       .target = &c->lora_alpha,
       .help = "Scale of the adapters: alpha / r, or alpha / sqrt(r) with use_rslora.",
       .min = 0.001,
       .max = 1e6,
       .aliases = "lora_alpha",
       .flag = "--lora-alpha"},
      {.key = "lora.lora_dropout",
       .target = &c->lora_dropout,
       .help = "Share of an adapter's input that is dropped in training.",
       .min = 0,
       .max = 0.95,
       .aliases = "lora_dropout"},
      {.key = "lora.use_rslora",
       .target = &c->use_rslora,
       .help = "Rank-stabilised scale, alpha / sqrt(r).",
       .aliases = "use_rslora"},
      {.key = "lora.target_modules",
       .target = &c->target_modules,
       .help = "Linear layers that get an adapter, by leaf name; all-linear: each of a block.",
       .example = "[q_proj, k_proj, v_proj, o_proj]",
       .aliases = "target_modules lora_target lora_target_modules",
       .flag = "--target-modules"},
      {.key = "lora.init_from",
       .target = &c->init_from,
       .help = "Folder of a PEFT adapter to start from; empty: fresh (A random, B zero). The "
               "server's half is sent to it.",
       .example = "../out/first-run/adapter",
       .aliases = "adapter_name_or_path",
       .flag = "--init-from",
       .is_path = true},
  };
}

FieldList QuantFields(QuantConfig* c) {
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
               "rounded away from 0.",
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

FieldList DataFields(DataConfig* c) {
  return {
      {.key = "data.train_file",
       .target = &c->train_file,
       .help = "Training records, JSON Lines.",
       .example = "../out/quickstart/data/train.jsonl",
       .aliases = "train_file",
       .flag = "--train-file",
       .is_path = true,
       .required = true},
      {.key = "data.eval_file",
       .target = &c->eval_file,
       .help = "Held-out records for the loss before and after; empty: no evaluation.",
       .example = "../out/quickstart/data/eval.jsonl",
       .aliases = "eval_file validation_file",
       .flag = "--eval-file",
       .is_path = true},
      {.key = "data.format",
       .target = &c->format,
       .help = "Shape of a record; auto: template if one is given, else by the first record's "
               "fields.",
       .names = "auto prompt-completion alpaca messages template"},
      {.key = "data.prompt_template",
       .target = &c->prompt_template,
       .help = "The prompt, with {field} for a record's field; not trained on.",
       .example = R"("Question: {question}\nAnswer:")"},
      {.key = "data.completion_template",
       .target = &c->completion_template,
       .help = "The completion, which the loss is taken over.",
       .example = R"(" {answer}")"},
      {.key = "data.append_eos",
       .target = &c->append_eos,
       .help = "Ends a completion with the end-of-sequence token and trains on it."},
      {.key = "data.max_length",
       .target = &c->max_length,
       .help = "Longer records are truncated (and counted).",
       .min = 2,
       .max = 131072,
       .unit = "tokens",
       .aliases = "max_length cutoff_len max_seq_length",
       .flag = "--max-length"},
      {.key = "data.max_train_records",
       .target = &c->max_train_records,
       .help = "Only the first records of train_file; 0: all.",
       .min = 0,
       .max = 1e12,
       .unit = "records",
       .aliases = "max_train_samples"},
      {.key = "data.max_eval_records",
       .target = &c->max_eval_records,
       .help = "Only the first records of eval_file; 0: all.",
       .min = 0,
       .max = 1e12,
       .unit = "records",
       .aliases = "max_eval_samples"},
      {.key = "data.on_bad_line",
       .target = &c->on_bad_line,
       .help = "A line that is no record ends the run (naming it) or is skipped and counted.",
       .names = "error skip"},
      {.key = "data.shuffle",
       .target = &c->shuffle,
       .help = "A new order each epoch, drawn from train.seed; false: file order."},
      {.key = "data.tokenizer",
       .target = &c->tokenizer,
       .help = "tokenizer.json, or a folder with one or with vocab.json and merges.txt; empty: the "
               "model's own.",
       .example = "../tokenizers/smollm2",
       .is_path = true},
  };
}

FieldList OutputFields(OutputConfig* c) {
  return {
      {.key = "output.dir",
       .target = &c->dir,
       .help = "Folder for the adapter, logs, results and the effective config.",
       .example = "../out/quickstart/adapter",
       .aliases = "output_dir",
       .flag = "--output-dir",
       .is_path = true},
      {.key = "output.save_steps",
       .target = &c->save_steps,
       .help = "Writes the joined adapter as it is every so many steps; 0: at the end only.",
       .min = 0,
       .max = kMaxSteps,
       .unit = "steps",
       .aliases = "save_steps",
       .flag = "--save-steps"},
      {.key = "output.overwrite",
       .target = &c->overwrite,
       .help = "Allows a folder that already holds the results of a run.",
       .aliases = "overwrite_output_dir",
       .flag = "--overwrite"},
      {.key = "output.progress",
       .target = &c->progress,
       .help = "The progress line: a bar that redraws itself, plain lines, or none; auto: bar on a "
               "terminal.",
       .names = "auto bar plain none",
       .flag = "--progress"},
  };
}

FieldList WireFields(ClientConfig* c) {
  return {
      {.key = "server.address",
       .target = &c->server.address,
       .help = "The server as host:port, or inproc to run both halves in this process.",
       .example = "127.0.0.1:7420",
       .flag = "--server"},
      {.key = "server.connect_timeout_s",
       .target = &c->server.connect_timeout_s,
       .help = "How long the client tries to reach the server at the start.",
       .min = 0.1,
       .max = 86400,
       .unit = "seconds"},
      {.key = "server.silence_timeout_s",
       .target = &c->server.silence_timeout_s,
       .help = "The run ends when the server shows no sign of life for so long.",
       .min = 0.1,
       .max = 86400,
       .unit = "seconds"},
      {.key = "wire.dtype",
       .target = &c->wire.dtype,
       .help = "Type of tensors that cross without codes (method none).",
       .names = "fp32 bf16 fp16",
       .flag = "--wire-dtype"},
      {.key = "wire.chunk_bytes",
       .target = &c->wire.chunk_bytes,
       .help = "Messages cross in pieces of this size at most.",
       .min = 64 * 1024,
       .max = 4 * 1024 * 1024,
       .unit = "bytes"},
      {.key = "wire.entropy",
       .target = &c->wire.entropy,
       .help = "Lossless coding of the codes, both ways: the same training in 20 to 40 % fewer "
               "bytes, for some processor time. auto: where the link is slow enough for that to be "
               "faster; off in one process.",
       .names = "off on auto",
       .flag = "--entropy"},
      {.key = "wire.capture_dir",
       .target = &c->wire.capture_dir,
       .help = "Stores each message of the run in this folder, for inspection; empty: off.",
       .example = "../out/capture",
       .flag = "--capture-dir",
       .is_path = true},
      {.key = "security.allow_plaintext",
       .target = &c->security.allow_plaintext,
       .help =
           "Allows an unencrypted connection to another machine; everything on the way can then "
           "be read and changed."},
      {.key = "device", .target = &c->device, .help = "Where this party computes.", .names = "cpu"},
      {.key = "log_level",
       .target = &c->log_level,
       .help = "Which log lines appear on standard error.",
       .names = "debug info warning error",
       .flag = "--log-level"},
  };
}

}  // namespace

FieldList FieldsOf(ClientConfig* config) {
  FieldList list;
  Append(&list, ModelFields(&config->model));
  Append(&list, SplitFields(&config->split));
  Append(&list, LoraFields(&config->lora));
  Append(&list, QuantFields(&config->quant));
  Append(&list, RdFields(&config->quant.rd));
  Append(&list, GateFields(&config->quant));
  Append(&list, DataFields(&config->data));
  Append(&list, TrainFields(&config->train));
  Append(&list, OutputFields(&config->output));
  Append(&list, WireFields(config));
  return list;
}

}  // namespace amaq::config
