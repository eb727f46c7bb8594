// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Mistakes of the relay that the fifth review has found.

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <string>
#include <utility>
#include <vector>

#include "relay_util.h"

namespace coi::test {
namespace {

using std::string;

// Counts what SQLite does.
class Steps {
 public:
  Steps() {
    count_ = 0;
    sqlite3_auto_extension(Extension());
  }
  ~Steps() {
    sqlite3_cancel_auto_extension(Extension());
  }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  // Since the last time, in hundreds.
  static int64_t Take() {
    return std::exchange(count_, 0);
  }

 private:
  static int Count(void* /*context*/) {
    ++count_;
    return 0;
  }
  static int Watch(sqlite3* database, char** /*error*/, const struct sqlite3_api_routines*) {
    sqlite3_progress_handler(database, 100, &Count, nullptr);
    return SQLITE_OK;
  }
  static void (*Extension())() {
    return reinterpret_cast<void (*)()>(&Watch);
  }
  static int64_t count_;
};
int64_t Steps::count_ = 0;

class RelayFifthReview : public OpenRelayTest {
 protected:
  // Of one user, all at one service.
  void AskForMany(int count) {
    std::vector<string> urls;
    for (int i = 0; i < 100; ++i) {
      urls.push_back("https://push.example.org/" + std::to_string(i));
    }
    for (int i = 0; i < count; i += 100) {
      Ask(MakeHandoff("alice", urls));
    }
  }
};

// -- END-4 --

// One user's share of a service was used up, so all that he had there was looked
// through for something of others', with each answer anew.
TEST_F(RelayFifthReview, END_4_one_users_pushes_took_the_square_of_their_number) {
  const Steps steps;
  settings_.queue_user_limit = 0;
  Reopen();
  Ask(MakeHandoff("bob", {"https://push.example.org/bob"}));
  AnswerAll(201);
  const auto send = [&](int count) {
    AskForMany(count);
    Steps::Take();
    // One by one, as they come.
    int answered = 0;
    for (; !sender_->requests.empty(); ++answered) {
      sender_->AnswerHttp(201);
      Run();
    }
    EXPECT_EQ(answered, count);
    return Steps::Take();
  };
  const int64_t some = send(1000);
  EXPECT_LT(send(4000), 6 * some);
}

// What others get later is seen all the same.
TEST_F(RelayFifthReview, END_4_one_users_pushes_are_before_nobodys) {
  settings_.queue_user_limit = 0;
  Reopen();
  for (const char* user : {"bob", "carol"}) {
    Ask(MakeHandoff(user, {"https://push.example.org/" + string(user)}));
  }
  sender_->AnswerHttp(429, 300);
  AnswerAll(201);
  AskForMany(2000);
  int at = 0;
  const auto is_others = [&](const relay::PushRequest& request) {
    return request.endpoint.url.ends_with("bob") || request.endpoint.url.ends_with("carol");
  };
  for (; at < 450 && !is_others(sender_->requests.back()); ++at) {
    for (int i = 0; i < 4; ++i) {
      sender_->AnswerHttp(201);
      Run();
    }
    clock_.Advance(1);
    Run();
  }
  EXPECT_GE(at, 300);
  EXPECT_LT(at, 340);
  Ask(MakeHandoff("carol", {"https://push.example.org/carol"}));
  EXPECT_TRUE(is_others(sender_->requests.back()));
}

}  // namespace
}  // namespace coi::test
