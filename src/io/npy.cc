#include "io/npy.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "core/bytes.h"
#include "core/error.h"

namespace amaq::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64;               // of the data, as numpy.save writes it
constexpr uint32_t kMaxHeaderBytes = 64 << 10;  // numpy's own reader stops at 10,000
constexpr size_t kMaxDimensions = 32;           // numpy's limit before version 2

// What the header's dict says; a member that is absent stays empty.
struct Header {
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;
};

// Reads the Python literal {'key': value, ...} whose values are strings, True, False and tuples of
// whole numbers; nothing else is a header.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  Header Parse() {
    Header header;
    Expect('{');
    while (!Accept('}')) {
      const std::string key = String();
      Expect(':');
      if (key == "descr") {
        Set(&header.descr, String(), key);
      } else if (key == "fortran_order") {
        Set(&header.fortran_order, Boolean(), key);
      } else if (key == "shape") {
        Set(&header.shape, Tuple(), key);
      } else {
        Fail("it has the unknown key '", key, "'");
      }
      if (!Accept(',')) {
        Expect('}');
        break;
      }
    }
    SkipSpaces();
    if (position_ != text_.size()) Fail("text follows the dict");
    return header;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void Fail(const Parts&... parts) const {
    Throw(Code::kInvalidArgument, path_, ": malformed .npy header: ", parts...);
  }

  template <typename T>
  void Set(std::optional<T>* member, T value, const std::string& key) {
    if (member->has_value()) Fail("'", key, "' appears twice");
    *member = std::move(value);
  }

  void SkipSpaces() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\n')) {
      ++position_;
    }
  }
  bool Accept(char wanted) {
    SkipSpaces();
    if (position_ == text_.size() || text_[position_] != wanted) return false;
    ++position_;
    return true;
  }
  void Expect(char wanted) {
    if (!Accept(wanted)) Fail("'", wanted, "' expected at offset ", position_);
  }

  std::string String() {
    const char quote = Accept('"') ? '"' : '\'';
    if (quote == '\'') Expect('\'');
    const size_t end = text_.find(quote, position_);
    if (end == std::string_view::npos) Fail("a string does not end");
    const std::string_view body = text_.substr(position_, end - position_);
    const auto is_plain = [](char c) { return c >= ' ' && c <= '~' && c != '\\'; };
    if (!std::ranges::all_of(body, is_plain)) Fail("a string holds a special character");
    position_ = end + 1;
    return std::string(body);
  }

  bool Boolean() {
    SkipSpaces();
    for (const std::string_view word : {"True", "False"}) {
      if (text_.substr(position_).starts_with(word)) {
        position_ += word.size();
        return word == "True";
      }
    }
    Fail("True or False expected at offset ", position_);
  }

  std::vector<int64_t> Tuple() {
    std::vector<int64_t> values;
    Expect('(');
    while (!Accept(')')) {
      SkipSpaces();
      const char* begin = text_.data() + position_;
      int64_t value = 0;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0) Fail("a dimension is no whole number that fits");
      if (values.size() == kMaxDimensions) Fail("more than ", kMaxDimensions, " dimensions");
      position_ += static_cast<size_t>(end - begin);
      values.push_back(value);
      if (!Accept(',')) {
        Expect(')');
        break;
      }
    }
    return values;
  }

  std::string_view text_;
  const std::string& path_;
  size_t position_ = 0;
};

// The array's type and sizes; its bytes begin at `data_begin` of the file.
TensorInfo Describe(const Header& header, uint64_t data_begin, uint64_t data_bytes,
                    const std::string& path) {
  if (!header.descr || !header.fortran_order || !header.shape) {
    Throw(Code::kInvalidArgument, path, ": its .npy header must have descr, fortran_order, shape");
  }
  if (*header.descr != "<f4" && *header.descr != "<f2") {
    Throw(Code::kUnimplemented, path, ": the elements are '", *header.descr,
          "'; '<f4' (fp32) and '<f2' (fp16) can be read");
  }
  if (*header.fortran_order) {
    Throw(Code::kUnimplemented, path, ": the array is in Fortran order; C order can be read");
  }
  const bool is_f32 = *header.descr == "<f4";
  TensorInfo info{.name = kNpyTensor, .shape = *header.shape, .type = is_f32 ? "F32" : "F16"};
  info.num_elements = 1;
  for (const int64_t dimension : info.shape) {
    if (__builtin_mul_overflow(info.num_elements, static_cast<uint64_t>(dimension),
                               &info.num_elements)) {
      Throw(Code::kInvalidArgument, path, ": the size of its array overflows");
    }
  }
  if (__builtin_mul_overflow(info.num_elements, is_f32 ? 4u : 2u, &info.num_bytes)) {
    Throw(Code::kInvalidArgument, path, ": the size of its array overflows");
  }
  if (info.num_bytes != data_bytes) {
    Throw(info.num_bytes > data_bytes ? Code::kDataLoss : Code::kInvalidArgument, path,
          ": its array has ", info.num_bytes, " bytes, the file holds ", data_bytes,
          " after its header");
  }
  info.offset = data_begin;
  return info;
}

}  // namespace

NpyFile::NpyFile(std::string name, std::unique_ptr<MappedFile> file, ByteSpan bytes)
    : TensorSource(std::move(name)), file_(std::move(file)), bytes_(bytes) {
  ByteReader reader(bytes_, path());
  const ByteSpan magic = reader.Take(std::min(kMagic.size(), bytes_.size()));
  if (!std::ranges::equal(magic, kMagic,
                          [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); })) {
    Throw(Code::kInvalidArgument, path(),
          " is not an .npy file: it does not begin with \\x93NUMPY");
  }
  const auto major = reader.Read<uint8_t>();
  reader.Read<uint8_t>();
  if (major < 1 || major > 3) {
    Throw(Code::kUnimplemented, path(), ": .npy version ", int{major}, "; 1, 2 and 3 can be read");
  }
  const uint32_t header_bytes = major == 1 ? reader.Read<uint16_t>() : reader.Read<uint32_t>();
  if (header_bytes > kMaxHeaderBytes) {
    Throw(Code::kInvalidArgument, path(), ": an .npy header of ", header_bytes, " bytes, at most ",
          kMaxHeaderBytes, " are allowed");
  }
  const ByteSpan text = reader.Take(header_bytes);
  const Header header =
      HeaderParser({reinterpret_cast<const char*>(text.data()), text.size()}, path()).Parse();
  SetTensors({Describe(header, reader.position(), reader.remaining(), path())});
}

std::unique_ptr<NpyFile> NpyFile::Open(const std::string& path) {
  std::unique_ptr<MappedFile> file = MappedFile::Open(path);
  const ByteSpan bytes = file->bytes();
  return std::unique_ptr<NpyFile>(new NpyFile(path, std::move(file), bytes));
}

std::unique_ptr<NpyFile> NpyFile::FromBytes(ByteSpan bytes, std::string name) {
  return std::unique_ptr<NpyFile>(new NpyFile(std::move(name), nullptr, bytes));
}

ByteSpan NpyFile::BytesOf(const TensorInfo& info) const {
  return bytes_.subspan(info.offset, info.num_bytes);
}

void NpyFile::DropPages() const {
  if (file_ != nullptr) file_->DropPages();
}

Bytes SerializeNpy(std::span<const int64_t> shape, std::span<const float> values) {
  uint64_t elements = 1;
  std::string tuple;
  for (const int64_t dimension : shape) {
    elements *= static_cast<uint64_t>(dimension);
    tuple += StrCat(tuple.empty() ? "" : " ", dimension, ",");
  }
  if (shape.size() > 1) tuple.pop_back();  // (2, 3), but (2,)
  if (elements != values.size()) {
    Throw(Code::kInvalidArgument, "an array of shape (", tuple, ") has no ", values.size(),
          " values");
  }
  std::string header = StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", tuple, "), }");
  // numpy leaves room for a first dimension of 21 digits to grow in place.
  if (!shape.empty()) header.append(21 - std::to_string(shape[0]).size(), ' ');
  const size_t begin = kMagic.size() + 4;
  header.append(kAlignment - (begin + header.size() + 1) % kAlignment, ' ');
  header += '\n';

  Bytes out(kMagic.begin(), kMagic.end());
  out.insert(out.end(), {1, 0});
  AppendLittleEndian(&out, static_cast<uint16_t>(header.size()));
  out.insert(out.end(), header.begin(), header.end());
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  out.insert(out.end(), bytes, bytes + values.size_bytes());
  return out;
}

}  // namespace amaq::io
