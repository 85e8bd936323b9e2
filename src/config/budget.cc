#include "config/party.h"

namespace amaq::config {
namespace {

bool IsFromFlag(const Provenance& provenance, std::string_view key) {
  const auto found = provenance.find(key);
  return found != provenance.end() && found->second.starts_with("--");
}

}  // namespace

// What docs/quality.md found best.
QuantConfig WithBudget(QuantConfig quant) {
  quant.method = "amaq-rd";
  quant.schedule = "constant";
  quant.target_bits = quant.budget_bits * 4 / 3;
  quant.gradient.method = "rd";
  quant.gradient.target_bits = quant.budget_bits * 2 / 3;
  return quant;
}

void ApplyBudget(ClientConfig* config, const Provenance& provenance) {
  QuantConfig& quant = config->quant;
  if (quant.budget_bits == 0) return;
  const QuantConfig chosen = WithBudget(quant);
  const bool is_budget_from_flag = IsFromFlag(provenance, "quant.budget_bits");
  const auto choose = [&](std::string_view key, auto* value, const auto& choice) {
    const bool is_open = !provenance.contains(key);
    const bool gives_way = is_budget_from_flag && !IsFromFlag(provenance, key);
    if (is_open || gives_way) *value = choice;
  };
  choose("quant.method", &quant.method, chosen.method);
  choose("quant.target_bits", &quant.target_bits, chosen.target_bits);
  choose("quant.schedule", &quant.schedule, chosen.schedule);
  choose("quant.gradient.method", &quant.gradient.method, chosen.gradient.method);
  choose("quant.gradient.target_bits", &quant.gradient.target_bits, chosen.gradient.target_bits);
}

}  // namespace amaq::config
