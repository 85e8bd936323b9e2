#include "config/party.h"

namespace amaq::config {

// What docs/quality.md found best at every budget; the next is checked against in validate.cc.
QuantConfig WithBudget(QuantConfig quant) {
  quant.method = "amaq-rd";
  quant.target_bits = quant.budget_bits;
  quant.schedule = "constant";
  quant.gradient.method = "same";
  return quant;
}

void ApplyBudget(ClientConfig* config, const Provenance& provenance) {
  QuantConfig& quant = config->quant;
  if (quant.budget_bits == 0) return;
  const QuantConfig chosen = WithBudget(quant);
  const auto choose = [&provenance](std::string_view key, auto* value, const auto& choice) {
    if (!provenance.contains(key)) *value = choice;
  };
  choose("quant.method", &quant.method, chosen.method);
  choose("quant.target_bits", &quant.target_bits, chosen.target_bits);
  choose("quant.schedule", &quant.schedule, chosen.schedule);
  choose("quant.gradient.method", &quant.gradient.method, chosen.gradient.method);
}

}  // namespace amaq::config
