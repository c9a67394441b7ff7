// Streams of a real daemon on the embedded model, through a real channel.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "tests/e2e/client.h"

namespace alcca::e2e {
namespace {

using testing::DaemonProcess;
using ::testing::HasSubstr;

TEST(Streaming, ChunksAreTheCompletion) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const Reply reply = client.Generate(Greedy("Once upon a time", 64));
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  ASSERT_EQ(reply.completes.size(), 1u);
  EXPECT_GT(reply.chunks, 16);  // streamed, not one lump
  EXPECT_EQ(reply.text, reply.complete().text());
  EXPECT_EQ(reply.token_ids, std::vector<uint32_t>(reply.complete().output_ids().begin(),
                                                   reply.complete().output_ids().end()));
  EXPECT_EQ(reply.complete().completion_tokens(), 64u);
  EXPECT_EQ(reply.complete().finish_reason(), "length");
  EXPECT_EQ(reply.complete().usage().total_tokens(), reply.complete().prompt_tokens() + 64);
  EXPECT_FALSE(reply.complete().request_id().empty());
  EXPECT_GT(reply.complete().timings().total_seconds(), 0);
}

TEST(Streaming, WithoutStreamOnlyTheCompletion) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::GenerateRequest request = Greedy("Once upon a time", 16);
  const std::string streamed = client.Generate(request).complete().text();
  request.set_stream(false);
  const Reply reply = client.Generate(request);
  EXPECT_EQ(reply.chunks, 0);
  EXPECT_EQ(reply.complete().text(), streamed);
}

TEST(Streaming, ReportCountsWhatAttentionDid) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::GetModelInfoResponse info;
  grpc::ClientContext context;
  ASSERT_TRUE(client.stub().GetModelInfo(&context, {}, &info).ok());
  const int64_t heads = int64_t{info.num_layers()} * info.num_attention_heads();
  const int64_t kv_heads = int64_t{info.num_layers()} * info.num_key_value_heads();

  v1::GenerateRequest request = Greedy("Once upon a time there was", 20);
  request.mutable_attention()->set_mode(v1::ATTENTION_MODE_ALCCA);
  request.mutable_attention()->set_k(3);
  request.mutable_attention()->set_theta(0);
  const Reply reply = client.Generate(request);
  const v1::AttentionReport& report = reply.complete().attention();
  EXPECT_EQ(report.applied().mode(), v1::ATTENTION_MODE_ALCCA);
  EXPECT_EQ(report.applied().k(), 3u);
  // Decode computes 19 tokens: the twentieth is sampled and never fed back.
  const int64_t prompt = reply.complete().prompt_tokens(), fed = 19;
  EXPECT_EQ(report.prefill().queries(), heads * prompt);
  EXPECT_EQ(report.decode().queries(), heads * fed);
  EXPECT_EQ(report.prefill().qk_exact(), heads * prompt * (prompt + 1) / 2);
  EXPECT_EQ(report.decode().qk_exact(), heads * (fed * prompt + fed * (fed + 1) / 2));
  EXPECT_EQ(report.decode().pv_exact(), heads * fed * 3);
  EXPECT_EQ(report.decode().com_test(), heads * fed);
  EXPECT_EQ(report.decode().running_sums(), 2 * kv_heads * fed);
  EXPECT_EQ(report.near_share(), 0);
  EXPECT_GT(report.index_bytes(), 0);

  request.mutable_attention()->set_search(v1::ATTENTION_SEARCH_TREE);
  request.mutable_attention()->set_tree_distances(5);
  request.mutable_attention()->set_tree_recent(2);
  const v1::AttentionReport tree = client.Generate(request).complete().attention();
  EXPECT_EQ(tree.applied().search(), v1::ATTENTION_SEARCH_TREE);
  EXPECT_EQ(tree.decode().qk_exact(), heads * fed * 5);
  EXPECT_EQ(tree.decode().pv_exact(), heads * fed * 3);
  EXPECT_EQ(tree.decode().index_build(), 3 * kv_heads * fed);
  EXPECT_GT(tree.decode().scalar_comparisons(), 0);
  request.mutable_attention()->set_search(v1::ATTENTION_SEARCH_EXACT);

  request.mutable_attention()->set_theta(1e9f);  // every query is near
  const v1::AttentionReport near = client.Generate(request).complete().attention();
  EXPECT_EQ(near.near_share(), 1);
  EXPECT_EQ(near.decode().qk_exact(), 0);
  EXPECT_EQ(near.decode().pv_centroid(), heads * fed);

  request.mutable_attention()->Clear();
  request.mutable_attention()->set_mode(v1::ATTENTION_MODE_DENSE);
  const v1::AttentionReport dense = client.Generate(request).complete().attention();
  EXPECT_EQ(dense.performed_over_dense_causal(), 1);

  request.mutable_attention()->set_mode(v1::ATTENTION_MODE_WINDOW);
  request.mutable_attention()->set_window(4);
  const v1::AttentionReport window = client.Generate(request).complete().attention();
  EXPECT_EQ(window.applied().window(), 4u);
  EXPECT_EQ(window.decode().qk_exact(), heads * fed * 4);
  EXPECT_EQ(window.decode().pv_exact(), heads * fed * 4);
  EXPECT_EQ(window.decode().dense_equivalent_qk(), dense.decode().qk_exact());

  request.mutable_attention()->set_mode(v1::ATTENTION_MODE_TOPK);
  request.mutable_attention()->set_sparsity(1e-6f);  // one key
  const v1::AttentionReport topk = client.Generate(request).complete().attention();
  EXPECT_EQ(topk.decode().qk_exact(), dense.decode().qk_exact());
  EXPECT_EQ(topk.decode().pv_exact(), heads * fed);
}

TEST(Streaming, MultipoleReadsLessAndSaysSo) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  std::string prompt;
  while (prompt.size() < 2500) {
    prompt += "Once there was a bear who walked over the hill to see the sea. ";
  }
  v1::GenerateRequest request = Greedy(prompt, 12);
  v1::AttentionParams& attention = *request.mutable_attention();
  attention.set_mode(v1::ATTENTION_MODE_DENSE);
  const Reply dense = client.Generate(request);
  ASSERT_GT(dense.complete().prompt_tokens(), 600u);
  attention.set_mode(v1::ATTENTION_MODE_MULTIPOLE);
  const v1::AttentionReport below = client.Generate(request).complete().attention();
  EXPECT_EQ(below.performed_over_dense_causal(), 1);  // dense_below is 8192
  attention.set_dense_below(0);
  attention.set_mass(0);
  attention.set_max_keys(1);
  const v1::AttentionReport few = client.Generate(request).complete().attention();
  EXPECT_EQ(few.applied().mode(), v1::ATTENTION_MODE_MULTIPOLE);
  EXPECT_GT(few.decode().pv_centroid(), 0);
  EXPECT_GT(few.prefill().index_build() + few.decode().index_build(), 0);
  EXPECT_LT(few.decode().pv_exact(), dense.complete().attention().decode().pv_exact());
  EXPECT_GT(few.index_bytes(), 0);
  EXPECT_FALSE(few.fell_back());
  attention.set_mass(1);
  attention.set_max_keys(0);
  EXPECT_EQ(client.Generate(request).text, dense.text);
}

TEST(Streaming, AnIndexBeyondItsBoundFallsBackVisibly) {
  DaemonProcess daemon({"--attention-index-bytes-max=1000"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  std::string prompt;
  while (prompt.size() < 2500) {
    prompt += "Once there was a bear who walked over the hill to see the sea. ";
  }
  v1::GenerateRequest request = Greedy(prompt, 4);
  request.mutable_attention()->set_mode(v1::ATTENTION_MODE_DENSE);
  const std::string dense = client.Generate(request).text;
  EXPECT_EQ(Total(Scrape(daemon.metrics()), "alcca_attention_fallbacks_total"), 0);
  request.mutable_attention()->set_mode(v1::ATTENTION_MODE_MULTIPOLE);
  request.mutable_attention()->set_dense_below(0);
  const Reply reply = client.Generate(request);
  EXPECT_TRUE(reply.complete().attention().fell_back());
  EXPECT_EQ(reply.text, dense);
  EXPECT_EQ(Total(Scrape(daemon.metrics()), "alcca_attention_fallbacks_total"), 1);
}

TEST(Streaming, StopStringEndsBeforeItself) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::GenerateRequest request = Greedy("Once upon a time", 64);
  const std::string all = client.Generate(request).text;
  const size_t at = all.find(' ', all.size() / 2);
  ASSERT_NE(at, std::string::npos);
  const std::string stop = all.substr(at, 6);  // crosses tokens
  request.mutable_sampling_params()->add_stop(stop);
  const Reply reply = client.Generate(request);
  EXPECT_EQ(reply.text, all.substr(0, all.find(stop)));
  EXPECT_EQ(reply.complete().finish_reason(), "stop");
  EXPECT_EQ(reply.complete().matched_stop_str(), stop);
  request.mutable_sampling_params()->set_include_stop_str_in_output(true);
  EXPECT_EQ(client.Generate(request).text, all.substr(0, all.find(stop) + stop.size()));
}

TEST(Streaming, SeedRepeatsAndCompletionsDiffer) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::GenerateRequest request = Greedy("One day", 40);
  request.mutable_sampling_params()->set_temperature(1);
  request.mutable_sampling_params()->set_seed(11);
  request.mutable_sampling_params()->set_n(4);
  const Reply first = client.Generate(request), second = client.Generate(request);
  ASSERT_EQ(first.completes.size(), 4u);
  std::map<uint32_t, std::string> a, b;
  for (const auto& complete : first.completes) {
    a[complete.index()] = complete.text();
  }
  for (const auto& complete : second.completes) {
    b[complete.index()] = complete.text();
  }
  EXPECT_EQ(a, b);
  ASSERT_EQ(a.size(), 4u);
  EXPECT_NE(a[0], a[1]);
}

TEST(Streaming, LogprobsOfPromptAndOutput) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::GenerateRequest request = Greedy("Once upon a time", 8);
  request.mutable_sampling_params()->set_logprobs(3);
  request.mutable_sampling_params()->set_prompt_logprobs(2);
  const Reply reply = client.Generate(request);
  const v1::OutputLogProbs& output = reply.complete().output_logprobs();
  ASSERT_EQ(output.token_logprobs_size(), 8);
  for (int i = 0; i < 8; ++i) {
    EXPECT_LE(output.token_logprobs(i), 0);
    ASSERT_EQ(output.top_logprobs(i).values_size(), 3);
    // Greedy: the token is the best alternative.
    EXPECT_EQ(output.top_logprobs(i).token_ids(0), reply.complete().output_ids(i));
    EXPECT_EQ(output.top_logprobs(i).values(0), output.token_logprobs(i));
  }
  const v1::InputLogProbs& input = reply.complete().input_logprobs();
  ASSERT_EQ(input.token_logprobs_size(), int(reply.complete().prompt_tokens()));
  EXPECT_FALSE(input.token_logprobs(0).has_value());
  EXPECT_LT(input.token_logprobs(1).value(), 0);
}

TEST(Streaming, ChatAnswersAndIsFormattedByTheModelsTemplate) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->set_content("Tell me a story about a dog.");
  request.mutable_sampling_params()->set_temperature(0);
  request.mutable_sampling_params()->set_max_tokens(40);
  request.set_stream(true);
  const Reply reply = client.Chat(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_GT(reply.text.size(), 20u);
  EXPECT_EQ(reply.text, reply.complete().text());
  EXPECT_THAT(reply.text, ::testing::Not(HasSubstr("[INST]")));
}

// The template writes what Generate encodes, so the answers are the same; and a refusal is its own.
TEST(Streaming, ChatRunsATemplateOfTheConfiguration) {
  const std::string path = ::testing::TempDir() + "alcca_e2e_chat.jinja";
  std::ofstream(path) << "{% if messages | length > 1 %}{{ raise_exception('One at a time.') }}"
                         "{% endif %}{{ bos_token }}{{ messages[0].content }}";
  DaemonProcess daemon({"--chat-template=" + path});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  for (const char* text : {"Once upon a time", "</s><s>[INST] Once"}) {
    const Reply expected = client.Generate(Greedy(text, 24));
    v1::ChatRequest request;
    *request.mutable_sampling_params() = Greedy(text, 24).sampling_params();
    request.set_stream(true);
    request.add_messages()->set_role("user");
    request.mutable_messages(0)->set_content(text);
    const Reply reply = client.Chat(request);
    ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
    EXPECT_EQ(reply.complete().prompt_tokens(), expected.complete().prompt_tokens());
    EXPECT_EQ(reply.text, expected.text);
    *request.add_messages() = request.messages(0);
    const grpc::Status refused = client.Chat(request).status;
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(refused.error_message(), HasSubstr("it refuses: One at a time."));
  }
}

TEST(Streaming, SixtyFourStreamsAtOnceEachGetTheirOwnText) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const std::vector<std::string> prompts = {"Once upon a time", "The old bear", "One day, Lily",
                                            "There was a tree"};
  std::vector<std::string> alone;
  for (const std::string& prompt : prompts) {
    alone.push_back(client.Generate(Greedy(prompt, 48)).text);
  }
  std::vector<Reply> replies(64);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < replies.size(); ++i) {
    threads.emplace_back([&, i] {
      Client own(daemon.grpc());
      replies[i] = own.Generate(Greedy(prompts[i % prompts.size()], 48));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (size_t i = 0; i < replies.size(); ++i) {
    EXPECT_TRUE(replies[i].status.ok()) << replies[i].status.error_message();
    EXPECT_EQ(replies[i].text, alone[i % prompts.size()]) << i;  // batched with 31 others
  }
}

// What a request says must not depend on who else is served, nor on how its prompt was cut.
TEST(Streaming, TokensDependOnNeitherBatchNorChunkNorThreads) {
  const std::string prompt =
      "Once upon a time there was a little fox who lived in a hole under an old oak tree. Every "
      "morning the fox ran down to the river, because the water was cold and the fish were quick. "
      "One day a bear came to the river too, and the bear said:";
  std::vector<std::string> texts;
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{},
        {"--max-prefill-chunk=7"},
        {"--threads=1", "--page-tokens=16"},
        {"--max-batch-tokens=33", "--max-prefill-chunk=33", "--max-num-seqs=2"}}) {
    DaemonProcess daemon(flags);
    ASSERT_TRUE(daemon.serving());
    for (const auto mode : {v1::ATTENTION_MODE_DENSE, v1::ATTENTION_MODE_ALCCA}) {
      std::vector<std::thread> noise;
      for (int i = 0; i < 5; ++i) {
        noise.emplace_back([&daemon, i] {
          Client other(daemon.grpc());
          other.Generate(Greedy("The " + std::string(i + 1, 'x'), 40 + i));
        });
      }
      Client client(daemon.grpc());
      v1::GenerateRequest request = Greedy(prompt, 60);
      request.mutable_attention()->set_mode(mode);
      texts.push_back(client.Generate(request).text);
      for (std::thread& thread : noise) {
        thread.join();
      }
    }
  }
  ASSERT_FALSE(texts[0].empty());
  for (size_t i = 2; i < texts.size(); ++i) {
    EXPECT_EQ(texts[i], texts[i % 2]) << "configuration " << i / 2;
  }
}

TEST(Streaming, TokenizeAndDetokenize) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const std::string text = "A bear, a naïve 熊 and </s> as text.";
  v1::TokenizeRequest request;
  request.set_text(text);
  v1::TokenizeResponse tokens;
  grpc::ClientContext first;
  ASSERT_TRUE(client.stub().Tokenize(&first, request, &tokens).ok());
  for (uint32_t id : tokens.token_ids()) {
    EXPECT_NE(id, 2u);  // text never becomes a control token
  }
  v1::DetokenizeRequest back;
  *back.mutable_token_ids() = tokens.token_ids();
  v1::DetokenizeResponse response;
  grpc::ClientContext second;
  ASSERT_TRUE(client.stub().Detokenize(&second, back, &response).ok());
  EXPECT_EQ(response.text(), text);
}

}  // namespace
}  // namespace alcca::e2e
