// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/relay.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include <set>

#include "relay_util.h"
#include "test_util.h"

namespace coi::test {
namespace {

using push::Handoff;
using std::string;

class Relay : public OpenRelayTest {};

TEST_F(Relay, MSG_8_sends_what_it_is_given) {
  Handoff handoff = MakeHandoff("alice");
  handoff.chat = true;
  EXPECT_EQ(Ask(handoff), kQueued);
  ASSERT_EQ(sender_->requests.size(), 1U);
  EXPECT_EQ(Status().queued, 1U);
  EXPECT_EQ(Status().in_flight, 1U);
  const relay::PushRequest request = sender_->AnswerHttp(201);
  EXPECT_EQ(request.endpoint.url, "https://push.example.org/a");
  EXPECT_EQ(request.ttl_secs, 7U * 86400);
  EXPECT_EQ(request.urgency, relay::Urgency::kHigh);
  EXPECT_EQ(request.topic.size(), 32U);
  EXPECT_EQ(request.topic.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                            "0123456789-_"),
            string::npos);
  EXPECT_EQ(request.authorization.substr(0, 8), "vapid t=");
  EXPECT_EQ(request.validation, "");
  Run();
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(Status().delivered, 1U);
  ASSERT_EQ(events_.size(), 1U);
  EXPECT_EQ(events_[0].outcome, COI_RELAY_DELIVERED);
  EXPECT_EQ(events_[0].user, "alice");
  EXPECT_EQ(events_[0].subscription, "subscription-0");
  EXPECT_EQ(events_[0].origin, "https://push.example.org");
  EXPECT_EQ(events_[0].status, 201U);
  EXPECT_EQ(events_[0].attempt, 1U);
  EXPECT_FALSE(events_[0].validation);
  EXPECT_EQ(closed_, 1);
}

TEST_F(Relay, MSG_8_other_mail_is_not_urgent_and_has_a_topic_of_its_own) {
  Ask(MakeHandoff("alice"));
  Ask(MakeHandoff("alice"));
  ASSERT_EQ(sender_->requests.size(), 2U);
  EXPECT_EQ(sender_->requests[0].urgency, relay::Urgency::kNormal);
  EXPECT_EQ(sender_->requests[0].ttl_secs, 86400U);
  EXPECT_NE(sender_->requests[0].topic, sender_->requests[1].topic);
  EXPECT_EQ(sender_->requests[0].authorization, sender_->requests[1].authorization);
}

TEST_F(Relay, MSG_7_tokens_are_renewed_well_before_they_end) {
  const auto token = [&] {
    Ask(MakeHandoff("alice"));
    return sender_->AnswerHttp(201).authorization;
  };
  const string first = token();
  clock_.Advance(int64_t{5} * 3600);
  EXPECT_EQ(token(), first);
  clock_.Advance(int64_t{2} * 3600);
  EXPECT_NE(token(), first);
}

TEST_F(Relay, SUB_6_one_that_is_not_validated_gets_no_push) {
  push::Handoff handoff = MakeHandoff("alice");
  push::Subscription subscription = MakeSubscription("https://push.example.org/a");
  subscription.validated = false;
  subscription.validation = "Canary-Validation";
  subscription.expires = clock_.wall / 1000000 + 300;
  handoff.subscriptions.front().second = push::WriteStored(subscription);
  EXPECT_EQ(Ask(handoff), "+\tqueued\n");
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 0U);
}

// Killed as soon as it has answered.
TEST_F(Relay, MSG_10_forgets_before_it_says_so) {
  push::Handoff handoff = MakeHandoff("alice");
  Ask(handoff);
  ASSERT_EQ(Status().queued, 1U);
  handoff.kind = push::HandoffKind::kForget;
  const int fd = Connect(push::WriteHandoff(handoff) + "\n");
  relay_->Run();
  EXPECT_EQ(Receive(fd), "+\tok\n");
  Reopen();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(Relay, MSG_1_one_push_for_each_subscription) {
  const Handoff handoff =
      MakeHandoff("alice", {"https://a.example/1", "https://b.example/2", "https://a.example/3"});
  EXPECT_EQ(Ask(handoff), kQueued);
  EXPECT_EQ(sender_->requests.size(), 3U);
  EXPECT_EQ(Status().queued, 3U);
  EXPECT_EQ(AnswerAll(201), 3);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(Relay, MSG_9_success) {
  for (const int status : {200, 201, 202, 204}) {
    Ask(MakeHandoff("alice"));
    sender_->AnswerHttp(status);
    Run();
    EXPECT_EQ(Status().queued, 0U) << status;
  }
  EXPECT_EQ(Status().delivered, 4U);
}

TEST_F(Relay, MSG_9_gone_is_remembered_until_it_registers_again) {
  for (const int status : {404, 410}) {
    const string user = "user" + std::to_string(status);
    Ask(MakeHandoff(user));
    Ask(MakeHandoff(user));
    const Handoff both = MakeHandoff(user, {"https://push.example.org/a", "https://b.example/2"});
    Ask(both);
    // The other pushes of the same subscription are not tried any more.
    sender_->AnswerHttp(status);
    Run();
    EXPECT_EQ(Status().queued, 1U);
    AnswerAll(201);
    Reopen();
    EXPECT_EQ(Ask(MakeHandoff(user, {"https://push.example.org/a", "https://b.example/2"})),
              "+\tqueued\tgone=subscription-0\n");
    EXPECT_EQ(AnswerAll(201), 1);
    Handoff gone = MakeHandoff(user, {"https://push.example.org/a", "https://b.example/2"});
    gone.kind = push::HandoffKind::kGone;
    gone.mail = {};
    EXPECT_EQ(Ask(gone), "+\tok\tgone=subscription-0\n");
    // Another endpoint under the same id isn't gone, nor is another user's.
    gone.subscriptions[0] = {"subscription-0",
                             push::WriteStored(MakeSubscription("https://push.example.org/b"))};
    EXPECT_EQ(Ask(gone), "+\tok\n");
    EXPECT_EQ(Ask(MakeHandoff("another")), kQueued);
    AnswerAll(201);

    const int fd = Connect(push::WriteHandoff(MakeRegistration(user)) + "\n");
    Run();
    AnswerAll(201);
    EXPECT_EQ(Receive(fd).substr(0, 11), "+\taccepted\t");
    EXPECT_EQ(Ask(MakeHandoff(user)), kQueued);
    AnswerAll(201);
  }
}

TEST_F(Relay, MSG_9_gone_is_sent_nothing_of_what_was_ready) {
  for (int i = 0; i < 10; ++i) {
    Ask(MakeHandoff("alice"));
  }
  const size_t under_way = sender_->requests.size();
  ASSERT_LT(under_way, 10U);
  for (size_t i = 0; i < under_way; ++i) {
    sender_->AnswerHttp(410);
  }
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 0U);
}

// A process may give any name; who it is to the kernel, it can't choose.
TEST_F(Relay, END_5_what_others_are_told_of_a_subscription_is_not_its_users) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "only root can be somebody else";
  }
  EXPECT_EQ(AskAs(65534, MakeHandoff("alice")), kQueued);
  AnswerAll(410);
  EXPECT_EQ(AskAs(65534, MakeHandoff("alice")), "+\tqueued\tgone=subscription-0\n");
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  EXPECT_EQ(AnswerAll(201), 1);
}

TEST_F(Relay, MSG_9_END_5_nobody_else_ends_what_a_service_wants_to_wait) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "only root can be somebody else";
  }
  Ask(MakeHandoff("alice"));
  sender_->AnswerHttp(429, 3600);
  Run();
  Handoff forget = MakeHandoff("alice");
  forget.kind = push::HandoffKind::kForget;
  AskAs(65534, forget);
  Ask(MakeHandoff("alice"));
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 2U);
}

TEST_F(Relay, MSG_9_gone_is_forgotten_after_90_days) {
  Ask(MakeHandoff("alice"));
  AnswerAll(410);
  clock_.Advance(int64_t{89} * 86400);
  Run();
  EXPECT_EQ(Ask(MakeHandoff("alice")), "+\tqueued\tgone=subscription-0\n");
  clock_.Advance(int64_t{2} * 86400);
  Run();
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
}

TEST_F(Relay, MSG_9_overload_is_tried_again_with_back_off) {
  for (const int status : {429, 500, 502, 503, 507}) {
    const string user = "user" + std::to_string(status);
    Ask(MakeHandoff(user, {"https://host" + std::to_string(status) + ".example/"}));
    int64_t before = 0;
    for (int i = 0; i < 5; ++i) {
      ASSERT_EQ(sender_->requests.size(), 1U) << status;
      sender_->AnswerHttp(status);
      Run();
      EXPECT_EQ(Status().queued, 1U);
      int64_t waited = 0;
      for (; sender_->requests.empty() && waited < 7200; ++waited) {
        clock_.Advance(1);
        Run();
      }
      EXPECT_GT(waited, before);
      before = waited;
    }
    AnswerAll(201);
    EXPECT_EQ(Status().queued, 0U);
  }
}

TEST_F(Relay, MSG_9_retry_after_is_obeyed) {
  const struct {
    int64_t retry_after;
    int64_t at_least;
    int64_t at_most;
  } cases[] = {
      {1, 1, 3},  {120, 120, 134}, {3600, 3600, 3962}, {1000000000, 21600, 21602},
      {-5, 3, 8}, {0, 3, 8},
  };
  for (const auto& one : cases) {
    Ask(MakeHandoff("alice"));
    sender_->AnswerHttp(429, one.retry_after);
    Run();
    clock_.Advance(one.at_least - 1);
    Run();
    EXPECT_EQ(sender_->requests.size(), 0U) << one.retry_after;
    clock_.Advance(one.at_most - one.at_least + 1);
    Run();
    EXPECT_EQ(sender_->requests.size(), 1U) << one.retry_after;
    AnswerAll(201);
  }
}

TEST_F(Relay, MSG_9_retry_after_does_not_outlive_the_push) {
  settings_.ttl_mail_secs = 400;
  Reopen();
  uint64_t dropped = 0;
  for (const int status : {503, 403}) {
    Ask(MakeHandoff("alice"));
    sender_->AnswerHttp(status, 3600);
    Run();
    clock_.Advance(401);
    Run();
    EXPECT_EQ(Status().queued, 0U) << status;
    EXPECT_EQ(Status().dropped, ++dropped) << status;
  }
}

TEST_F(Relay, MSG_9_too_large_is_tried_once_without_content) {
  Ask(MakeHandoff("alice"));
  const size_t size = sender_->AnswerHttp(413).body.size();
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  EXPECT_LT(sender_->requests[0].body.size(), size);
  // That is kept over a restart.
  Reopen();
  ASSERT_EQ(sender_->requests.size(), 1U);
  EXPECT_LT(sender_->requests[0].body.size(), size);
  sender_->AnswerHttp(413);
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(Status().dropped, 1U);
}

TEST_F(Relay, MSG_9_refused_is_kept_and_holds_nobody_up) {
  for (const int status : {301, 307, 400, 401, 403, 406, 451}) {
    const string endpoint = "https://host" + std::to_string(status) + ".example/";
    const uint64_t queued = Status().queued;
    Ask(MakeHandoff("alice", {endpoint}));
    sender_->AnswerHttp(status);
    Run();
    EXPECT_EQ(Status().queued, queued + 1) << status;
    Ask(MakeHandoff("alice", {endpoint}));
    ASSERT_EQ(sender_->requests.size(), 1U) << status;
    AnswerAll(201);
    EXPECT_EQ(Status().queued, queued + 1) << status;
  }
  clock_.Advance(400);
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  clock_.Advance(400);
  Run();
  EXPECT_EQ(AnswerAll(201), 7);
}

// What was refused, or is not allowed, is neither waited for nor sent earlier.
TEST_F(Relay, MSG_9_refused_is_not_in_line_with_others) {
  for (const bool is_allowed : {true, false}) {
    const string endpoint = is_allowed ? "https://a.example/" : "https://b.example/";
    settings_.hosts_denied = is_allowed ? "" : "b.example";
    Reopen();
    Ask(MakeHandoff("alice", {endpoint}));
    if (is_allowed) {
      sender_->AnswerHttp(403);
      Run();
    }
    settings_.hosts_denied = "";
    Reopen();
    ASSERT_EQ(sender_->requests.size(), 0U);
    Ask(MakeHandoff("alice", {endpoint}));
    ASSERT_EQ(sender_->requests.size(), 1U) << endpoint;
    const string topic = sender_->AnswerHttp(503).topic;
    Run();
    clock_.Advance(10);
    Run();
    ASSERT_EQ(sender_->requests.size(), 1U) << endpoint;
    EXPECT_EQ(sender_->AnswerHttp(201).topic, topic) << endpoint;
    Run();
    EXPECT_EQ(sender_->requests.size(), 0U) << endpoint;
    clock_.Advance(1200);
    Run();
    EXPECT_EQ(AnswerAll(201), 1) << endpoint;
  }
}

TEST_F(Relay, MSG_7_a_token_that_may_be_what_was_refused_is_not_used_again) {
  Ask(MakeHandoff("alice"));
  const string first = sender_->AnswerHttp(403).authorization;
  Run();
  Ask(MakeHandoff("alice"));
  EXPECT_NE(sender_->AnswerHttp(201).authorization, first);
}

TEST_F(Relay, END_2_not_allowed_is_kept) {
  Ask(MakeHandoff("alice"));
  sender_->Answer({0, relay::SendStatus::kNotAllowed, 0, std::nullopt, "not allowed"});
  Run();
  EXPECT_EQ(Status().queued, 1U);
  EXPECT_EQ(Status().deferred, 1U);
}

TEST_F(Relay, END_3_denied_for_a_while_is_sent_later) {
  settings_.hosts_denied = "push.example.org";
  Reopen();
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 1U);
  settings_.hosts_denied = "";
  Reopen();
  clock_.Advance(1200);
  Run();
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(Status().queued, 0U);
}

// -- CLI-4 --

class DeviceTokens : public RelayTest {
 protected:
  void SetUp() override {
    settings_.device_token_gateway = "https://gateway.example.org/notify";
    ASSERT_TRUE(Open()) << error_;
  }
  Handoff TokenHandoff(int64_t set_secs) {
    Handoff handoff = MakeHandoff("alice", {});
    handoff.subscriptions.emplace_back(
        "deltachat-1", push::WriteStored(*push::MakeDeviceToken("openpgp:x", set_secs)));
    return handoff;
  }
  Handoff TokenHandoff() {
    return TokenHandoff(1);
  }
};

TEST_F(DeviceTokens, CLI_4_one_is_sent_as_it_is) {
  EXPECT_EQ(Ask(TokenHandoff()), kQueued);
  ASSERT_EQ(sender_->requests.size(), 1U);
  const relay::PushRequest request = sender_->AnswerHttp(200);
  EXPECT_TRUE(request.is_device_token);
  EXPECT_EQ(request.endpoint.url, "https://gateway.example.org/notify");
  EXPECT_EQ(request.body, "openpgp:x");
  EXPECT_EQ(request.authorization, "");
  EXPECT_EQ(request.validation, "");
  Run();
  EXPECT_EQ(Status().delivered, 1U);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(DeviceTokens, CLI_4_one_that_waits_is_enough) {
  Ask(TokenHandoff());
  // It may have been sent before the second mail was stored.
  Ask(TokenHandoff());
  EXPECT_EQ(sender_->requests.size(), 2U);
  sender_->AnswerHttp(200);
  sender_->AnswerHttp(503);
  Run();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Ask(TokenHandoff()), kQueued);
    EXPECT_EQ(Status().queued, 1U);
  }
  Reopen();
  clock_.Advance(3600);
  Run();
  EXPECT_EQ(AnswerAll(200), 1);
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(Ask(TokenHandoff()), kQueued);
  EXPECT_EQ(AnswerAll(200), 1);
}

TEST_F(DeviceTokens, CLI_4_one_that_waits_does_so_as_long_as_the_last_mail) {
  Ask(TokenHandoff());
  sender_->AnswerUnreachable();
  Run();
  relay_.reset();
  clock_.Advance(86000);
  ASSERT_TRUE(Open()) << error_;
  Run();
  while (!sender_->requests.empty()) {
    sender_->AnswerUnreachable();
    Run();
  }
  Ask(TokenHandoff());
  relay_.reset();
  clock_.Advance(80000);
  Reopen();
  EXPECT_EQ(AnswerAll(200), 1);
  EXPECT_EQ(Status().dropped, 0U);
}

TEST_F(DeviceTokens, CLI_4_one_that_is_gone_may_be_set_again) {
  Ask(TokenHandoff(1));
  AnswerAll(410);
  EXPECT_EQ(Ask(TokenHandoff(1)), "+\tqueued\tgone=deltachat-1\n");
  EXPECT_EQ(AnswerAll(200), 0);
  EXPECT_EQ(Ask(TokenHandoff(2)), kQueued);
  EXPECT_EQ(AnswerAll(200), 1);
}

TEST_F(DeviceTokens, CLI_4_END_3_the_gateway_is_an_endpoint) {
  for (const char* url : {"gateway.example.org", "http://gateway.example.org/", "ftp://x/",
                          "https://127.0.0.1/notify"}) {
    settings_.device_token_gateway = url;
    relay_.reset();
    EXPECT_FALSE(Open()) << url;
    EXPECT_NE(error_.find("coi_push_deltachat_gateway"), string::npos) << error_;
  }
  // What was handed off before it was turned off waits, and may be sent yet.
  settings_.device_token_gateway = "";
  ASSERT_TRUE(Open()) << error_;
  EXPECT_EQ(Ask(TokenHandoff()), kQueued);
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 1U);
}

TEST_F(Relay, MSG_10_ttl_over) {
  Ask(MakeHandoff("alice"));
  sender_->AnswerUnreachable();
  Run();
  relay_.reset();
  clock_.Advance(86401);
  Reopen();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 0U);
  ASSERT_EQ(Status().dropped, 1U);
  EXPECT_EQ(events_.back().outcome, COI_RELAY_DROPPED);
  EXPECT_EQ(events_.back().user, "alice");
}

TEST_F(Relay, MSG_10_ttl_over_of_what_is_not_allowed) {
  settings_.hosts_denied = "push.example.org";
  Reopen();
  Ask(MakeHandoff("alice"));
  EXPECT_EQ(Status().queued, 1U);
  clock_.Advance(86400 + 1);
  Run();
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(Status().dropped, 1U);
}

// Times that a wrong clock has left in the queue. No push waits longer for them than
// for the longest Retry-After.
TEST_F(Relay, MSG_10_waits_for_no_time_that_is_far_away) {
  for (const char* sql :
       {"UPDATE push SET next = next + 300000000000", "UPDATE origin SET due = due + 300000000000",
        "UPDATE origin SET failures = 20, resume = 3000000000000",
        "UPDATE subscription SET resume = resume + 300000000000"}) {
    Reopen();
    Ask(MakeHandoff("alice"));
    Ask(MakeHandoff("alice"));
    sender_->AnswerHttp(503);
    sender_->AnswerHttp(503);
    Run();
    relay_.reset();
    sqlite3* queue = nullptr;
    ASSERT_EQ(sqlite3_open((queue_dir_ + "/queue.sqlite").c_str(), &queue), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(queue, sql, nullptr, nullptr, nullptr), SQLITE_OK);
    EXPECT_NE(sqlite3_changes(queue), 0) << sql;
    sqlite3_close(queue);
    Reopen();
    for (int minutes = 0; minutes < 7 * 60; minutes += 10) {
      AnswerAll(201);
      clock_.Advance(600);
      Run();
    }
    EXPECT_EQ(Status().queued, 0U) << sql;
    EXPECT_EQ(Status().dropped, 0U) << sql;
  }
}

TEST_F(Relay, MSG_10_survives_a_crash) {
  const Handoff handoff = MakeHandoff("alice");
  EXPECT_EQ(Ask(handoff), kQueued);
  EXPECT_EQ(sender_->requests.size(), 1U);
  relay_.reset();  // without Close()
  Reopen();
  EXPECT_EQ(Status().queued, 1U);
  // The same one again is not one more.
  EXPECT_EQ(Ask(handoff), kQueued);
  EXPECT_EQ(AnswerAll(201), 1);
  Reopen();
  EXPECT_EQ(Status().queued, 0U);
  EXPECT_EQ(sender_->requests.size(), 0U);
}

TEST_F(Relay, MSG_10_survives_kill) {
  relay_.reset();
  int answers[2] = {-1, -1};
  ASSERT_EQ(pipe2(answers, O_CLOEXEC), 0);
  const pid_t child = fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    int queued = 0;
    if (Open()) {
      for (int i = 0; i < 40; ++i) {
        queued += Ask(MakeHandoff("user" + std::to_string(i))) == kQueued ? 1 : 0;
      }
      // A quarter is delivered.
      for (int i = 0; i < 10 && !sender_->requests.empty(); ++i) {
        sender_->AnswerHttp(201);
        Run();
      }
    }
    const bool written = write(answers[1], &queued, sizeof(queued)) > 0;
    kill(getpid(), SIGKILL);
    _exit(written ? 0 : 1);
  }
  int queued = 0;
  EXPECT_EQ(read(answers[0], &queued, sizeof(queued)), static_cast<ssize_t>(sizeof(queued)));
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  close(answers[0]);
  close(answers[1]);
  EXPECT_EQ(queued, 40);
  ASSERT_TRUE(Open()) << error_;
  Run();
  EXPECT_EQ(Status().queued, 30U);
  EXPECT_EQ(AnswerAll(201), 30);
}

TEST_F(Relay, MSG_10_close_keeps_what_is_not_delivered) {
  Ask(MakeHandoff("alice"));
  Ask(MakeHandoff("bob"));
  sender_->AnswerHttp(201);
  // A request that has come in time is taken.
  const int fd = Connect(push::WriteHandoff(MakeHandoff("carol")) + "\n");
  relay_->Close();
  EXPECT_EQ(Receive(fd), kQueued);
  Reopen();
  EXPECT_EQ(Status().queued, 2U);
  EXPECT_EQ(AnswerAll(201), 2);
}

// What couldn't be noted a moment ago.
TEST_F(Relay, MSG_10_close_notes_what_is_delivered) {
  Ask(MakeHandoff("alice"));
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open((queue_dir_ + "/queue.sqlite").c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(Status().queued, 1U);
  ASSERT_EQ(sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  relay_->Close();
  Reopen();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(Relay, Sends_the_oldest_of_a_subscription_first) {
  std::vector<string> topics(4);
  for (int i = 0; i < 5; ++i) {
    Ask(MakeHandoff("alice"));
  }
  ASSERT_EQ(sender_->requests.size(), 4U);  // so many until the first answer
  for (int i = 0; i < 4; ++i) {
    topics[static_cast<size_t>(i)] = sender_->requests[static_cast<size_t>(i)].topic;
  }
  for (int i = 0; i < 4; ++i) {
    sender_->AnswerHttp(429, 60);
  }
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  Ask(MakeHandoff("alice"));
  EXPECT_EQ(sender_->requests.size(), 0U);
  clock_.Advance(100);
  Run();
  // One at a time, in order.
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(sender_->requests.size(), 1U);
    EXPECT_EQ(sender_->AnswerHttp(201).topic, topics[static_cast<size_t>(i)]);
    Run();
  }
  EXPECT_EQ(AnswerAll(201), 2);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(Relay, END_4_a_slow_service_takes_no_more_than_its_share) {
  settings_.in_flight_limit = 40;
  settings_.in_flight_origin_limit = 16;
  Reopen();
  for (int i = 0; i < 100; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i), {"https://slow.example/" + std::to_string(i)}));
  }
  EXPECT_EQ(sender_->requests.size(), 4U);
  for (int i = 0; i < 10; ++i) {
    Ask(MakeHandoff("user", {"https://slow" + std::to_string(i) + ".example/"}));
  }
  // Those that haven't answered anything yet share one half.
  for (int i = 0; i < 100; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i),
                    {"https://slow" + std::to_string(i % 10) + ".example/x" + std::to_string(i)}));
  }
  EXPECT_LE(sender_->requests.size(), 20U);
  EXPECT_EQ(Status().queued, 210U);
  EXPECT_EQ(AnswerAll(201), 210);
}

TEST_F(Relay, END_4_origins_take_turns) {
  settings_.in_flight_limit = 8;
  Reopen();
  for (int i = 0; i < 50; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i), {"https://a.example/" + std::to_string(i)}));
  }
  Ask(MakeHandoff("user", {"https://b.example/"}));
  int before = 0;
  for (; sender_->AnswerHttp(201).endpoint.host != "b.example"; ++before) {
    Run();
  }
  EXPECT_LE(before, 16);
}

TEST_F(Relay, END_4_a_sick_service_is_left_alone) {
  for (int i = 0; i < 50; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i), {"https://sick.example/" + std::to_string(i)}));
  }
  int attempts = 0;
  for (int i = 0; i < 600; ++i) {
    while (!sender_->requests.empty()) {
      sender_->AnswerUnreachable();
      ++attempts;
    }
    Run();
    // Others don't notice.
    if (i % 100 == 0) {
      Ask(MakeHandoff("bob", {"https://well.example/"}));
      ASSERT_FALSE(sender_->requests.empty());
      EXPECT_EQ(sender_->requests.back().endpoint.host, "well.example");
      auto request = std::move(sender_->requests.back());
      sender_->requests.pop_back();
      sender_->requests.push_front(std::move(request));
      sender_->AnswerHttp(201);
      Run();
    }
    clock_.Advance(1);
  }
  EXPECT_LT(attempts, 20);
  EXPECT_GE(attempts, 7);
  EXPECT_EQ(Status().queued, 50U);
  // A restart doesn't make it well.
  Reopen();
  EXPECT_LE(sender_->requests.size(), 1U);
  clock_.Advance(400);
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  EXPECT_GE(AnswerAll(201), 40);
  clock_.Advance(3600);
  Run();
  AnswerAll(201);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(Relay, END_4_one_bad_subscription_does_not_make_a_service_sick) {
  Ask(MakeHandoff("mallory", {"https://push.example.org/hangs"}));
  for (int i = 0; i < 20; ++i) {
    if (!sender_->requests.empty()) {
      sender_->AnswerUnreachable();
    }
    Run();
    clock_.Advance(20);
    Run();
  }
  while (!sender_->requests.empty()) {
    sender_->AnswerUnreachable();
    Run();
  }
  Ask(MakeHandoff("alice", {"https://push.example.org/works"}));
  EXPECT_EQ(sender_->requests.size(), 1U);
}

// Each of its users gets an answer that is about himself.
TEST_F(Relay, END_2_END_4_what_makes_a_service_sick) {
  const struct {
    const char* name;
    relay::SendStatus status;
    int http;
    bool is_sick;
  } cases[] = {
      {"not-allowed", relay::SendStatus::kNotAllowed, 0, false},
      {"401", relay::SendStatus::kAnswered, 401, false},
      {"429", relay::SendStatus::kAnswered, 429, false},
      {"499", relay::SendStatus::kAnswered, 499, false},
      {"500", relay::SendStatus::kAnswered, 500, true},
      {"503", relay::SendStatus::kAnswered, 503, true},
      // ntfy: nobody listens to that one
      {"507", relay::SendStatus::kAnswered, 507, false},
      {"unreachable", relay::SendStatus::kUnreachable, 0, true},
  };
  for (const auto& one : cases) {
    for (int i = 0; i < 20; ++i) {
      Ask(MakeHandoff("user" + std::to_string(i), {"https://" + string(one.name) + ".example/"}));
      if (sender_->requests.empty()) {
        break;
      }
      sender_->Answer({0, one.status, one.http, std::nullopt,
                       one.status == relay::SendStatus::kAnswered ? "" : "it says"});
      Run();
    }
    Ask(MakeHandoff("another", {"https://" + string(one.name) + ".example/"}));
    EXPECT_EQ(sender_->requests.empty(), one.is_sick) << one.name;
    AnswerAll(201);
  }
}

TEST_F(Relay, END_4_a_service_that_answers_has_failed_no_more) {
  // Of as many users, each by another subscription.
  const auto fail = [&](int users, const char* path) {
    for (int i = 0; i < users; ++i) {
      Ask(MakeHandoff("user" + std::to_string(i), {string("https://push.example.org/") + path}));
      ASSERT_EQ(sender_->requests.size(), 1U) << path << i;
      sender_->AnswerHttp(500);
      Run();
    }
  };
  const auto answers = [&](const char* path) {
    Ask(MakeHandoff("bob", {string("https://push.example.org/") + path}));
    return AnswerAll(201) == 1;
  };
  fail(8, "a");
  EXPECT_TRUE(answers("a"));
  // Of the same users, who count again.
  fail(9, "b");
  EXPECT_FALSE(answers("b"));
}

TEST_F(Relay, MSG_9_a_service_that_has_too_much_gets_less_at_once) {
  for (int i = 0; i < 300; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i)));
  }
  for (int i = 0; i < 30; ++i) {
    sender_->AnswerHttp(201);
    Run();
  }
  const size_t before = sender_->requests.size();
  EXPECT_GE(before, 30U);
  for (size_t i = 0; i < before; ++i) {
    sender_->AnswerHttp(429);
  }
  Run();
  EXPECT_EQ(sender_->requests.size(), 4U);
}

TEST_F(Relay, Many_that_wait_are_each_sent_once) {
  settings_.in_flight_limit = 16;
  Reopen();
  for (int i = 0; i < 400; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i % 7), {"https://host" + std::to_string(i % 5) +
                                                     ".example/" + std::to_string(i % 13)}));
  }
  Reopen();
  std::multiset<string> topics;
  for (bool more = true; more;) {
    more = false;
    while (!sender_->requests.empty()) {
      topics.insert(sender_->AnswerHttp(201).topic);
      more = true;
    }
    Run();
  }
  EXPECT_EQ(topics.size(), 400U);
  EXPECT_EQ(std::set<string>(topics.begin(), topics.end()).size(), 400U);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(Relay, More_origins_than_it_looks_after) {
  settings_.in_flight_limit = 16;
  Reopen();
  constexpr int kCount = 5000;
  for (int i = 0; i < kCount; i += 50) {
    std::vector<string> endpoints;
    endpoints.reserve(50);
    for (int k = 0; k < 50; ++k) {
      endpoints.push_back("https://host" + std::to_string(i + k) + ".example/");
    }
    EXPECT_EQ(Ask(MakeHandoff("user" + std::to_string(i), endpoints)), kQueued);
  }
  int sent = 0;
  for (int i = 0; i < 100 && Status().queued > 0; ++i) {
    sent += AnswerAll(201);
    clock_.Advance(2);
    Run();
  }
  EXPECT_EQ(sent, kCount);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(Relay, Limits_the_queue) {
  settings_.queue_limit = 10;
  settings_.in_flight_limit = 1;
  Reopen();
  Ask(MakeHandoff("user"));
  AnswerAll(201);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Ask(MakeHandoff("user" + std::to_string(i))), kQueued);
  }
  EXPECT_EQ(Ask(MakeHandoff("user")), "-\tfull\n");
  EXPECT_EQ(Status().queued, 10U);
  sender_->AnswerHttp(201);
  Run();
  EXPECT_EQ(Ask(MakeHandoff("user")), kQueued);
}

TEST_F(Relay, Replaces_the_oldest_of_a_user) {
  settings_.queue_user_limit = 5;
  settings_.in_flight_limit = 1;
  Reopen();
  Ask(MakeHandoff("bob"));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  }
  EXPECT_EQ(Status().queued, 6U);
  EXPECT_EQ(Status().dropped, 15U);
  EXPECT_EQ(AnswerAll(201), 6);
  // Also where they wait in line.
  Ask(MakeHandoff("alice"));
  sender_->AnswerHttp(503, 60);
  Run();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  }
  EXPECT_EQ(Status().queued, 5U);
  clock_.Advance(100);
  Run();
  EXPECT_EQ(AnswerAll(201), 5);
}

// It was said to be tried again, and there was nothing to try.
TEST_F(Relay, One_under_way_that_is_replaced_is_dropped_once_it_is_not_taken) {
  settings_.queue_user_limit = 3;
  settings_.in_flight_origin_limit = 1;
  for (const int status : {201, 503, 413, 403}) {
    Reopen();
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
    }
    ASSERT_EQ(Status().queued, 3U);
    sender_->AnswerHttp(status);
    Run();
    EXPECT_EQ(Status().delivered, status == 201 ? 1U : 0U) << status;
    EXPECT_EQ(Status().deferred, 0U) << status;
    EXPECT_EQ(Status().dropped, status == 201 ? 0U : 1U) << status;
    clock_.Advance(3600);
    Run();
    EXPECT_EQ(AnswerAll(201), 3) << status;
  }
}

TEST_F(Relay, MSG_12_nothing_readable_on_disk_or_in_logs) {
  Handoff handoff = MakeHandoff(
      "canary-user", {"https://canary-host.example/canary-path", "https://canary-host.example/2"});
  Ask(handoff);
  sender_->AnswerHttp(429);
  sender_->AnswerHttp(410);
  Run();
  Ask(MakeHandoff("canary-user", {"https://canary-host.example/canary-path"}));
  Ask(MakeHandoff("canary-user", {"https://canary-third.example/canary-path"}));
  sender_->AnswerHttp(403);
  Run();
  Connect(push::WriteHandoff(MakeRegistration("canary-user")) + "\n");
  Run();
  string all;
  for (const auto& file : std::filesystem::directory_iterator(queue_dir_)) {
    all += ReadFile(file.path().string());
  }
  EXPECT_GT(all.size(), 4096U);
  for (string text : {"anary", "0123456789abcdef", "subscription-0", "host.example", "INBOX"}) {
    EXPECT_EQ(all.find(text), string::npos) << text;
  }
  EXPECT_EQ(all.find(point_), string::npos);
  EXPECT_EQ(all.find(util::EncodeBase64Url(point_).substr(4, 40)), string::npos);
  const string logs = AllLogs();
  for (string text : {"canary-path", "Canary", "0123456789abcdef"}) {
    EXPECT_EQ(logs.find(text), string::npos) << text;
  }
}

TEST_F(Relay, Vapid) {
  Handoff handoff;
  handoff.kind = push::HandoffKind::kVapid;
  const string answer = Ask(handoff);
  EXPECT_EQ(answer.substr(0, 34), "+\tok\tkey=-----BEGIN PUBLIC KEY----");
  Reopen();
  EXPECT_EQ(Ask(handoff), answer);
}

}  // namespace
}  // namespace coi::test
