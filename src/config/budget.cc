#include "config/budget.h"

namespace amaq::config {
namespace {

bool IsFromFlag(const Provenance& provenance, std::string_view key) {
  const auto found = provenance.find(key);
  return found != provenance.end() && found->second.starts_with("--");
}

}  // namespace

void ApplyBudget(ClientConfig* config, const Provenance& provenance) {
  if (config->quant.budget_bits == 0) return;
  const bool is_budget_from_flag = IsFromFlag(provenance, "quant.budget_bits");
  ForEachDecided(&config->quant, [&](std::string_view key, auto* value, const auto& wanted) {
    const bool is_open = !provenance.contains(key);
    const bool gives_way = is_budget_from_flag && !IsFromFlag(provenance, key);
    if (is_open || gives_way) *value = wanted;
  });
}

}  // namespace amaq::config
