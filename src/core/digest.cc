#include "core/digest.h"

#include <xxhash.h>

#include <new>

#include "core/bytes.h"
#include "core/rng.h"

namespace amaq {

struct DigestStream::State {
  XXH3_state_t* xxh;
};

uint64_t Digest(ByteSpan bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

DigestStream::DigestStream() : state_(std::make_unique<State>()) {
  state_->xxh = XXH3_createState();
  if (state_->xxh == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(state_->xxh);
}

DigestStream::~DigestStream() { XXH3_freeState(state_->xxh); }

void DigestStream::Update(ByteSpan bytes) {
  XXH3_64bits_update(state_->xxh, bytes.data(), bytes.size());
}

uint64_t DigestStream::value() const { return XXH3_64bits_digest(state_->xxh); }

std::string Hex(uint64_t value) {
  std::string text(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

namespace {

void AppendText(Bytes* out, std::string_view text) {
  AppendLittleEndian(out, static_cast<uint64_t>(text.size()));
  out->insert(out->end(), text.begin(), text.end());
}

}  // namespace

uint64_t StochasticRoundingKey(uint64_t seed, uint32_t cut, uint32_t direction, uint64_t step,
                               uint32_t micro_batch) {
  Bytes tuple;
  AppendLittleEndian(&tuple, seed);
  AppendLittleEndian(&tuple, cut);
  AppendLittleEndian(&tuple, direction);
  AppendLittleEndian(&tuple, step);
  AppendLittleEndian(&tuple, micro_batch);
  return Digest(tuple);
}

uint64_t NamedKey(uint64_t seed, std::string_view name) {
  Bytes tuple;
  AppendLittleEndian(&tuple, seed);
  AppendText(&tuple, name);
  return Digest(tuple);
}

uint64_t DropoutKey(uint64_t seed, std::string_view module, uint64_t step, uint32_t micro_batch) {
  Bytes tuple;
  AppendLittleEndian(&tuple, seed);
  AppendText(&tuple, module);
  AppendLittleEndian(&tuple, step);
  AppendLittleEndian(&tuple, micro_batch);
  return Digest(tuple);
}

}  // namespace amaq
