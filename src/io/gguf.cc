#include "io/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/bytes.h"
#include "core/error.h"
#include "io/dequantize.h"

namespace amaq::io {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF" little-endian
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint32_t kMaxDimensions = 4;
// name length, one dimension, type, offset: what the smallest tensor description takes.
constexpr uint64_t kMinTensorInfoBytes = 8 + 4 + 8 + 4 + 8;
// key length, value type, one byte of value.
constexpr uint64_t kMinKeyValueBytes = 8 + 4 + 1;

enum class ValueType : uint32_t {  // of the format; never renumber
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

struct TypeName {
  uint32_t number;
  std::string_view name;
};

// Numbers of ggml's tensor types, for a helpful refusal.
constexpr std::array<TypeName, 30> kTypeNames = {
    {{0, "F32"},     {1, "F16"},      {2, "Q4_0"},   {3, "Q4_1"},    {6, "Q5_0"},
     {7, "Q5_1"},    {8, "Q8_0"},     {9, "Q8_1"},   {10, "Q2_K"},   {11, "Q3_K"},
     {12, "Q4_K"},   {13, "Q5_K"},    {14, "Q6_K"},  {15, "Q8_K"},   {16, "IQ2_XXS"},
     {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},
     {22, "IQ2_S"},  {23, "IQ4_XS"},  {24, "I8"},    {25, "I16"},    {26, "I32"},
     {27, "I64"},    {28, "F64"},     {29, "IQ1_M"}, {30, "BF16"},   {34, "TQ1_0"}}};

std::string_view NameOfType(uint32_t number) {
  for (const TypeName& type : kTypeNames) {
    if (type.number == number) return type.name;
  }
  return "unknown";
}

uint64_t MinValueBytes(ValueType type, std::string_view key, std::string_view path) {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool:
      return 1;
    case ValueType::kU16:
    case ValueType::kI16:
      return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32:
      return 4;
    case ValueType::kU64:
    case ValueType::kI64:
    case ValueType::kF64:
    case ValueType::kString:
      return 8;
    case ValueType::kArray:
      Throw(Code::kUnimplemented, path, ": key ", key, " is an array of arrays");
  }
  Throw(Code::kInvalidArgument, path, ": key ", key, " has unknown value type ",
        static_cast<uint32_t>(type));
}

// Reads the header's parts in order. `path` must outlive it.
class Parser {
 public:
  Parser(ByteSpan bytes, std::string_view path) : path_(path), reader_(bytes, path) {}

  uint64_t position() const { return reader_.position(); }
  uint64_t remaining() const { return reader_.remaining(); }

  // The counts of tensors and of keys.
  std::pair<uint64_t, uint64_t> ReadHeader() {
    const auto magic = reader_.Read<uint32_t>();
    if (magic != kMagic) {
      Throw(Code::kInvalidArgument, path_, " is not a GGUF file: it does not begin with 'GGUF'");
    }
    const auto version = reader_.Read<uint32_t>();
    if (version != 2 && version != 3) {
      Throw(Code::kUnimplemented, path_, " is GGUF version ", version,
            "; versions 2 and 3, little-endian, can be read");
    }
    const auto num_tensors = reader_.Read<uint64_t>();
    const auto num_keys = reader_.Read<uint64_t>();
    CheckCount(num_tensors, kMinTensorInfoBytes, "tensors");
    CheckCount(num_keys, kMinKeyValueBytes, "metadata keys");
    return {num_tensors, num_keys};
  }

  std::string ReadString() {
    const auto length = reader_.Read<uint64_t>();
    const ByteSpan text = reader_.Take(length);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

  GgufValue ReadValue(const std::string& key) {
    const auto type = static_cast<ValueType>(reader_.Read<uint32_t>());
    if (type != ValueType::kArray) return ReadScalar(type, key);
    const auto element = static_cast<ValueType>(reader_.Read<uint32_t>());
    const auto count = reader_.Read<uint64_t>();
    CheckCount(count, MinValueBytes(element, key, path_), StrCat("elements of key ", key));
    return ReadArray(element, count);
  }

  TensorInfo ReadTensorInfo() {
    TensorInfo info;
    info.name = ReadString();
    const auto num_dimensions = reader_.Read<uint32_t>();
    if (num_dimensions < 1 || num_dimensions > kMaxDimensions) {
      Throw(Code::kInvalidArgument, "tensor ", info.name, " in ", path_, " has ", num_dimensions,
            " dimensions, 1 to ", kMaxDimensions, " are allowed");
    }
    info.num_elements = 1;
    for (uint32_t i = 0; i < num_dimensions; ++i) {
      const auto dimension = reader_.Read<uint64_t>();
      if (dimension == 0 || dimension > uint64_t{std::numeric_limits<int64_t>::max()} ||
          __builtin_mul_overflow(info.num_elements, dimension, &info.num_elements)) {
        Throw(Code::kInvalidArgument, "tensor ", info.name, " in ", path_, " has a dimension of ",
              dimension, ", which does not fit");
      }
      // The file has the innermost dimension first.
      info.shape.insert(info.shape.begin(), static_cast<int64_t>(dimension));
    }
    FillType(reader_.Read<uint32_t>(), &info);
    info.offset = reader_.Read<uint64_t>();
    return info;
  }

 private:
  void CheckCount(uint64_t count, uint64_t min_bytes, std::string_view of) const {
    if (count > reader_.remaining() / min_bytes) {
      Throw(Code::kDataLoss, path_, " says it has ", count, " ", of, ", but only ",
            reader_.remaining(), " bytes follow");
    }
  }

  void FillType(uint32_t number, TensorInfo* info) const {
    info->type = NameOfType(number);
    const auto type = ParseStoredType(info->type);
    if (!type) {
      Throw(Code::kUnimplemented, "tensor ", info->name, " in ", path_, " has type ", info->type,
            " (", number, "); F32, F16, BF16, Q8_0, Q4_0 and Q4_1 can be read");
    }
    const BlockFormat format = BlockFormatOf(*type);
    if (static_cast<uint64_t>(info->shape.back()) % format.elements != 0) {
      Throw(Code::kInvalidArgument, "tensor ", info->name, " in ", path_, " has rows of ",
            info->shape.back(), " elements, ", info->type, " needs whole blocks of ",
            format.elements);
    }
    if (__builtin_mul_overflow(info->num_elements / format.elements, uint64_t{format.bytes},
                               &info->num_bytes)) {
      Throw(Code::kInvalidArgument, "the size of tensor ", info->name, " in ", path_, " overflows");
    }
  }

  GgufValue ReadScalar(ValueType type, const std::string& key) {
    MinValueBytes(type, key, path_);  // refuses an unknown type
    switch (type) {
      case ValueType::kU8:
        return Widen<uint8_t>();
      case ValueType::kI8:
        return Widen<int8_t>();
      case ValueType::kU16:
        return Widen<uint16_t>();
      case ValueType::kI16:
        return Widen<int16_t>();
      case ValueType::kU32:
        return Widen<uint32_t>();
      case ValueType::kI32:
        return Widen<int32_t>();
      case ValueType::kF32:
        return Widen<float>();
      case ValueType::kBool:
        return reader_.Read<uint8_t>() != 0;
      case ValueType::kU64:
        return Widen<uint64_t>();
      case ValueType::kI64:
        return Widen<int64_t>();
      case ValueType::kF64:
        return Widen<double>();
      case ValueType::kString:
      case ValueType::kArray:
        break;
    }
    return ReadString();
  }

  GgufValue ReadArray(ValueType element, uint64_t count) {
    switch (element) {
      case ValueType::kU8:
        return WidenArray<uint8_t>(count);
      case ValueType::kI8:
        return WidenArray<int8_t>(count);
      case ValueType::kU16:
        return WidenArray<uint16_t>(count);
      case ValueType::kI16:
        return WidenArray<int16_t>(count);
      case ValueType::kU32:
        return WidenArray<uint32_t>(count);
      case ValueType::kI32:
        return WidenArray<int32_t>(count);
      case ValueType::kF32:
        return WidenArray<float>(count);
      case ValueType::kU64:
        return WidenArray<uint64_t>(count);
      case ValueType::kI64:
        return WidenArray<int64_t>(count);
      case ValueType::kF64:
        return WidenArray<double>(count);
      case ValueType::kBool: {
        const ByteSpan bytes = reader_.Take(count);
        return std::vector<uint8_t>(bytes.begin(), bytes.end());
      }
      case ValueType::kString:
      case ValueType::kArray:
        break;
    }
    std::vector<std::string> strings;
    strings.reserve(count);
    for (uint64_t i = 0; i < count; ++i) strings.push_back(ReadString());
    return strings;
  }

  template <typename T>
  using Wide = std::conditional_t<std::is_floating_point_v<T>, double,
                                  std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;

  template <typename T>
  Wide<T> Widen() {
    return Wide<T>{reader_.Read<T>()};
  }

  template <typename T>
  std::vector<Wide<T>> WidenArray(uint64_t count) {
    std::vector<Wide<T>> values(count);
    for (auto& value : values) value = Widen<T>();
    return values;
  }

  std::string_view path_;
  ByteReader reader_;
};

// Offsets count from `data_begin`; afterwards from the start of the file.
void PlaceTensors(std::vector<TensorInfo>* tensors, uint64_t data_begin, uint64_t alignment,
                  uint64_t file_bytes, const std::string& path) {
  std::ranges::sort(*tensors, {}, &TensorInfo::offset);
  const uint64_t data_bytes = file_bytes > data_begin ? file_bytes - data_begin : 0;
  uint64_t end = 0;
  for (TensorInfo& info : *tensors) {
    if (info.offset % alignment != 0 || info.offset < end) {
      Throw(Code::kInvalidArgument, "tensor ", info.name, " in ", path, " begins at byte ",
            info.offset, " of the data: it overlaps the one before, which ends at ", end,
            ", or is not aligned to ", alignment);
    }
    if (info.offset > data_bytes || info.num_bytes > data_bytes - info.offset) {
      Throw(Code::kDataLoss, "tensor ", info.name, " in ", path, " ends ", info.num_bytes,
            " bytes after byte ", info.offset, " of the data, which has ", data_bytes,
            ": the file is cut off");
    }
    end = info.offset + info.num_bytes;
    info.offset += data_begin;
  }
}

template <typename T>
const T& Typed(const GgufValue& value, std::string_view key, std::string_view wanted,
               const std::string& path) {
  const T* typed = std::get_if<T>(&value);
  if (typed == nullptr) Throw(Code::kInvalidArgument, path, ": key ", key, " is not ", wanted);
  return *typed;
}

}  // namespace

GgufFile::GgufFile(std::string name, std::unique_ptr<MappedFile> file, ByteSpan bytes)
    : TensorSource(std::move(name)), file_(std::move(file)), bytes_(bytes) {
  Parser parser(bytes_, path());
  const auto [num_tensors, num_keys] = parser.ReadHeader();
  for (uint64_t i = 0; i < num_keys; ++i) {
    std::string key = parser.ReadString();
    GgufValue value = parser.ReadValue(key);
    const auto [entry, is_new] = metadata_.emplace(std::move(key), std::move(value));
    if (!is_new) Throw(Code::kInvalidArgument, path(), ": key ", entry->first, " appears twice");
  }
  if (FindValue("split.count") != nullptr && Uint("split.count") > 1) {
    Throw(Code::kUnimplemented, path(), " is one of ", Uint("split.count"),
          " parts of a split GGUF; join them first");
  }
  const uint64_t alignment =
      FindValue("general.alignment") == nullptr ? kDefaultAlignment : Uint("general.alignment");
  if (!std::has_single_bit(alignment) || alignment > uint64_t{1} << 31) {
    Throw(Code::kInvalidArgument, path(), ": general.alignment must be a power of two, got ",
          alignment);
  }
  std::vector<TensorInfo> tensors;
  tensors.reserve(num_tensors);
  for (uint64_t i = 0; i < num_tensors; ++i) tensors.push_back(parser.ReadTensorInfo());
  const uint64_t data_begin = (parser.position() + alignment - 1) / alignment * alignment;
  PlaceTensors(&tensors, data_begin, alignment, bytes_.size(), path());
  SetTensors(std::move(tensors));
}

std::unique_ptr<GgufFile> GgufFile::Open(const std::string& path) {
  std::unique_ptr<MappedFile> file = MappedFile::Open(path);
  const ByteSpan bytes = file->bytes();
  return std::unique_ptr<GgufFile>(new GgufFile(path, std::move(file), bytes));
}

std::unique_ptr<GgufFile> GgufFile::FromBytes(ByteSpan bytes, std::string name) {
  return std::unique_ptr<GgufFile>(new GgufFile(std::move(name), nullptr, bytes));
}

ByteSpan GgufFile::BytesOf(const TensorInfo& info) const {
  return bytes_.subspan(info.offset, info.num_bytes);
}

void GgufFile::DropPages() const {
  if (file_ != nullptr) file_->DropPages();
}

const GgufValue* GgufFile::FindValue(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

const GgufValue& GgufFile::Value(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) Throw(Code::kNotFound, path(), " has no key ", key);
  return *value;
}

uint64_t GgufFile::Uint(std::string_view key) const {
  const GgufValue& value = Value(key);
  if (const auto* integer = std::get_if<int64_t>(&value); integer != nullptr && *integer >= 0) {
    return static_cast<uint64_t>(*integer);
  }
  return Typed<uint64_t>(value, key, "a whole number of 0 or more", path());
}

double GgufFile::Number(std::string_view key) const {
  const GgufValue& value = Value(key);
  if (const auto* integer = std::get_if<uint64_t>(&value)) return static_cast<double>(*integer);
  if (const auto* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
  return Typed<double>(value, key, "a number", path());
}

bool GgufFile::Bool(std::string_view key) const {
  return Typed<bool>(Value(key), key, "a boolean", path());
}

const std::string& GgufFile::String(std::string_view key) const {
  return Typed<std::string>(Value(key), key, "a string", path());
}

const std::vector<std::string>& GgufFile::Strings(std::string_view key) const {
  return Typed<std::vector<std::string>>(Value(key), key, "an array of strings", path());
}

std::vector<int64_t> GgufFile::Integers(std::string_view key) const {
  const GgufValue& value = Value(key);
  if (const auto* values = std::get_if<std::vector<uint64_t>>(&value)) {
    std::vector<int64_t> integers;
    for (const uint64_t item : *values) {
      if (item > uint64_t{std::numeric_limits<int64_t>::max()}) {
        Throw(Code::kInvalidArgument, path(), ": key ", key, " holds ", item,
              ", which does not fit 63 bits");
      }
      integers.push_back(static_cast<int64_t>(item));
    }
    return integers;
  }
  return Typed<std::vector<int64_t>>(value, key, "an array of whole numbers", path());
}

}  // namespace amaq::io
