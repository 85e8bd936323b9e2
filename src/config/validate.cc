#include <charconv>
#include <initializer_list>
#include <set>

#include "config/budget.h"
#include "config/load.h"
#include "config/party.h"
#include "config/value.h"
#include "core/error.h"

namespace amaq::config {
namespace {

constexpr double kLowestBudget = 0.1;

// Says where the first of `keys` that was set stands, then the sentence.
template <typename... Args>
[[noreturn]] void Refuse(const Provenance& provenance, std::initializer_list<std::string_view> keys,
                         const Args&... sentence) {
  for (std::string_view key : keys) {
    const auto found = provenance.find(key);
    if (found != provenance.end()) {
      Throw(Code::kInvalidArgument, found->second, ": ", sentence...);
    }
  }
  Throw(Code::kInvalidArgument, sentence...);
}

// Port of "host:port" or "[v6]:port"; -1 when it is not of that form.
int PortOf(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return -1;
  const std::string_view host = address.substr(0, colon);
  const bool is_bracketed = host.starts_with('[') && host.ends_with(']');
  if (!is_bracketed && host.find_first_of(":[] /") != std::string_view::npos) return -1;
  const std::string_view digits = address.substr(colon + 1);
  unsigned port = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) return -1;
  return port <= 65535 ? static_cast<int>(port) : -1;
}

// Of an address that PortOf accepts. A name other than localhost may be anywhere.
bool IsLoopback(std::string_view address) {
  const std::string_view host = address.substr(0, address.rfind(':'));
  const bool is_numeric = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return host == "localhost" || (is_numeric && host.starts_with("127.")) || host == "[::1]";
}

// Methods of one given width.
void CheckBits(const QuantConfig& q, const Provenance& provenance) {
  const uint32_t least = q.method == "aqsgd" ? 1 : q.method == "tahquant" ? 3 : 2;
  if (q.bits < least) {
    Refuse(provenance, {"quant.bits", "quant.method"}, "quant.bits must be at least ", least,
           " with method ", q.method, ", got ", q.bits);
  }
  if (q.method == "group" && q.group_size % 8 != 0) {
    Refuse(provenance, {"quant.group_size"}, "quant.group_size must be a multiple of 8, got ",
           q.group_size);
  }
}

// Method amaq-rd has no widths: only the target falls.
void CheckRate(const QuantConfig& q, const Provenance& provenance) {
  if (q.gradient.bits != "same" || q.gradient.bits_offset != 0) {
    Refuse(provenance, {"quant.gradient.bits", "quant.gradient.bits_offset"},
           "quant.gradient.bits and bits_offset do not apply with method amaq-rd, whose gradients "
           "have no widths");
  }
  if (q.schedule == "constant" || q.b_start > q.target_bits) return;
  Refuse(provenance, {"quant.b_start", "quant.target_bits"},
         "quant.b_start must be more than quant.target_bits (", q.target_bits, "), got ",
         q.b_start);
}

void CheckBudget(const QuantConfig& q, const Provenance& provenance) {
  if (q.budget_bits == 0) return;
  if (q.budget_bits < kLowestBudget) {
    Refuse(provenance, {"quant.budget_bits"}, "quant.budget_bits must be 0 or at least ",
           kLowestBudget, ", got ", q.budget_bits);
  }
  ForEachDecided(&q, [&](std::string_view key, const auto* value, const auto& wanted) {
    if (*value == wanted) return;
    Refuse(provenance, {key, "quant.budget_bits"}, key, " is ", *value,
           ", but quant.budget_bits: ", q.budget_bits, " decides it (", wanted,
           "): leave out one of the two");
  });
}

// A value that nothing reads.
void CheckGradientTarget(const GradientConfig& g, const Provenance& provenance) {
  if (g.target_bits == GradientConfig().target_bits || g.method == "rd" || g.bits == "own") return;
  Refuse(provenance, {"quant.gradient.target_bits"}, "quant.gradient.target_bits is ",
         g.target_bits,
         ", but only gradients by quant.gradient.method: rd or quant.gradient.bits: own have a "
         "target of their own");
}

void CheckWidths(const QuantConfig& q, const Provenance& provenance) {
  CheckGradientTarget(q.gradient, provenance);
  if (q.method == "amaq-rd") return CheckRate(q, provenance);
  if (q.gradient.bits != "same" && q.gradient.bits_offset != 0) {
    Refuse(provenance, {"quant.gradient.bits_offset", "quant.gradient.bits"},
           "quant.gradient.bits_offset is added to quant.gradient.bits: same, but bits is ",
           q.gradient.bits);
  }
  if (q.gradient.method == "rd" && q.gradient.bits != "same") {
    Refuse(provenance, {"quant.gradient.bits", "quant.gradient.method"},
           "quant.gradient.bits does not apply with quant.gradient.method: rd, whose rate is "
           "quant.gradient.target_bits; it is ",
           q.gradient.bits);
  }
  if (q.gradient.method == "rd" && q.gradient.bits_offset != 0) {
    Refuse(provenance, {"quant.gradient.bits_offset", "quant.gradient.method"},
           "quant.gradient.bits_offset does not apply with quant.gradient.method: rd, got ",
           q.gradient.bits_offset);
  }
  const bool is_tiled = q.method == "group" || q.method == "tahquant";
  if (q.gradient.bits == "own" && is_tiled) {
    Refuse(provenance, {"quant.gradient.bits", "quant.method"},
           "quant.gradient.bits: own has a width for each channel, method ", q.method,
           " one for all");
  }
  if (q.gradient.bits == "own") {
    if (q.method == "none") {
      Refuse(provenance, {"quant.gradient.bits", "quant.method"},
             "quant.gradient.bits: own fits the widths of codes, with method none there are none");
    }
    const GradientConfig& g = q.gradient;
    if (g.target_bits < q.b_min || g.target_bits > q.b_max || q.b_start < g.target_bits ||
        q.b_start > q.b_max) {
      Refuse(provenance, {"quant.gradient.target_bits", "quant.b_start"},
             "quant.gradient.target_bits must lie between quant.b_min (", q.b_min,
             ") and quant.b_start (", q.b_start, "), which is at most quant.b_max (", q.b_max,
             "), got ", g.target_bits);
    }
  }
  if (q.gate.penalty == "dual" && q.gate.penalty_beta != GateConfig().penalty_beta) {
    Refuse(
        provenance, {"quant.gate.penalty_beta", "quant.gate.penalty"},
        "quant.gate.penalty_beta is the weight of hinge and mean; quant.gate.penalty: dual finds "
        "its own, got ",
        q.gate.penalty_beta);
  }
  if (q.method == "none") return;
  if (q.method != "linear" && q.method != "waterfill" && !q.method.starts_with("amaq")) {
    return CheckBits(q, provenance);
  }
  const bool is_amaq =
      q.method == "amaq" || q.method == "amaq-delta";  // its sigmoid reaches neither end
  if (q.b_min >= q.b_max) {
    Refuse(provenance, {"quant.b_min", "quant.b_max"}, "quant.b_min (", q.b_min,
           ") must be less than quant.b_max (", q.b_max, ")");
  }
  if (q.target_bits < q.b_min || (is_amaq && q.target_bits <= q.b_min)) {
    Refuse(provenance, {"quant.target_bits", "quant.b_min"}, "quant.target_bits must be ",
           is_amaq ? "more than" : "at least", " quant.b_min (", q.b_min, ") with method ",
           q.method, ", got ", q.target_bits);
  }
  if (q.target_bits > q.b_max || (is_amaq && q.target_bits >= q.b_max)) {
    Refuse(provenance, {"quant.target_bits", "quant.b_max"}, "quant.target_bits must be ",
           is_amaq ? "less than" : "at most", " quant.b_max (", q.b_max, ") with method ", q.method,
           ", got ", q.target_bits);
  }
  if (q.method == "waterfill" || q.schedule == "constant") return;  // b_start has no part in these
  if (q.b_start > q.b_max || (is_amaq && q.b_start >= q.b_max)) {
    Refuse(provenance, {"quant.b_start", "quant.b_max"}, "quant.b_start must be ",
           is_amaq ? "less than" : "at most", " quant.b_max (", q.b_max, ") with method ", q.method,
           ", got ", q.b_start);
  }
  if (q.b_start <= q.target_bits) {
    Refuse(provenance, {"quant.b_start", "quant.target_bits"},
           "quant.b_start must be more than quant.target_bits (", q.target_bits, "), got ",
           q.b_start);
  }
}

void CheckTokenAxis(const ClientConfig& config, const Provenance& provenance) {
  const QuantConfig& q = config.quant;
  if (q.axis != "token") return;
  const auto refuse = [&](std::string_view key, const std::string& value) {
    Refuse(provenance, {key, "quant.axis"}, "quant.axis: token does not go with ", key, ": ",
           value);
  };
  const bool has_tokens =
      q.method == "fixed" || q.method == "linear" || q.method == "waterfill" || q.method == "amaq";
  if (!has_tokens) refuse("quant.method", q.method);
  if (q.range == "delayed") refuse("quant.range", q.range);
  if (q.nested) refuse("quant.nested", "true");
  if (q.gradient.bits == "own") refuse("quant.gradient.bits", q.gradient.bits);
  if (q.gradient.method != "same") refuse("quant.gradient.method", q.gradient.method);
  if (config.wire.entropy != "off") refuse("wire.entropy", config.wire.entropy);
}

void CheckData(const DataConfig& data, const Provenance& provenance) {
  const bool has_prompt = !data.prompt_template.empty();
  const bool has_completion = !data.completion_template.empty();
  if (has_prompt != has_completion) {
    Refuse(provenance, {"data.prompt_template", "data.completion_template"},
           "data.prompt_template and data.completion_template go together, only one is set");
  }
  if (data.format == "template" && !has_prompt) {
    Refuse(provenance, {"data.format"},
           "data.format: template needs data.prompt_template and data.completion_template");
  }
  if (has_prompt && data.format != "template" && data.format != "auto") {
    Refuse(provenance, {"data.format"}, "data.format: ", data.format,
           " has no use for data.prompt_template; use template, or take the templates out");
  }
}

void CheckLora(const LoraConfig& lora, const Provenance& provenance) {
  if (lora.target_modules.empty()) {
    Refuse(provenance, {"lora.target_modules"},
           "lora.target_modules is empty: name the layers, or all-linear");
  }
  std::set<std::string_view> seen;
  for (const std::string& name : lora.target_modules) {
    if (name.empty()) {
      Refuse(provenance, {"lora.target_modules"}, "lora.target_modules holds an empty name");
    }
    if (!seen.insert(name).second) {
      Refuse(provenance, {"lora.target_modules"}, "lora.target_modules names ", name, " twice");
    }
  }
  if (seen.contains("all-linear") && seen.size() > 1) {
    Refuse(provenance, {"lora.target_modules"},
           "lora.target_modules: all-linear stands for all layers, so it stands alone");
  }
}

}  // namespace

void ValidateFields(const FieldList& fields, const Provenance& provenance) {
  for (const Field& field : fields) {
    const auto found = provenance.find(field.key);
    CheckRange(field, found == provenance.end() ? std::string_view() : found->second);
  }
}

void ValidateRelations(const ClientConfig& config, const Provenance& provenance) {
  CheckBudget(config.quant, provenance);
  CheckWidths(config.quant, provenance);
  CheckTokenAxis(config, provenance);
  CheckData(config.data, provenance);
  CheckLora(config.lora, provenance);
  const TrainConfig& train = config.train;
  if (train.max_steps > 0 && train.warmup_steps > train.max_steps) {
    Refuse(provenance, {"train.warmup_steps", "train.max_steps"}, "train.warmup_steps (",
           train.warmup_steps, ") must not be more than train.max_steps (", train.max_steps, ")");
  }
  if (config.output.dir.empty()) Refuse(provenance, {"output.dir"}, "output.dir must not be empty");
  if (config.server.address != "inproc" && PortOf(config.server.address) < 1) {
    Refuse(provenance, {"server.address"},
           "server.address must be host:port with a port from 1 to 65535, or inproc, got ",
           config.server.address);
  }
  if (config.server.address != "inproc" && !IsLoopback(config.server.address) &&
      !config.security.allow_plaintext) {
    Refuse(provenance, {"server.address"}, "server.address ", config.server.address,
           " is not this machine, and nothing would be encrypted on the way: set "
           "security.allow_plaintext: true to accept that");
  }
}

void ValidateRelations(const ServerFileConfig& config, const Provenance& provenance) {
  if (PortOf(config.server.address) < 0) {
    Refuse(provenance, {"server.address"},
           "server.address must be host:port with a port from 0 to 65535, got ",
           config.server.address);
  }
  if (config.limits.methods.empty()) {
    Refuse(provenance, {"limits.methods"}, "limits.methods is empty: no client could be served");
  }
  if (config.limits.dtypes.empty()) {
    Refuse(provenance, {"limits.dtypes"}, "limits.dtypes is empty: no client could be served");
  }
}

void Validate(const ClientConfig& config) {
  ClientConfig copy = config;
  ValidateFields(FieldsOf(&copy), {});
  ValidateRelations(copy, {});
}

void Validate(const ServerFileConfig& config) {
  ServerFileConfig copy = config;
  ValidateFields(FieldsOf(&copy), {});
  ValidateRelations(copy, {});
}

}  // namespace amaq::config
