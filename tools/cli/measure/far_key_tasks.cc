#include "tools/cli/measure/far_key_tasks.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace alcca::cli {
namespace {

// Names no person and no thing of the lists below.
constexpr const char* kFiller[] = {
    "The sun was warm and the sky was blue.",
    "A little bird sang in the old tree.",
    "The wind went over the hills and came back.",
    "It was a quiet day by the river.",
    "The grass was green and soft.",
    "Some clouds moved slowly to the east.",
    "The road went up and then down again.",
    "There was a smell of fresh bread.",
    "The water was clear and cold.",
    "Leaves fell on the path one by one.",
    "In the evening it rained a little.",
    "Everyone was happy and went on.",
    "The night came and the stars were bright.",
    "Far away a dog barked two times.",
    "The garden was full of flowers.",
    "Nobody was in a hurry that morning.",
};
constexpr const char* kNames[] = {"Tom", "Anna", "Ben", "Lily", "Max", "Sara", "Jack", "Mia",
                                  "Sam", "Lucy", "Tim", "Emma", "Leo", "Amy",  "Bob",  "Jane"};
constexpr const char* kThings[] = {"ball", "hat",  "kite", "cake",  "book", "doll", "boat", "drum",
                                   "cup",  "coat", "lamp", "spoon", "box",  "bell", "ring", "key"};
constexpr const char* kListWords[] = {"apple",  "house", "table", "fish",  "chair", "train",
                                      "horse",  "shirt", "glass", "milk",  "stone", "wheel",
                                      "plant",  "cloud", "bread", "sheep", "knife", "beach",
                                      "pencil", "clock", "mouse", "snow"};
static_assert(std::size(kNames) == kTaskCandidatesMax && std::size(kThings) == kTaskCandidatesMax);

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  // 0 .. count - 1. Not std::uniform_int_distribution, whose draws are the library's choice; the
  // bias of the remainder is below 2^-50 for the counts here.
  size_t Below(size_t count) { return engine_() % count; }

  template <typename T>
  void Shuffle(std::vector<T>* items) {
    for (size_t i = items->size(); i > 1; --i) {
      std::swap((*items)[i - 1], (*items)[Below(i)]);
    }
  }

  template <typename Words>
  std::vector<std::string> Shuffled(const Words& words) {
    std::vector<std::string> out(std::begin(words), std::end(words));
    Shuffle(&out);
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

// So many sentences, every one of the list before one comes again.
std::vector<std::string> Filler(int sentences, Random* random) {
  std::vector<std::string> out;
  while (out.size() < static_cast<size_t>(sentences)) {
    for (std::string& sentence : random->Shuffled(kFiller)) {
      out.push_back(std::move(sentence));
    }
  }
  out.resize(sentences);
  return out;
}

size_t At(double depth, size_t count) {
  return static_cast<size_t>(std::llround(std::clamp(depth, 0.0, 1.0) * double(count)));
}

TaskSample PassKey(const TaskShape& shape, Random* random) {
  std::vector<std::string> keys;
  while (keys.size() < static_cast<size_t>(shape.candidates)) {
    std::string key = std::to_string(10000 + random->Below(90000));
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      keys.push_back(std::move(key));
    }
  }
  std::vector<std::string> text = Filler(shape.units, random);
  const size_t at = At(shape.depth, text.size());
  text.insert(text.begin() + at, absl::StrCat("The pass key is ", keys[0],
                                              ". Remember it: the pass key is ", keys[0], "."));
  TaskSample sample;
  sample.question = "What is the pass key? The pass key is";
  sample.prompt = absl::StrCat("There is a pass key in this text. Remember it. ",
                               absl::StrJoin(text, " "), " ", sample.question);
  sample.accepted = {keys[0]};
  sample.depth = shape.depth;
  for (const std::string& key : keys) {
    sample.candidates.push_back(" " + key);
  }
  return sample;
}

TaskSample Recall(const TaskShape& shape, Random* random) {
  const std::vector<std::string> names = random->Shuffled(kNames);
  const std::vector<std::string> things = random->Shuffled(kThings);
  std::vector<std::string> text = Filler(shape.units, random);
  // The pair that is asked first, at its depth; the others anywhere, so that no place tells.
  const auto pair = [&](int i) { return absl::StrCat(names[i], " has a ", things[i], "."); };
  text.insert(text.begin() + At(shape.depth, text.size()), pair(0));
  for (int i = 1; i < shape.candidates; ++i) {
    text.insert(text.begin() + random->Below(text.size() + 1), pair(i));
  }
  TaskSample sample;
  sample.question = absl::StrCat(names[0], " has a");
  sample.prompt = absl::StrCat(absl::StrJoin(text, " "), " ", sample.question);
  sample.accepted = {things[0]};
  sample.depth = shape.depth;
  for (int i = 0; i < shape.candidates; ++i) {
    sample.candidates.push_back(" " + things[i]);
  }
  return sample;
}

// A shuffled list of about `length` words, each as often as its weight says and at least once.
std::vector<std::string> WeightedList(const std::vector<std::string>& words,
                                      const std::vector<double>& weights, int length,
                                      Random* random) {
  double sum = 0;
  for (const double weight : weights) {
    sum += weight;
  }
  std::vector<std::string> list;
  for (size_t i = 0; i < words.size(); ++i) {
    const int64_t count = std::max<int64_t>(1, std::llround(length * weights[i] / sum));
    list.insert(list.end(), count, words[i]);
  }
  random->Shuffle(&list);
  return list;
}

constexpr int kListWordsAUnit = 6;

TaskSample ListTask(const std::vector<std::string>& words, const std::vector<double>& weights,
                    int right, const TaskShape& shape, Random* random) {
  const int filler = (shape.units + 3) / 4;
  const std::vector<std::string> list =
      WeightedList(words, weights, kListWordsAUnit * std::max(1, shape.units - filler), random);
  TaskSample sample;
  sample.question = "The word that comes most often in the list is";
  sample.prompt =
      absl::StrCat("One word comes most often in this list: ", absl::StrJoin(list, ", "), ". ",
                   absl::StrJoin(Filler(filler, random), " "), " ", sample.question);
  sample.candidates = {" " + words[0]};
  for (int i = 0; i + 1 < shape.candidates; ++i) {
    sample.candidates.push_back(" " + words[right + i]);
  }
  sample.accepted.assign(words.begin(), words.begin() + right);
  return sample;
}

TaskSample CommonWords(const TaskShape& shape, Random* random) {
  constexpr int kCommon = 2;
  constexpr double kTimesAsOften = 10;
  const std::vector<std::string> words = random->Shuffled(kListWords);
  std::vector<double> weights(words.size(), 1);
  std::fill_n(weights.begin(), kCommon, kTimesAsOften);
  return ListTask(words, weights, kCommon, shape, random);
}

TaskSample FrequentWords(const TaskShape& shape, Random* random) {
  constexpr const char* kOnsets[] = {"b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t"};
  constexpr const char* kVowels[] = {"a", "e", "i", "o", "u"};
  std::vector<std::string> words;
  while (words.size() < kTaskCandidatesMax) {
    std::string word;
    for (int syllable = 0; syllable < 3; ++syllable) {
      absl::StrAppend(&word, kOnsets[random->Below(std::size(kOnsets))],
                      kVowels[random->Below(std::size(kVowels))]);
    }
    if (std::find(words.begin(), words.end(), word) == words.end()) {
      words.push_back(std::move(word));
    }
  }
  std::vector<double> weights;
  for (size_t rank = 1; rank <= words.size(); ++rank) {
    weights.push_back(1 / double(rank * rank));
  }
  return ListTask(words, weights, 1, shape, random);
}

}  // namespace

const std::vector<std::string>& TaskNames() {
  static const std::vector<std::string> names = {"passkey", "recall", "cwe", "fwe"};
  return names;
}

TaskSample MakeTask(const std::string& task, const TaskShape& shape) {
  Random random(shape.seed);
  if (task == "passkey") {
    return PassKey(shape, &random);
  }
  if (task == "recall") {
    return Recall(shape, &random);
  }
  return task == "cwe" ? CommonWords(shape, &random) : FrequentWords(shape, &random);
}

bool Answers(const std::string& completion, const TaskSample& sample) {
  const auto is_word = [](unsigned char c) { return std::isalnum(c) != 0; };
  const auto begin = std::find_if(completion.begin(), completion.end(), is_word);
  const std::string word(begin, std::find_if_not(begin, completion.end(), is_word));
  return std::find(sample.accepted.begin(), sample.accepted.end(), word) != sample.accepted.end();
}

}  // namespace alcca::cli
