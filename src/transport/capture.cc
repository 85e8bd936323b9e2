#include "transport/capture.h"

#include <filesystem>
#include <fstream>
#include <iomanip>
#include <limits>
#include <sstream>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "transport/chunker.h"
#include "transport/frame.h"

namespace amaq::transport {

Capture::Capture(std::string dir) : dir_(std::move(dir)) {
  if (dir_.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(dir_, error);
  if (error) {
    Throw(Code::kUnavailable, "wire.capture_dir ", dir_, " cannot be made: ", error.message());
  }
}

std::string CaptureName(const MessageKey& key, Way way) {
  std::ostringstream name;
  name << std::setfill('0');
  if (key.phase == Phase::kEvaluate || key.phase == Phase::kDecode) {
    name << "request" << std::setw(8) << key.request_id;
  } else {
    name << "step" << std::setw(8) << key.step << ".attempt" << key.attempt << ".mb" << std::setw(4)
         << key.micro_batch;
  }
  name << '.' << PhaseName(key.phase) << (way == Way::kUp ? ".up" : ".down") << ".frame";
  return std::move(name).str();
}

void Capture::Store(const Message& message, Way way) const {
  if (dir_.empty() || message.key.phase == Phase::kProgress) return;
  const Bytes bytes = SerializeCapture(message);
  const std::filesystem::path path = std::filesystem::path(dir_) / CaptureName(message.key, way);
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) Throw(Code::kUnavailable, "wire.capture_dir: ", path.string(), " cannot be written");
}

Bytes SerializeCapture(const Message& message) {
  Chunker chunker(message, 1, std::numeric_limits<uint32_t>::max());
  const Frame frame = chunker.Next(0);
  if (!chunker.done()) {
    Throw(Code::kUnavailable, ToString(message.key), " is too large for one file");
  }
  return FlattenFrame(frame);
}

Message ParseCapture(ByteSpan bytes, const std::string& name) {
  const ByteSpan pieces[] = {bytes};
  const Frame frame = DecodeFrame(pieces);
  std::optional<Message> message = Assembler(bytes.size()).Add(frame);
  if (!message) Throw(Code::kDataLoss, name, " holds only a part of a message");
  return *std::move(message);
}

Message ReadCapture(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) Throw(Code::kNotFound, path, " cannot be opened");
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) Throw(Code::kNotFound, path, " cannot be read");
  return ParseCapture({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, path);
}

}  // namespace amaq::transport
