#include "server/api/delivery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace alcca {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Request Named(const std::string& id) {
  Request request;
  request.id = id;
  return request;
}

TEST(Delivery, ARequestGetsAKeyAndKeepsItsId) {
  Metrics metrics("test");
  Delivery delivery(&metrics);
  Request first = Named("a"), second = Named("b");
  ASSERT_TRUE(delivery.Register(&first).ok());
  ASSERT_TRUE(delivery.Register(&second).ok());
  EXPECT_NE(first.key, 0u);
  EXPECT_NE(first.key, second.key);
  EXPECT_EQ(first.id, "a");
  EXPECT_THAT(delivery.KeysOf({"b", "nobody", "a"}), ElementsAre(second.key, first.key));
  EXPECT_EQ(delivery.active(), 0);  // no call waits for them
}

TEST(Delivery, AnIdIsOneRequestsAtATime) {
  Metrics metrics("test");
  Delivery delivery(&metrics);
  Request first = Named("a"), again = Named("a");
  ASSERT_TRUE(delivery.Register(&first).ok());
  const absl::Status status = delivery.Register(&again);
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(status.message(), "request_id: 'a' is in use by a running request");
  EXPECT_THAT(delivery.KeysOf({"a"}), ElementsAre(first.key));
}

// A client may call its request what ours would be called next.
TEST(Delivery, OurIdsGiveWayToTheClients) {
  Metrics metrics("test");
  Delivery delivery(&metrics);
  Request ours = Named("");
  ASSERT_TRUE(delivery.Register(&ours).ok());
  EXPECT_EQ(ours.id, "alcca-" + std::to_string(ours.key));
  Request theirs = Named("alcca-" + std::to_string(ours.key + 2)), next = Named("");
  ASSERT_TRUE(delivery.Register(&theirs).ok());
  ASSERT_TRUE(delivery.Register(&next).ok());
  EXPECT_EQ(next.id, "alcca-" + std::to_string(ours.key + 3));
  EXPECT_THAT(delivery.KeysOf({theirs.id}), ElementsAre(theirs.key));
}

TEST(Delivery, NewsOfNobodyGoNowhere) {
  Metrics metrics("test");
  Delivery delivery(&metrics);
  std::vector<TokenNews> news(1);
  news[0].key = 77;
  delivery.OnStep(std::move(news), {});
  EXPECT_THAT(delivery.KeysOf({"a"}), IsEmpty());
}

}  // namespace
}  // namespace alcca
