// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// What one user, or many together, took from all others: of what may be under way, of a
// service, of the gateway for device tokens, and of the time that answers take.

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
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

class RelayUserShares : public OpenRelayTest {
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

class GatewayUserShares : public GatewayRelayTest {};

// What one user's services keep waiting is a part of what may be under way.
TEST_F(RelayUserShares, END_4_one_user_could_stop_all_pushes) {
  std::vector<string> urls;
  for (int i = 0; i < 10; ++i) {
    urls.push_back("https://mallory.example:" + std::to_string(5000 + i) + "/");
  }
  // They answer well for a while ...
  for (int i = 0; i < 40; ++i) {
    Ask(MakeHandoff("mallory", urls));
    AnswerAll(201);
  }
  // ... and then not at all.
  for (int i = 0; i < 40; ++i) {
    Ask(MakeHandoff("mallory", urls));
  }
  const size_t held = sender_->requests.size();
  EXPECT_LT(held, 100U);
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  EXPECT_EQ(sender_->requests.size(), held + 1);
  // Another user of the same services isn't held back by it either.
  Ask(MakeHandoff("bob", {urls.front()}));
  EXPECT_EQ(sender_->requests.size(), held + 2);
  EXPECT_GE(AnswerAll(201), 402);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayUserShares, END_4_one_user_could_stop_a_service_for_all) {
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  AnswerAll(201);
  std::vector<string> urls;
  for (int i = 0; i < 10; ++i) {
    urls.push_back("https://mallory.example:" + std::to_string(5000 + i) + "/");
  }
  for (int i = 0; i < 40; ++i) {
    Ask(MakeHandoff("mallory", urls));
  }
  ASSERT_GE(sender_->requests.size(), 30U);
  // So many that others' pushes aren't even read.
  for (int i = 0; i < 600; ++i) {
    Ask(MakeHandoff("mallory", {"https://good.example/mallory"}));
  }
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  bool found = false;
  for (int i = 0; i < 5000 && !found; ++i) {
    auto& requests = sender_->requests;
    const auto good = std::ranges::find_if(requests, [](const relay::PushRequest& request) {
      return request.endpoint.url.starts_with("https://good.example/");
    });
    ASSERT_NE(good, requests.end());
    found = good->endpoint.url == "https://good.example/";
    std::swap(*good, requests.front());
    sender_->AnswerHttp(201);
    Run();
  }
  EXPECT_TRUE(found);
}

// One user's share of a service was used up, so all that he had there was looked
// through for something of others', with each answer anew.
TEST_F(RelayUserShares, END_4_one_users_pushes_took_the_square_of_their_number) {
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
TEST_F(RelayUserShares, END_4_one_users_pushes_are_before_nobodys) {
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

// It takes 30 s for each of mallory's tokens, and no time for others'.
TEST_F(GatewayUserShares, END_4_one_user_took_all_that_the_gateway_may_have_under_way) {
  int waits_since = -1;
  int longest = 0;
  int count = 0;
  for (int secs = 0; secs < 7200; ++secs) {
    if (secs % 30 == 0) {
      Ask(MakeTokens("mallory", BadTokens()));
    }
    if (secs % 60 == 10 && waits_since < 0) {
      Ask(MakeTokens("alice", {"alice"}));
      waits_since = secs;
    }
    if (AnswerSome(IsBadToken, 0, 30) > 0) {
      longest = std::max(longest, secs - waits_since);
      waits_since = -1;
      ++count;
    }
    clock_.Advance(1);
    Run();
  }
  EXPECT_LT(longest, 5);
  EXPECT_EQ(count, 120);
}

// Nor the connections that a service may have which has one for each request.
TEST_F(GatewayUserShares, END_4_one_user_took_all_connections_to_the_gateway) {
  for (int i = 0; i < 100; ++i) {
    Ask(MakeTokens("user" + std::to_string(i % 2), {"good"}));
    AnswerAll(200);
  }
  Ask(MakeTokens("mallory", BadTokens()));
  EXPECT_EQ(sender_->requests.size(), settings_.connections_origin_limit / 2);
  Ask(MakeTokens("alice", {"alice"}));
  EXPECT_EQ(sender_->requests.size(), settings_.connections_origin_limit / 2 + 1);
  EXPECT_EQ(AnswerAll(200), 11);
}

// What waits for others isn't behind all that waits for one who has had his share.
TEST_F(GatewayUserShares, END_4_one_user_was_before_all_others_at_the_gateway) {
  for (const char* name : {"alice", "bob"}) {
    Ask(MakeTokens(name, {"good"}));
  }
  AnswerAll(200);
  for (int i = 0; i < 90; ++i) {
    Ask(MakeTokens("mallory", BadTokens(), i + 1));
  }
  for (int secs = 0; secs < 120; ++secs) {
    Ask(MakeTokens("alice", {"alice"}));
    EXPECT_EQ(AnswerSome(IsBadToken, 0, 30), 1) << secs;
    clock_.Advance(1);
    Run();
  }
}

// Nor behind what waits for so many that no more fits into memory.
TEST_F(GatewayUserShares, END_4_many_users_were_before_all_others_at_a_service) {
  settings_.in_flight_origin_limit = 100;
  settings_.queue_user_limit = 1000;
  Reopen();
  for (int i = 0; i < 100; ++i) {
    Ask(MakeHandoff(i % 2 == 0 ? "alice" : "bob", {"https://push.example/"}));
    AnswerAll(201);
  }
  for (int i = 0; i < 60 * 110; ++i) {
    Ask(MakeHandoff("mallory" + std::to_string(i / 110), {"https://push.example/"}));
  }
  for (const char* user : {"alice", "bob", "carol"}) {
    const size_t before = sender_->requests.size();
    Ask(MakeHandoff(user, {string("https://push.example/") + user}));
    ASSERT_EQ(sender_->requests.size(), before + 1) << user;
    EXPECT_TRUE(sender_->requests.back().endpoint.url.ends_with(user));
    EXPECT_FALSE(relay_->HasWork());
  }
}

// What of it one user has to leave to others is read when there is room again, and not
// looked for all the time.
TEST_F(GatewayUserShares, END_4_what_is_left_to_others_is_sent_later) {
  const auto ask = [&](const string& user, int count) {
    std::vector<string> urls;
    urls.reserve(100);
    for (int i = 0; i < count; ++i) {
      urls.push_back("https://push.example/" + user + std::to_string(i));
    }
    Ask(MakeHandoff(user, urls));
  };
  ask("mallory", 40);
  ask("alice", 1);
  ask("mallory", 80);
  relay_.reset();
  Reopen();
  Run();
  int sent = 0;
  for (; !sender_->requests.empty(); Run()) {
    EXPECT_FALSE(relay_->HasWork()) << sent;
    sender_->AnswerHttp(201);
    ++sent;
  }
  EXPECT_EQ(sent, 121);
}

TEST_F(GatewayUserShares, END_5_three_users_took_all_registrations) {
  std::vector<int> fds;
  for (int i = 0; i < 64; ++i) {
    const string url = "https://push" + std::to_string(i / 8) + ".example/" + std::to_string(i);
    fds.push_back(Connect(
        push::WriteHandoff(MakeRegistration("mallory" + std::to_string(i / 30), url)) + "\n"));
    Run();
  }
  // The last one has asked for no more than 4.
  EXPECT_EQ(sender_->requests.size(), 24U);
  const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
  Run();
  EXPECT_EQ(sender_->requests.size(), 25U);
  AnswerAll(201);
  EXPECT_EQ(Receive(fd).substr(0, 10), "+\taccepted");
  for (const int one : fds) {
    close(one);
  }
}

}  // namespace
}  // namespace coi::test
