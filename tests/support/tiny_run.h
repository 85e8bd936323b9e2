#ifndef AMAQ_TESTS_SUPPORT_TINY_RUN_H_
#define AMAQ_TESTS_SUPPORT_TINY_RUN_H_

// A run that takes milliseconds: a folder below the test's temporary folder with a tiny model, data
// and the two parties' configs to start from.

#include <string>

#include "client/client.h"
#include "config/config.h"
#include "core/section.h"

namespace amaq::test {

class TinyRun {
 public:
  // The folder is made anew. Log lines below errors are switched off.
  explicit TinyRun(const std::string& name);
  ~TinyRun();  // removes the folder
  TinyRun(const TinyRun&) = delete;
  TinyRun& operator=(const TinyRun&) = delete;

  const std::string& dir() const { return dir_; }
  std::string Path(const std::string& leaf) const { return dir_ + "/" + leaf; }

  // Method none, fp32 on the wire, cut after block 2 of 4, all linear layers, 3 steps of 2
  // micro-batches of 2 records, clipping active, in one process, output.dir "out".
  config::ClientConfig client;
  config::ServerFileConfig server;  // the same model, any free port

 private:
  std::string dir_;
};

client::RunOutcome Run(const config::ClientConfig& config, transport::Link& link);

// A run with both halves in this process. Returns the joined adapter's file.
Bytes RunInproc(const config::ClientConfig& config);

Bytes ReadBytes(const std::string& path);
bool Exists(const std::string& path);

// The greatest difference of two adapter files' values; they must hold the same tensors.
double GreatestDifference(const Bytes& adapter, const Bytes& other);

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_TINY_RUN_H_
