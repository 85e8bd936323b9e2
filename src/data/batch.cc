#include "data/batch.h"

#include <cstddef>

#include "core/check.h"

namespace amaq::data {

Batch Collate(const std::vector<const Example*>& examples) {
  Batch batch;
  batch.segments.push_back(0);
  for (const Example* example : examples) {
    const size_t length = example->tokens.size();
    AMAQ_CHECK(example->supervised.size() == length);
    AMAQ_CHECK(length > 0 && example->supervised[0] == 0);
    const auto start = static_cast<uint32_t>(batch.tokens.size());
    for (size_t i = 0; i < length; ++i) {
      batch.tokens.push_back(example->tokens[i]);
      batch.positions.push_back(static_cast<int32_t>(i));
      if (example->supervised[i] != 0) {
        batch.target_rows.push_back(start + static_cast<uint32_t>(i) - 1);
        batch.targets.push_back(example->tokens[i]);
      }
    }
    batch.segments.push_back(start + static_cast<uint32_t>(length));
    batch.keys.push_back(example->key);
  }
  return batch;
}

}  // namespace amaq::data
