// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Mistakes of the relay that the fourth review has found.

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "push/handoff.h"
#include "push/subscription.h"
#include "relay_util.h"

namespace coi::test {
namespace {

using std::string;

// With a gateway for device tokens.
class RelayFourthReview : public OpenRelayTest {
 protected:
  void SetUp() override {
    settings_.device_token_gateway = "https://gateway.example.org/notify";
    OpenRelayTest::SetUp();
  }
  push::Handoff MakeTokens(const string& user, const std::vector<string>& tokens, int64_t set = 1) {
    push::Handoff handoff = MakeHandoff(user, {});
    for (const string& token : tokens) {
      handoff.subscriptions.emplace_back(
          "deltachat-" + std::to_string(handoff.subscriptions.size()),
          push::WriteStored(*push::MakeDeviceToken(token, set)));
    }
    return handoff;
  }
  // Services that nobody has heard of yet.
  std::vector<string> NewUrls() {
    std::vector<string> urls;
    urls.reserve(100);
    for (int i = 0; i < 100; ++i) {
      urls.push_back("https://push" + std::to_string(++last_url_) + ".example/");
    }
    return urls;
  }
  static std::vector<string> BadTokens() {
    std::vector<string> tokens;
    tokens.reserve(10);
    for (int i = 0; i < 10; ++i) {
      tokens.push_back("bad" + std::to_string(i));
    }
    return tokens;
  }
  // Answers bad requests by `status` (0: not at all) once they are `after` seconds
  // old, and good ones at once. Returns how many of those there were.
  int AnswerSome(const std::function<bool(const relay::PushRequest&)>& is_bad, int status,
                 int after) {
    auto& requests = sender_->requests;
    for (int good = 0;; Run()) {
      const auto next = std::ranges::find_if(requests, [&](const relay::PushRequest& request) {
        const int64_t since = started_.try_emplace(request.id, clock_.steady).first->second;
        return !is_bad(request) || clock_.steady - since >= int64_t{1000000} * after;
      });
      if (next == requests.end()) {
        return good;
      }
      const bool bad = is_bad(*next);
      good += bad ? 0 : 1;
      std::swap(*next, requests.front());
      if (bad && status == 0) {
        sender_->AnswerUnreachable();
      } else {
        sender_->AnswerHttp(bad ? status : 200);
      }
    }
  }
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
  void FailAll() {
    for (; !sender_->requests.empty(); Run()) {
      sender_->AnswerUnreachable();
    }
  }
  // Pushes that nobody will look for after a restart.
  static constexpr const char* kForgotten =
      "SELECT count(*) FROM push WHERE next IS NOT NULL AND origin NOT IN "
      "(SELECT id FROM origin)";
  static bool IsBadToken(const relay::PushRequest& request) {
    return request.body.starts_with("bad");
  }

 private:
  int last_url_ = 0;
  std::map<uint64_t, int64_t> started_;
};

// -- END-4 --

// All tokens are sent to one gateway, which can't do with mallory's.
TEST_F(RelayFourthReview, END_4_one_user_made_the_gateway_sick) {
  for (const int status : {500, 0}) {
    Ask(MakeTokens("alice", {"alice"}));
    EXPECT_EQ(AnswerSome(IsBadToken, status, 0), 1);
    for (int i = 0; i < 1800; ++i) {
      if (i % 30 == 0) {
        Ask(MakeTokens("mallory", BadTokens()));
      }
      AnswerSome(IsBadToken, status, 0);
      clock_.Advance(1);
      Run();
    }
    Ask(MakeTokens("alice", {"alice"}));
    EXPECT_EQ(AnswerSome(IsBadToken, status, 0), 1) << status;
  }
}

TEST_F(RelayFourthReview, END_4_many_users_still_make_a_service_sick) {
  for (const int status : {500, 0}) {
    const string url = "https://sick" + std::to_string(status) + ".example/";
    for (int i = 0; i < 20; ++i) {
      Ask(MakeHandoff("user" + std::to_string(i), {url}));
      while (!sender_->requests.empty()) {
        status == 0 ? sender_->AnswerUnreachable() : sender_->AnswerHttp(status);
        Run();
      }
    }
    Ask(MakeHandoff("alice", {url}));
    EXPECT_EQ(sender_->requests.size(), 0U);
  }
}

// It takes 30 s for each of mallory's tokens, and no time for others'.
TEST_F(RelayFourthReview, END_4_one_user_took_all_that_the_gateway_may_have_under_way) {
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
TEST_F(RelayFourthReview, END_4_one_user_took_all_connections_to_the_gateway) {
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
TEST_F(RelayFourthReview, END_4_one_user_was_before_all_others_at_the_gateway) {
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
TEST_F(RelayFourthReview, END_4_many_users_were_before_all_others_at_a_service) {
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
TEST_F(RelayFourthReview, END_4_what_is_left_to_others_is_sent_later) {
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

// So many hang that those are put away which have nothing to do.
TEST_F(RelayFourthReview, END_4_many_services_that_hang_kept_out_a_good_one) {
  const auto is_bad = [](const relay::PushRequest& request) {
    return request.endpoint.host != "good.example";
  };
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  AnswerAll(201);
  clock_.Advance(60);
  Run();
  for (int i = 0; i < 45; ++i) {
    Ask(MakeHandoff("mallory" + std::to_string(i), NewUrls()));
  }
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  EXPECT_EQ(AnswerSome(is_bad, 0, 30), 1);
}

// -- MSG-10 --

TEST_F(RelayFourthReview, MSG_10_a_push_stayed_for_ever_whose_service_was_forgotten) {
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
TEST_F(RelayFourthReview, MSG_10_a_push_was_forgotten_whose_service_was_when_its_turn_came) {
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

TEST_F(RelayFourthReview, MSG_10_a_service_that_refuses_filled_the_queue_for_all) {
  settings_.queue_limit = 20;
  Reopen();
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  AnswerAll(201);
  const auto refuse = [&](int i) {
    string answer = Ask(MakeHandoff("user" + std::to_string(i), {"https://bad.example/"}));
    for (; !sender_->requests.empty(); Run()) {
      sender_->AnswerHttp(403);
    }
    return answer;
  };
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(refuse(i), i < 10 ? "+\tqueued\n" : "-\tfull\n") << i;
  }
  EXPECT_EQ(Ask(MakeHandoff("alice", {"https://good.example/"})), "+\tqueued\n");
  AnswerAll(201);
  // Now and then it may show that it takes them again.
  clock_.Advance(61);
  EXPECT_EQ(Ask(MakeHandoff("alice", {"https://bad.example/alice"})), "+\tqueued\n");
  AnswerAll(201);
  EXPECT_EQ(refuse(20), "+\tqueued\n");
  EXPECT_EQ(refuse(21), "+\tqueued\n");
}

// -- MSG-9 --

TEST_F(RelayFourthReview, MSG_9_Retry_After_ended_with_the_push_that_was_answered) {
  Ask(MakeHandoff("alice"));
  sender_->AnswerUnreachable();
  Run();
  relay_.reset();
  clock_.Advance(86400 - 30);
  Reopen();
  Ask(MakeHandoff("alice"));
  for (; !sender_->requests.empty(); Run()) {
    sender_->AnswerHttp(429, 3600);
  }
  clock_.Advance(3500);
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().dropped, 1U);
  clock_.Advance(500);
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
}

// It was to be tried when it would have expired; now that isn't its end any more.
TEST_F(RelayFourthReview, MSG_9_CLI_4_Retry_After_ended_where_a_device_token_had_another_mail) {
  settings_.ttl_chat_secs = settings_.ttl_mail_secs = 600;
  Reopen();
  Ask(MakeTokens("alice", {"alice"}));
  sender_->AnswerHttp(429, 900);
  Run();
  for (int i = 0; i < 2; ++i) {
    clock_.Advance(400);
    EXPECT_EQ(Ask(MakeTokens("alice", {"alice"})), "+\tqueued\n");
    EXPECT_EQ(sender_->requests.size(), 0U);
  }
  clock_.Advance(200);
  Run();
  EXPECT_EQ(AnswerAll(200), 1);
  EXPECT_EQ(Status().queued, 0U);
}

// -- CLI-4 --

// What waits for a device token stands for all mails that came since.
TEST_F(RelayFourthReview, CLI_4_what_stood_for_the_newest_mail_was_dropped_as_the_oldest) {
  settings_.queue_user_limit = 5;
  Reopen();
  for (int i = 0; i < 5; ++i) {
    push::Handoff handoff = MakeTokens("alice", {"alice"});
    handoff.subscriptions.emplace_back(
        "subscription-9", push::WriteStored(MakeSubscription("https://dead.example/a")));
    EXPECT_EQ(Ask(handoff), "+\tqueued\n");
    FailAll();
  }
  EXPECT_EQ(Status().queued, 5U);
  EXPECT_EQ(Status().dropped, 1U);
  int woken = 0;
  for (int i = 0; i < 7200; ++i) {
    clock_.Advance(1);
    Run();
    woken += AnswerSome([](const auto& request) { return !request.is_device_token; }, 0, 0);
  }
  EXPECT_EQ(woken, 1);
}

TEST_F(RelayFourthReview, CLI_4_one_that_was_about_to_be_sent_kept_its_old_end) {
  settings_.ttl_chat_secs = settings_.ttl_mail_secs = 60;
  settings_.in_flight_limit = 8;
  Reopen();
  for (int i = 0; i < 8; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i),
                    {"https://push" + std::to_string(i) + ".example/"}));
  }
  const size_t under_way = sender_->requests.size();
  Ask(MakeTokens("alice", {"alice"}));
  ASSERT_EQ(sender_->requests.size(), under_way);
  clock_.Advance(50);
  Run();
  EXPECT_EQ(Ask(MakeTokens("alice", {"alice"})), "+\tqueued\n");
  clock_.Advance(15);
  Run();
  EXPECT_EQ(AnswerSome([](const auto& request) { return !request.is_device_token; }, 0, 0), 1);
}

TEST_F(RelayFourthReview, CLI_4_refused_pushes_of_a_device_token_piled_up) {
  for (int i = 0; i < 20; ++i) {
    Ask(MakeTokens("alice", {"alice"}));
    for (; !sender_->requests.empty(); Run()) {
      sender_->AnswerHttp(403);
    }
  }
  EXPECT_LE(Status().queued, 2U);
  // It is tried again while it waits for nothing else.
  clock_.Advance(900);
  Run();
  EXPECT_GE(AnswerAll(200), 1);
  EXPECT_EQ(Status().queued, 0U);
}

// -- END-5 --

TEST_F(RelayFourthReview, END_5_three_users_took_all_registrations) {
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
