#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/tensor_source.h"

namespace amaq::io {
namespace {

constexpr size_t kMaxIndexBytes = 64 << 20;
constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

std::string Join(const std::string& folder, std::string_view name) {
  return StrCat(folder, folder.ends_with('/') ? "" : "/", name);
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

class HfDirectory : public TensorSource {
 public:
  explicit HfDirectory(const std::string& folder) : TensorSource(folder) {
    const std::string config = Join(folder, "config.json");
    if (!Exists(config)) Throw(Code::kNotFound, "there is no ", config);
    if (Exists(Join(folder, kSingle))) {
      OpenSingle();
    } else if (Exists(Join(folder, kIndex))) {
      OpenShards();
    } else {
      Throw(Code::kNotFound, "there is neither ", kSingle, " nor ", kIndex, " in ", folder);
    }
  }

  void DropPages() const override {
    for (const auto& [name, shard] : shards_) shard->DropPages();
  }

 private:
  void OpenSingle() {
    auto file = SafetensorsFile::Open(Join(path(), kSingle));
    for (const TensorInfo& info : file->tensors()) shard_of_[info.name] = file.get();
    SetTensors(file->tensors());
    shards_[kSingle] = std::move(file);
  }

  void OpenShards() {
    const std::string index_path = Join(path(), kIndex);
    const nlohmann::json index = ParseJson(ReadTextFile(index_path, kMaxIndexBytes), index_path);
    const nlohmann::json& map = JsonMember(index, "weight_map", index_path);
    if (!map.is_object()) Throw(Code::kInvalidArgument, index_path, ": weight_map is no object");
    std::vector<TensorInfo> tensors;
    for (const auto& [name, unused] : map.items()) {
      const SafetensorsFile* shard = Shard(JsonString(map, name, index_path), index_path);
      tensors.push_back(shard->Get(name));
      shard_of_[name] = shard;
    }
    SetTensors(std::move(tensors));
  }

  const SafetensorsFile* Shard(const std::string& name, const std::string& index_path) {
    // The index comes with the model: it may name files beside itself, not elsewhere.
    if (name.empty() || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos || name[0] == '.') {
      Throw(Code::kInvalidArgument, index_path, ": '", name, "' is not a plain file name");
    }
    std::unique_ptr<SafetensorsFile>& shard = shards_[name];
    if (shard == nullptr) shard = SafetensorsFile::Open(Join(path(), name));
    return shard.get();
  }

  ByteSpan BytesOf(const TensorInfo& info) const override {
    return shard_of_.find(info.name)->second->StoredBytes(info.name);
  }

  std::map<std::string, std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, const SafetensorsFile*, std::less<>> shard_of_;
};

}  // namespace

std::unique_ptr<TensorSource> OpenHfDirectory(const std::string& path) {
  return std::make_unique<HfDirectory>(path);
}

}  // namespace amaq::io
