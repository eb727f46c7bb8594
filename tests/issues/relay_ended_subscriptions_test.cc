// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Subscriptions that were removed, or that their service called gone: what waited for them
// was sent, and what came after they had returned was not.

#include <gtest/gtest.h>

#include <string>

#include "push/handoff.h"
#include "relay_util.h"

namespace coi::test {
namespace {

using push::Handoff;
using std::string;

class RelayEndedSubscriptions : public OpenRelayTest {
 protected:
  static Handoff As(push::HandoffKind kind, Handoff handoff) {
    handoff.kind = kind;
    handoff.id.clear();
    handoff.mail = {};
    return handoff;
  }
  // Alice's only push was not taken; is it sent once it's time?
  void LookForPush() {
    EXPECT_EQ(sender_->requests.size(), 1U);
    sender_->AnswerHttp(503);
    Run();
    clock_.Advance(60);
    Run();
    EXPECT_EQ(AnswerAll(201), 1);
  }
};

TEST_F(RelayEndedSubscriptions, SUB_2_what_waited_for_a_removed_subscription_was_sent) {
  Ask(MakeHandoff("alice", {"https://a.example/old", "https://a.example/other"}));
  Ask(MakeHandoff("bob", {"https://a.example/old"}));
  while (!sender_->requests.empty()) {
    sender_->AnswerHttp(503);
    Run();
  }
  ASSERT_EQ(Status().queued, 3U);
  push::Handoff forget = MakeHandoff("alice", {"https://a.example/old"});
  forget.kind = push::HandoffKind::kForget;
  forget.id.clear();
  forget.mail = {};
  EXPECT_EQ(Ask(forget), "+\tok\n");
  EXPECT_EQ(Status().queued, 2U);
  clock_.Advance(3600);
  Run();
  EXPECT_EQ(AnswerAll(201), 2);
  // It may come back, and then gets what is new.
  Ask(MakeHandoff("alice", {"https://a.example/old"}));
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(Status().queued, 0U);
}

// Somebody else's push under way when the subscription goes: its answer changes nothing.
TEST_F(RelayEndedSubscriptions, SUB_2_forgotten_while_it_is_under_way) {
  Ask(MakeHandoff("alice", {"https://a.example/old"}));
  push::Handoff forget = MakeHandoff("alice", {"https://a.example/old"});
  forget.kind = push::HandoffKind::kForget;
  forget.id.clear();
  forget.mail = {};
  EXPECT_EQ(Ask(forget), "+\tok\n");
  sender_->AnswerHttp(503);
  Run();
  clock_.Advance(3600);
  Run();
  EXPECT_EQ(sender_->requests.size(), 0U);
  EXPECT_EQ(Status().queued, 0U);
}

TEST_F(RelayEndedSubscriptions, SUB_2_what_was_forgotten_took_later_pushes_along) {
  Run();
  Other other(queue_dir_);
  other.Do("BEGIN IMMEDIATE");
  EXPECT_EQ(Ask(As(push::HandoffKind::kForget, MakeHandoff("alice"))), "+\tok\n");
  other.Do("ROLLBACK");
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  clock_.Advance(2);
  Run();
  LookForPush();
}

// A kill before it was noted called it gone again.
TEST_F(RelayEndedSubscriptions, MSG_9_one_that_was_gone_was_taken_back_and_that_not_noted) {
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  EXPECT_EQ(AnswerAll(410), 1);
  const auto register_again = [&](const string& user) {
    const int fd = Connect(push::WriteHandoff(MakeRegistration(user)) + "\n");
    Run();
    EXPECT_EQ(AnswerAll(201), 1);
    return Receive(fd);
  };
  Other other(queue_dir_);
  other.Do("BEGIN IMMEDIATE");
  EXPECT_EQ(register_again("alice"), "-\tunavailable\n");
  // Nothing is to be noted of this one.
  EXPECT_EQ(register_again("bob").substr(0, 11), "+\taccepted\t");
  other.Do("ROLLBACK");
  clock_.Advance(2);
  EXPECT_EQ(register_again("alice").substr(0, 11), "+\taccepted\t");
  Reopen();
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
}

TEST_F(RelayEndedSubscriptions, MSG_9_one_that_was_gone_took_later_pushes_along) {
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  Other other(queue_dir_);
  other.Do("BEGIN IMMEDIATE");
  sender_->AnswerHttp(410);
  Run();
  other.Do("ROLLBACK");
  const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
  Run();
  sender_->AnswerHttp(201);
  Run();
  // It couldn't be noted.
  EXPECT_EQ(Receive(fd), "-\tunavailable\n");
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  clock_.Advance(2);
  Run();
  LookForPush();
}

TEST_F(RelayEndedSubscriptions, MSG_9_one_that_had_returned_was_called_gone) {
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
  sender_->AnswerHttp(410);
  Run();
  const Handoff question = As(push::HandoffKind::kGone, MakeHandoff("alice"));
  EXPECT_EQ(Ask(question), "+\tok\tgone=subscription-0\n");
  Other other(queue_dir_);
  other.Do("BEGIN IMMEDIATE");
  const int fd = Connect(push::WriteHandoff(MakeRegistration("alice")) + "\n");
  Run();
  sender_->AnswerHttp(201);
  Run();
  // It couldn't be noted.
  EXPECT_EQ(Receive(fd), "-\tunavailable\n");
  EXPECT_EQ(Ask(question), "+\tok\n");
  other.Do("ROLLBACK");
  EXPECT_EQ(Ask(MakeHandoff("alice")), kQueued);
}

}  // namespace
}  // namespace coi::test
