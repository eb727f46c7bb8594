// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Services that are down, hang or refuse: when one was wrongly taken for such, and what
// it kept from others.

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "relay_util.h"

namespace coi::test {
namespace {

using std::string;

class RelaySickServices : public OpenRelayTest {};

class GatewaySickServices : public GatewayRelayTest {};

TEST_F(RelaySickServices, END_4_two_dead_subscriptions_made_a_service_sick) {
  for (const int status : {0, 503, 507}) {
    const string url = "https://push" + std::to_string(status) + ".example/";
    for (int i = 0; i < 12; ++i) {
      for (const char* name : {"dead", "gone"}) {
        Ask(MakeHandoff(name, {url + name}));
        while (!sender_->requests.empty()) {
          Fail(status);
        }
        clock_.Advance(3600);
        Run();
      }
    }
    while (!sender_->requests.empty()) {
      Fail(status);
    }
    Ask(MakeHandoff("alice" + std::to_string(status), {url + "alice"}));
    EXPECT_EQ(sender_->requests.size(), 1U) << status;
    AnswerAll(201);
  }
}

TEST_F(RelaySickServices, END_4_one_failed_connection_counted_for_all_who_waited_for_it) {
  for (int i = 0; i < 4; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i), {"https://a.example/" + std::to_string(i)}));
  }
  ASSERT_EQ(sender_->requests.size(), 4U);
  for (bool waited = false; !sender_->requests.empty(); waited = true) {
    sender_->Answer({0, relay::SendStatus::kUnreachable, 0, std::nullopt, "timed out", waited});
  }
  Run();
  // It is well, and those who have only waited have not been tried.
  Ask(MakeHandoff("alice", {"https://a.example/alice"}));
  EXPECT_EQ(sender_->requests.size(), 1U);
  AnswerAll(201);
  clock_.Advance(10);
  Run();
  EXPECT_EQ(AnswerAll(201), 4);
  int second_attempts = 0;
  for (const Event& event : events_) {
    second_attempts += event.outcome == COI_RELAY_DELIVERED && event.attempt == 2 ? 1 : 0;
  }
  EXPECT_EQ(second_attempts, 1);
}

// All tokens are sent to one gateway, which can't do with mallory's.
TEST_F(GatewaySickServices, END_4_one_user_made_the_gateway_sick) {
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

TEST_F(GatewaySickServices, END_4_many_users_still_make_a_service_sick) {
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

// So many hang that those are put away which have nothing to do.
TEST_F(GatewaySickServices, END_4_many_services_that_hang_kept_out_a_good_one) {
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

TEST_F(RelaySickServices, END_4_a_service_that_answers_waited_for_those_that_do_not) {
  settings_.in_flight_limit = 8;
  Reopen();
  // Three of the four that may be under way to services nobody knows hang.
  int user = 0;
  const auto ask = [&](const string& url) {
    EXPECT_EQ(Ask(MakeHandoff("user" + std::to_string(user++), {url})), kQueued);
  };
  for (int i = 0; i < 3; ++i) {
    ask("https://hangs" + std::to_string(i) + ".example/a");
  }
  ask("https://good.example/a");
  ASSERT_EQ(sender_->requests.size(), 4U);
  for (int i = 3; i < 30; ++i) {
    ask("https://hangs" + std::to_string(i) + ".example/a");
  }
  for (int i = 0; i < 10; ++i) {
    ask("https://good.example/a");
  }
  std::swap(sender_->requests[0], sender_->requests[3]);
  EXPECT_EQ(sender_->AnswerHttp(201).endpoint.origin, "https://good.example");
  Run();
  int count = 0;
  for (const relay::PushRequest& request : sender_->requests) {
    count += request.endpoint.origin == "https://good.example" ? 1 : 0;
  }
  EXPECT_GT(count, 0);
}

TEST_F(RelaySickServices, MSG_10_a_dead_service_filled_the_queue_for_all) {
  settings_.queue_limit = 20;
  Reopen();
  Ask(MakeHandoff("alice", {"https://good.example/"}));
  AnswerAll(201);
  const auto dead = [&](int i) {
    return MakeHandoff("user" + std::to_string(i), {"https://dead.example/" + std::to_string(i)});
  };
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Ask(dead(i)), "+\tqueued\n");
    while (!sender_->requests.empty()) {
      Fail(0);
    }
  }
  // One that nobody has heard of may be well.
  EXPECT_EQ(Ask(MakeHandoff("alice", {"https://new.example/"})), "+\tqueued\n");
  sender_->AnswerHttp(201);
  Run();
  EXPECT_EQ(Ask(dead(10)), "-\tfull\n");
  EXPECT_NE(AllLogs().find("half full"), string::npos);
  // What comes by the spool must not keep out those behind it.
  const push::Handoff spooled = dead(11);
  PutIntoSpool(spooled);
  Run();
  EXPECT_FALSE(IsInSpool(spooled));
  // For all of a mail's subscriptions that aren't dead there is room.
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Ask(MakeHandoff("alice", {"https://dead.example/", "https://good.example/"})),
              "+\tqueued\n");
  }
  EXPECT_EQ(Status().queued, 20U);
  EXPECT_EQ(Ask(MakeHandoff("alice", {"https://good.example/"})), "-\tfull\n");
}

TEST_F(GatewaySickServices, MSG_10_a_service_that_refuses_filled_the_queue_for_all) {
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

}  // namespace
}  // namespace coi::test
