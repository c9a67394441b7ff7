#include "engine/text/load_tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace alcca {
namespace {

const std::string kModel = ALCCA_MODEL_DIR;

TEST(LoadTokenizer, TakesTheFileThatIsThere) {
  const auto tokenizer = LoadTokenizer(kModel);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_TRUE(std::filesystem::exists(kModel + "/" + std::string((*tokenizer)->file_name())));
  EXPECT_EQ((*tokenizer)->vocab_size(), 4096);
}

TEST(LoadTokenizer, SaysWhichFileIsMissingOrBroken) {
  const std::string dir = testing::TempDir() + "alcca_load_tokenizer";
  std::filesystem::create_directories(dir);
  absl::Status status = LoadTokenizer(dir).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), dir + "/tokenizer.model: no such file");
  std::ofstream(dir + "/tokenizer.model") << "\x0A";
  status = LoadTokenizer(dir).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), dir + "/tokenizer.model: protobuf: number cut off");
  std::filesystem::remove_all(dir);
}

// What Encode adds at either end is nobody else's business, and Decode is the stream in one go.
TEST(Tokenizer, EncodeAddsTheEndsAndDecodeIsTheStream) {
  const std::unique_ptr<Tokenizer> tokenizer = *LoadTokenizer(kModel);
  const std::string text = "Once upon a time";
  const std::vector<int32_t> ids = tokenizer->Encode(text);
  std::vector<int32_t> whole = {tokenizer->bos_id()};
  whole.insert(whole.end(), ids.begin(), ids.end());
  whole.push_back(tokenizer->eos_id());
  EXPECT_EQ(tokenizer->Encode(text, {.bos = true, .eos = true}), whole);
  EXPECT_EQ(tokenizer->Decode(whole), text);
  const std::unique_ptr<TextStream> stream = tokenizer->NewText({}, true);
  std::string streamed;
  for (const int32_t id : whole) {
    streamed += stream->Push(id);
  }
  EXPECT_EQ(streamed + stream->Flush(), text);
}

// Behind other text an id adds TextBytes, whatever it is.
TEST(Tokenizer, TextBytesAreWhatAnIdAdds) {
  const std::unique_ptr<Tokenizer> tokenizer = *LoadTokenizer(kModel);
  const int32_t before = tokenizer->Encode("a").back();
  const size_t size = tokenizer->Decode({&before, 1}).size();
  int checked = 0;
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    const std::vector<int32_t> ids = {before, id};
    const std::string_view piece = tokenizer->IdToPiece(id);
    if (piece.starts_with("<0x") || piece == "<unk>") {
      continue;  // A byte alone is no character; an unknown piece has a text of its own.
    }
    ASSERT_EQ(tokenizer->Decode(ids).size() - size, tokenizer->TextBytes(id)) << piece;
    ASSERT_EQ(tokenizer->Decode(ids).substr(size), tokenizer->TextOf(id)) << piece;
    // And where a text begins, one space less.
    ASSERT_EQ(tokenizer->Decode({&id, 1}),
              tokenizer->TextOf(id).substr(tokenizer->LosesSpace(id) ? 1 : 0))
        << piece;
    ++checked;
  }
  EXPECT_GT(checked, 3000);
  EXPECT_EQ(tokenizer->TextBytes(tokenizer->PieceToId("<0x41>")), 1);
  EXPECT_EQ(tokenizer->TextBytes(tokenizer->bos_id()), 0);
  EXPECT_EQ(tokenizer->TextOf(tokenizer->PieceToId("<0x41>")), "A");
  EXPECT_EQ(tokenizer->TextOf(tokenizer->PieceToId("<unk>")), "");
  const std::vector<int32_t> begins = {before, tokenizer->bos_id()};
  EXPECT_TRUE(tokenizer->BeginsText({}));
  EXPECT_TRUE(tokenizer->BeginsText(begins));
  EXPECT_FALSE(tokenizer->BeginsText({&before, 1}));
}

}  // namespace
}  // namespace alcca
