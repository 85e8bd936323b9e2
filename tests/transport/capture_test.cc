#include "transport/capture.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/errors.h"
#include "tests/support/message_builder.h"

namespace amaq::transport {
namespace {

std::string Dir(const std::string& name) {
  const std::filesystem::path dir =
      std::filesystem::path(::testing::TempDir()) / ("capture_" + name);
  std::filesystem::remove_all(dir);
  return dir.string();
}

TEST(CaptureTest, AMessageComesBackFromItsFile) {
  const std::string dir = Dir("round_trip");
  const Capture capture(dir);
  Message message = test::Forward(3, 1, {10, 0, 100000});
  message.item = NonFinite{.tensor = "activation"};

  capture.Store(message, Way::kUp);

  const Message back = ReadCapture(dir + "/step00000003.attempt0.mb0001.FORWARD.up.frame");
  test::ExpectEqual(back, message);
}

TEST(CaptureTest, NamesSayWhatAMessageIs) {
  MessageKey key{.step = 12, .attempt = 1, .micro_batch = 3, .phase = Phase::kBackward};
  EXPECT_EQ(CaptureName(key, Way::kDown), "step00000012.attempt1.mb0003.BACKWARD.down.frame");
  key.phase = Phase::kDecode;
  key.request_id = 7;
  EXPECT_EQ(CaptureName(key, Way::kUp), "request00000007.DECODE.up.frame");
}

TEST(CaptureTest, ProgressIsLeftOut) {
  const std::string dir = Dir("progress");
  const Capture capture(dir);
  Message message;
  message.key.phase = Phase::kProgress;

  capture.Store(message, Way::kDown);

  EXPECT_TRUE(std::filesystem::is_empty(dir));
}

TEST(CaptureTest, AnEmptyFolderNameCapturesNothing) {
  const Capture capture("");

  capture.Store(test::Forward(0, 0, {1}), Way::kUp);
}

TEST(CaptureTest, DamagedAndMissingFilesAreRefused) {
  const std::string dir = Dir("damaged");
  const Capture capture(dir);
  const Message message = test::Forward(0, 0, {100});
  capture.Store(message, Way::kUp);
  const std::string path = dir + "/" + CaptureName(message.key, Way::kUp);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 60);

  EXPECT_THROWS(ReadCapture(path), Code::kDataLoss, "frame ends inside field 13");
  EXPECT_THROWS(ReadCapture(dir + "/none"), Code::kNotFound, "cannot be opened");
}

TEST(CaptureTest, AFolderThatCannotBeMadeIsAnError) {
  const std::string dir = Dir("file");
  std::ofstream(dir) << "a file";

  EXPECT_THROWS(Capture(dir + "/inside"), Code::kUnavailable, "wire.capture_dir");
}

}  // namespace
}  // namespace amaq::transport
