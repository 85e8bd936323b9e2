#ifndef AMAQ_TESTS_SUPPORT_DRIVEN_H_
#define AMAQ_TESTS_SUPPORT_DRIVEN_H_

// A step driver and its server's half in one thread, with every message in view.

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "client/settings.h"
#include "client/step_driver.h"
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "lora/peft_adapter.h"
#include "models/loader.h"
#include "server/endpoint.h"
#include "tests/support/direct_link.h"
#include "tests/support/tiny_run.h"

namespace amaq::test {

class Driven {
 public:
  Driven(const config::ClientConfig& config, const config::ServerFileConfig& server_config)
      : config_(config),
        endpoint_(server::MakeEndpoint(server_config)),
        link(*endpoint_),
        model_(models::OpenModel(config.model.model_name_or_path)),
        stage(models::LoadStage(model_,
                                models::ClientRange(model_.spec, config.split.client_blocks),
                                client::StageOptionsOf(config))),
        widths(quant::MakeWidthPolicy(client::WidthConfigOf(config, 10),
                                      static_cast<int64_t>(train::NumUnits(
                                          client::CutOptionsOf(config), model_.spec.hidden)))) {
    link.Open(client::OpenRequestOf(
        config, "run", models::FingerprintOf(model_, config.split.client_blocks), 512, 10));
    const auto server =
        models::LoadStage(model_, models::ServerRange(model_.spec, config.split.client_blocks),
                          client::StageOptionsOf(config));
    client::StepDriver::Options options;
    options.cut = client::CutOptionsOf(config);
    options.cut.rd_rate = client::WidthConfigOf(config, 10);
    options.optimizer = client::OptimizerOf(config);
    options.lora = client::StageOptionsOf(config).lora;
    options.in_flight = config.train.in_flight;
    options.max_grad_norm = config.train.max_grad_norm;
    for (const train::TensorNorm& norm :
         train::AdamW(server->adapters(), options.optimizer).SquaredNorms()) {
      options.server_tensors.push_back(norm.name);
    }
    driver = std::make_unique<client::StepDriver>(*stage, *widths, link, options);
  }

  // The whole model with the adapters of both halves as they are now.
  std::unique_ptr<models::Stage> Whole() {
    auto whole =
        models::LoadStage(model_, models::WholeRange(model_.spec), client::StageOptionsOf(config_));
    lora::LoadAdapter(lora::JoinAdapters(ClientAdapter(), link.FetchAdapter()), whole->adapters(),
                      "the whole");
    return whole;
  }
  Bytes ClientAdapter() { return lora::SerializeAdapter(stage->adapters()); }

 private:
  config::ClientConfig config_;
  std::unique_ptr<transport::Endpoint> endpoint_;

 public:
  DirectLink link;

 private:
  models::BaseModel model_;

 public:
  std::unique_ptr<models::Stage> stage;
  std::unique_ptr<quant::WidthPolicy> widths;
  std::unique_ptr<client::StepDriver> driver;
};

// A test with some records of a run's data.
class DrivenTest : public ::testing::Test {
 protected:
  DrivenTest() : run_("driver"), config_(run_.client) {
    const auto tokenizer = data::Tokenizer::Load(config_.model.model_name_or_path);
    dataset_ = data::LoadDataset(config_.data.train_file, client::DatasetOptionsOf(config_, 0),
                                 *tokenizer);
  }

  // `batches` micro-batches of `size` records each, in file order.
  std::vector<data::Batch> Batches(size_t batches, size_t size) const {
    std::vector<data::Batch> out;
    for (size_t i = 0; i < batches; ++i) {
      std::vector<const data::Example*> examples;
      for (size_t j = 0; j < size; ++j) examples.push_back(&dataset_.examples[i * size + j]);
      out.push_back(data::Collate(examples));
    }
    return out;
  }
  Driven Drive() const { return {config_, run_.server}; }

  TinyRun run_;
  config::ClientConfig config_;
  data::Dataset dataset_;
};

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_DRIVEN_H_
