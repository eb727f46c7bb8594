// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include <gtest/gtest.h>

#include <sstream>

#include "relay/relay.h"
#include "relay_util.h"

// What the admin is told of the queue.
namespace coi::test {
namespace {

using std::string;
using std::vector;

constexpr char kRequest[] = "1\tstatus\n";

class RelayStatus : public OpenRelayTest {
 protected:
  string AskStatus() {
    const int fd = Connect(kRequest);
    Run();
    return Receive(fd);
  }
  int64_t Now() const {
    return clock_.wall / 1000000;
  }
  static string Counts(const vector<uint64_t>& counts) {
    static constexpr const char* kNames[] = {"queued",   "in-flight", "delivered",
                                             "deferred", "dropped",   "gone"};
    string text = "+\tok";
    for (size_t i = 0; i < counts.size(); ++i) {
      text += string("\t") + kNames[i] + '=' + std::to_string(counts[i]);
    }
    return text;
  }
  // The words of a field `service`, from the name on.
  static vector<string> Service(const string& answer, const string& name) {
    vector<string> words;
    const size_t start = answer.find("\tservice=" + name + ' ');
    if (start == string::npos) {
      ADD_FAILURE() << name << " isn't in " << answer;
      return vector<string>(10);
    }
    std::istringstream text(answer.substr(start + 9, answer.find('\t', start + 1) - start - 9));
    for (string word; text >> word;) {
      words.push_back(word);
    }
    EXPECT_EQ(words.size(), 10U) << answer;
    words.resize(10);
    return words;
  }
};

TEST_F(RelayStatus, An_empty_queue) {
  EXPECT_EQ(AskStatus(), Counts({0, 0, 0, 0, 0, 0}) + "\n");
  Ask(MakeHandoff("alice"));
  EXPECT_EQ(AnswerAll(201), 1);
  EXPECT_EQ(AskStatus(), Counts({0, 0, 1, 0, 0, 0}) + "\n");
}

TEST_F(RelayStatus, What_waits_for_whom) {
  const int64_t first = Now();
  for (int i = 0; i < 3; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i), {"https://down.example:8443/Canary-Path"}));
  }
  Ask(MakeHandoff("user0", {"https://down.example:8443/Canary-Path"}));
  const string now = AskStatus();
  EXPECT_EQ(now, Counts({4, 3, 0, 0, 0, 0}) +
                     "\tservice=https://down.example:8443 4 3 0 0 0 0 0 0 " +
                     std::to_string(first) + "\n");
  for (int i = 0; i < 3; ++i) {
    sender_->AnswerUnreachable();
  }
  Run();
  clock_.Advance(1);
  const int64_t second = Now();
  Ask(MakeHandoff("alice", {"https://slow.example/Canary-Path"}));
  const string answer = AskStatus();
  EXPECT_EQ(answer.substr(0, answer.find("\tservice")), Counts({5, 1, 0, 3, 0, 0}));
  vector<string> down = Service(answer, "https://down.example:8443");
  EXPECT_GE(std::stoll(down[8]), second);
  down[8].clear();
  EXPECT_EQ(down, vector<string>({"https://down.example:8443", "4", "0", "0", "3", "0", "0", "3",
                                  "", std::to_string(first)}));
  // The most first.
  EXPECT_LT(answer.find("down.example"), answer.find("slow.example"));
  EXPECT_EQ(Service(answer, "https://slow.example"),
            vector<string>({"https://slow.example", "1", "1", "0", "0", "0", "0", "0", "0",
                            std::to_string(second)}));
  for (const char* secret : {"Canary", "user0", "alice", "subscription-0"}) {
    EXPECT_EQ(answer.find(secret), string::npos) << answer;
  }
  // Once it takes one.
  EXPECT_EQ(sender_->AnswerHttp(201).endpoint.host, "slow.example");
  Run();
  clock_.Advance(86000);
  Run();
  ASSERT_EQ(sender_->requests.size(), 1U);
  sender_->AnswerHttp(201);
  Run();
  down = Service(AskStatus(), "https://down.example:8443");
  EXPECT_EQ(down[3], "1");
  EXPECT_EQ(down[7], "0");
}

TEST_F(RelayStatus, A_new_process_learns_the_names_from_the_queue) {
  for (int i = 0; i < 3; ++i) {
    Ask(MakeHandoff("user" + std::to_string(i),
                    {"https://push.example/a", "https://down.example/a"}));
  }
  for (int i = 0; i < 6; ++i) {
    sender_->AnswerUnreachable();
  }
  Run();
  // This one would be due.
  Ask(MakeHandoff("bob", {"https://down.example/a"}));
  const vector<string> before = Service(AskStatus(), "https://down.example");
  EXPECT_EQ(before[7], "3");
  EXPECT_GT(std::stoll(before[8]), Now());
  Reopen();
  const vector<string> after = Service(AskStatus(), "https://down.example");
  EXPECT_EQ(after[1], "4");
  // It is known that it was left alone once, and when that ends.
  EXPECT_EQ(after[7], "1");
  EXPECT_EQ(after[8], before[8]);
  EXPECT_EQ(after[9], before[9]);
  Service(AskStatus(), "https://push.example");
}

TEST_F(RelayStatus, Those_that_may_not_be_sent_to) {
  Ask(MakeHandoff("alice", {"https://127.0.0.1/a"}));
  EXPECT_EQ(Service(AskStatus(), "not-allowed")[1], "1");
  // Until it is tried again, which may be for some of them only.
  settings_.networks_allowed = "127.0.0.0/8";
  Reopen();
  EXPECT_EQ(Service(AskStatus(), "not-allowed")[1], "1");
  // Forbidden since then.
  Ask(MakeHandoff("alice"));
  settings_.hosts_denied = "push.example.org";
  Reopen();
  const string answer = AskStatus();
  EXPECT_EQ(answer.find("push.example.org"), string::npos);
  EXPECT_EQ(answer.substr(0, answer.find("\tin-flight")), "+\tok\tqueued=2");
}

TEST_F(RelayStatus, What_cannot_be_read) {
  Ask(MakeHandoff("alice"));
  AnswerAll(503);
  relay_.reset();
  unlink((key_dir_ + "/storage.pem").c_str());
  ASSERT_TRUE(Open()) << error_;
  relay_->Run();
  const vector<string> words = Service(AskStatus(), "unknown");
  EXPECT_EQ(words[1], "1");
  EXPECT_EQ(words[9], "0");
}

// A line's later pushes have no time of their own.
TEST_F(RelayStatus, Those_behind_others_are_counted) {
  Ask(MakeHandoff("alice"));
  AnswerAll(429);
  for (int i = 0; i < 9; ++i) {
    Ask(MakeHandoff("alice"));
  }
  EXPECT_EQ(Service(AskStatus(), "https://push.example.org")[1], "10");
}

TEST_F(RelayStatus, Only_so_many_services_are_told) {
  vector<string> endpoints;
  endpoints.reserve(100);
  for (int i = 0; i < 100; ++i) {
    endpoints.push_back("https://push" + std::to_string(i) + ".example/a");
  }
  Ask(MakeHandoff("alice", endpoints));
  const string all = AskStatus();
  EXPECT_EQ(all.find("\tmore="), string::npos);
  Service(all, "https://push99.example");
  Ask(MakeHandoff("bob", {"https://b.example/a", "https://c.example/a", "https://d.example/a",
                          "https://b.example/b", "https://d.example/b"}));
  const string answer = AskStatus();
  size_t services = 0;
  for (size_t at = answer.find("\tservice="); at != string::npos;
       at = answer.find("\tservice=", at + 1)) {
    ++services;
  }
  EXPECT_EQ(services, 100U);
  EXPECT_NE(answer.find("\tmore=3 3"), string::npos) << answer;
  Service(answer, "https://b.example");
  Service(answer, "https://d.example");
}

TEST_F(RelayStatus, Others_are_told_nothing) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "for root";
  }
  Ask(MakeHandoff("alice"));
  EXPECT_EQ(seteuid(65534), 0);
  const int fd = Connect(kRequest);
  EXPECT_EQ(seteuid(0), 0);
  Run();
  EXPECT_EQ(Receive(fd), "-\tnot-permitted\n");
  // And one of the same user as the service is.
  Service(AskStatus(), "https://push.example.org");
}

TEST_F(RelayStatus, Nobody_waits_for_a_long_count) {
  for (int i = 0; i < 40; ++i) {
    vector<string> endpoints(100, "https://push.example.org/a");
    Ask(MakeHandoff("user" + std::to_string(i), endpoints));
  }
  // Each look at the clock takes so long.
  clock_.tick = 1000;
  const int asked = Connect(kRequest);
  relay_->Run();
  int rounds = 1;
  // Meanwhile one goes away that has asked, too.
  close(Connect(kRequest));
  const int handoff = Connect(push::WriteHandoff(MakeHandoff("alice")) + "\n");
  relay_->Run();
  EXPECT_EQ(Receive(handoff), "+\tqueued\n");
  char byte = 0;
  while (recv(asked, &byte, 1, MSG_PEEK) < 0 && rounds < 100) {
    EXPECT_TRUE(relay_->HasWork());
    relay_->Run();
    ++rounds;
  }
  EXPECT_GT(rounds, 4);
  EXPECT_EQ(Service(Receive(asked), "https://push.example.org")[1], "4001");
  Run();
  EXPECT_EQ(Status().clients, 0U);
}

}  // namespace
}  // namespace coi::test
