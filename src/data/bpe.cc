#include "data/bpe.h"

#include <functional>
#include <optional>
#include <queue>
#include <tuple>

#include "core/error.h"

namespace amaq::data {
namespace {

constexpr int32_t kNoToken = -1;

// Printable Latin-1 bytes stand for themselves; the others are numbered from U+0100 in order.
struct ByteTable {
  std::array<uint16_t, 256> character_of{};
  std::array<int16_t, 0x144> byte_of{};

  constexpr ByteTable() {
    for (int16_t& byte : byte_of) byte = -1;
    uint16_t next = 0x100;
    for (uint16_t byte = 0; byte < 256; ++byte) {
      const bool printable =
          (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      character_of[byte] = printable ? byte : next++;
      byte_of[character_of[byte]] = static_cast<int16_t>(byte);
    }
  }
};
constexpr ByteTable kBytes;

uint64_t PairKey(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

int32_t IdOf(const Vocabulary& vocabulary, const std::string& token, const std::string& merge) {
  const auto found = vocabulary.find(token);
  if (found == vocabulary.end()) {
    Throw(Code::kInvalidArgument, "merge '", merge, "' needs token '", token,
          "', which is not in the vocabulary");
  }
  return found->second;
}

// A word as a doubly linked list, so that joining two symbols is O(1).
struct Symbol {
  int32_t id;
  int32_t previous;  // index, -1 at the start
  int32_t next;      // index, -1 at the end
};

// A join that was possible when it was queued.
struct Candidate {
  uint32_t rank;
  int32_t left;  // index of the left symbol: equal ranks join from the left
  int32_t left_id;
  int32_t right_id;
  int32_t result;
  bool operator>(const Candidate& other) const {
    return std::tie(rank, left) > std::tie(other.rank, other.left);
  }
};

}  // namespace

std::string ByteLevelText(uint8_t byte) {
  const uint16_t character = kBytes.character_of[byte];
  if (character < 0x80) return {static_cast<char>(character)};
  return {static_cast<char>(0xc0 | (character >> 6)), static_cast<char>(0x80 | (character & 0x3f))};
}

std::string ByteLevelDecode(std::string_view token) {
  std::string bytes;
  for (size_t i = 0; i < token.size(); ++i) {
    const auto lead = static_cast<uint8_t>(token[i]);
    const bool pair = lead >= 0xc2 && lead <= 0xdf && i + 1 < token.size() &&
                      (static_cast<uint8_t>(token[i + 1]) & 0xc0) == 0x80;
    if (!pair) {
      bytes.push_back(token[i]);
      continue;
    }
    const size_t character =
        (size_t{lead} & 0x1f) << 6 | (static_cast<uint8_t>(token[i + 1]) & 0x3f);
    if (character < kBytes.byte_of.size() && kBytes.byte_of[character] >= 0) {
      bytes.push_back(static_cast<char>(kBytes.byte_of[character]));
    } else {
      bytes.append(token.substr(i, 2));
    }
    ++i;
  }
  return bytes;
}

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<std::string>& merges) {
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto found = vocabulary.find(ByteLevelText(static_cast<uint8_t>(byte)));
    byte_ids_[byte] = found == vocabulary.end() ? kNoToken : found->second;
  }
  merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string& merge = merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos || space + 1 == merge.size()) {
      Throw(Code::kInvalidArgument, "merge ", rank, " ('", merge, "') is not a pair of tokens");
    }
    const std::string left = merge.substr(0, space);
    const std::string right = merge.substr(space + 1);
    const uint64_t key = PairKey(IdOf(vocabulary, left, merge), IdOf(vocabulary, right, merge));
    merges_.try_emplace(key,
                        Merge{static_cast<uint32_t>(rank), IdOf(vocabulary, left + right, merge)});
  }
}

const Bpe::Merge* Bpe::Find(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::Encode(std::string_view word, std::vector<int32_t>* ids) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char c : word) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id == kNoToken) continue;
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  const auto length = static_cast<int32_t>(symbols.size());
  const auto at = [&symbols](int32_t index) -> Symbol& {
    return symbols[static_cast<size_t>(index)];
  };

  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](int32_t left) {
    if (left < 0 || at(left).next < 0) return;
    const int32_t right_id = at(at(left).next).id;
    if (const Merge* merge = Find(at(left).id, right_id)) {
      queue.push({merge->rank, left, at(left).id, right_id, merge->result});
    }
  };
  for (int32_t i = 0; i + 1 < length; ++i) consider(i);

  while (!queue.empty()) {
    const Candidate join = queue.top();
    queue.pop();
    Symbol& left = at(join.left);
    // Stale if a neighbour was joined meanwhile: a joined-away symbol has no token.
    if (left.id != join.left_id || left.next < 0 || at(left.next).id != join.right_id) continue;
    Symbol& right = at(left.next);
    left.id = join.result;
    left.next = right.next;
    if (right.next >= 0) at(right.next).previous = join.left;
    right.id = kNoToken;
    consider(left.previous);
    consider(join.left);
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.id != kNoToken) ids->push_back(symbol.id);
  }
}

}  // namespace amaq::data
