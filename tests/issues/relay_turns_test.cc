// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Pushes whose turn came late, or never: behind others of their line, or of a service that
// was put away meanwhile.

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <vector>

#include "relay_util.h"

namespace coi::test {
namespace {

using std::string;

class RelayTurns : public OpenRelayTest {};

class GatewayTurns : public GatewayRelayTest {
 protected:
  // What the queue says on disk.
  int64_t Number(const string& sql) const {
    sqlite3* database = nullptr;
    sqlite3_stmt* statement = nullptr;
    EXPECT_EQ(sqlite3_open((queue_dir_ + "/queue.sqlite").c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_prepare_v2(database, sql.c_str(), -1, &statement, nullptr), SQLITE_OK);
    EXPECT_EQ(sqlite3_step(statement), SQLITE_ROW);
    const int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return number;
  }
  // A line whose pushes have two origins, as its gateway was changed. The second one
  // has nothing that is due, so it is put away.
  void MakeLineOfTwoOrigins() {
    settings_.queue_user_limit = 100;
    Reopen();
    Ask(MakeTokens("alice", {"alice"}));
    Ask(MakeTokens("alice", {"alice"}));
    ASSERT_EQ(sender_->requests.size(), 2U);
    sender_->AnswerHttp(503);
    sender_->AnswerHttp(503);
    Run();
    settings_.device_token_gateway = "https://other.example.org/notify";
    Reopen();
    clock_.Advance(30);
    Run();
    ASSERT_EQ(sender_->requests.size(), 1U);
    EXPECT_EQ(sender_->AnswerHttp(503, 3600).endpoint.host, "other.example.org");
    Run();
    for (int i = 0; i < 45; ++i) {
      Ask(MakeHandoff("user" + std::to_string(i), NewUrls()));
      AnswerAll(201);
      clock_.Advance(1);
      Run();
    }
  }
  // Pushes that nobody will look for after a restart.
  static constexpr const char* kForgotten =
      "SELECT count(*) FROM push WHERE next IS NOT NULL AND origin NOT IN "
      "(SELECT id FROM origin)";
};

TEST_F(RelayTurns, MSG_10_a_new_push_waited_for_the_time_of_an_old_one) {
  settings_.queue_user_limit = 0;
  settings_.in_flight_limit = 100000;
  Reopen();
  for (int i = 0; i < 5; ++i) {
    Ask(MakeHandoff("alice", {"https://good.example/a"}));
    Fail(403);
  }
  // So many services are being looked after that there is no room for that one.
  for (int i = 0; i < 45; ++i) {
    clock_.Advance(1);
    std::vector<string> urls;
    for (int n = 0; n < 100; ++n) {
      urls.push_back("https://push" + std::to_string(i * 100 + n) + ".example/");
    }
    Ask(MakeHandoff("user" + std::to_string(i), urls));
  }
  Ask(MakeHandoff("bob", {"https://good.example/b"}));
  bool is_sent = false;
  for (int secs = 0; secs < 60; ++secs) {
    while (!sender_->requests.empty()) {
      is_sent = sender_->AnswerHttp(201).endpoint.url == "https://good.example/b" || is_sent;
      Run();
    }
    clock_.Advance(1);
    Run();
  }
  EXPECT_TRUE(is_sent);
}

// The one under way is deleted for a newer one, and then wasn't taken.
TEST_F(RelayTurns, MSG_10_pushes_slept_behind_one_that_was_replaced) {
  settings_.queue_user_limit = 3;
  settings_.in_flight_origin_limit = 1;
  Reopen();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  }
  ASSERT_EQ(sender_->requests.size(), 1U);
  ASSERT_EQ(Status().queued, 3U);
  sender_->AnswerHttp(503);
  Run();
  clock_.Advance(3600);
  Run();
  EXPECT_EQ(AnswerAll(201), 3);
}

TEST_F(GatewayTurns, MSG_10_a_push_stayed_for_ever_whose_service_was_forgotten) {
  MakeLineOfTwoOrigins();
  ASSERT_EQ(Status().queued, 2U);
  // The user has too many, so the first of the line goes.
  for (int i = 0; i < 99; ++i) {
    Ask(MakeHandoff("alice", {"https://dead.example/"}));
    FailAll();
  }
  EXPECT_EQ(Number(kForgotten), 0);
  Reopen();
  for (int i = 0; i < 3 * 24 * 6; ++i) {
    AnswerAll(200);
    clock_.Advance(600);
    Run();
  }
  EXPECT_EQ(Status().queued, 0U);
}

// The first one is sent, and the service ends before the second one is.
TEST_F(GatewayTurns, MSG_10_a_push_was_forgotten_whose_service_was_when_its_turn_came) {
  MakeLineOfTwoOrigins();
  ASSERT_EQ(Status().queued, 2U);
  clock_.Advance(5000);
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  sender_->AnswerHttp(200);
  for (int i = 0; i < 20; ++i) {
    relay_->Run();
    EXPECT_EQ(Number(kForgotten), 0) << i;
  }
  EXPECT_EQ(AnswerAll(200), 1);
  EXPECT_EQ(Status().queued, 0U);
}

}  // namespace
}  // namespace coi::test
